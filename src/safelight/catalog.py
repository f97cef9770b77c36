"""Find components by name. A component's name is its file; there is no registry to keep.

``attack inversion/decoder`` is the class ``Decoder`` in ``safelight/attacks/inversion/decoder.py``.
Other packages add components through the entry points of group ``safelight.<kind>``.
"""

import ast
import dataclasses
import difflib
import importlib
import importlib.metadata
import inspect
import itertools
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from safelight.errors import PlanError

#: Kind of component -> the room (subpackage) its files live in.
ROOMS: Mapping[str, str] = {
    "attack": "attacks",
    "threat": "threats",
    "defense": "defenses",
    "classifier": "targets/classifiers",
}

#: Files that hold a room's types rather than a component.
_NOT_COMPONENTS = {
    "__init__",
    "attack",
    "generator_attack",
    "fit_at_cut",
    "messages",
    "observation",
}


@dataclasses.dataclass(frozen=True)
class Reference:
    """Where a method comes from, printed by ``explain`` and ``cite``."""

    key: str
    authors: str
    title: str
    year: int
    venue: str
    doi: str = ""
    url: str = ""

    def bibtex(self) -> str:
        """Return the BibTeX entry of this reference."""
        rows = {
            "author": self.authors,
            "title": self.title,
            "year": str(self.year),
            "howpublished": self.venue,
            "doi": self.doi,
            "url": self.url,
        }
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in rows.items() if value)
        return f"@misc{{{self.key},\n{body}\n}}"


def names(kind: str) -> list[str]:
    """Return every component name of a kind, without importing any of them."""
    room = _room(kind)
    root = Path(__file__).parent / room
    own = [
        str(path.relative_to(root).with_suffix("")).replace("\\", "/")
        for path in root.rglob("*.py")
        if path.stem not in _NOT_COMPONENTS
    ]
    return sorted([*own, *_entry_points(kind)])


def load(kind: str, name: str) -> Any:
    """Import a component: the class named like its file, or the module's ``render`` function.

    Raises:
        PlanError: no component of that kind has the name.
    """
    outside = _entry_points(kind)
    if name in outside and (Path(__file__).parent / _room(kind) / f"{name}.py").is_file():
        raise PlanError(f"{outside[name].value} takes the name of {kind} {name}; rename it")
    if name in outside:
        try:
            return outside[name].load()
        except Exception as error:  # another package's import may fail in any way
            raise PlanError(
                f"cannot load {kind} {name} from {outside[name].value}: {error}; "
                "mend or remove the package that adds it"
            ) from None
    if name not in names(kind):
        raise PlanError(unknown(kind, name, names(kind)))
    module = importlib.import_module(f"safelight.{_room(kind)}.{name}".replace("/", "."))
    wanted = name.rsplit("/", 1)[-1].replace("_", "")
    for attribute, value in vars(module).items():
        if isinstance(value, type) and attribute.lower() == wanted:
            return value
    return module


def options(component: type) -> dict[str, dataclasses.Field[Any]]:
    """Return the options of a component: the fields of its dataclass, in order."""
    return {field.name: field for field in dataclasses.fields(component) if field.init}


def build(kind: str, name: str, given: Mapping[str, Any]) -> Any:
    """Make one component from its name and options.

    Raises:
        PlanError: unknown component or option, or a value of the wrong type.
    """
    component = load(kind, name)
    known = options(component)
    for key in given:
        if key not in known:
            raise PlanError(unknown(f"option of {kind} {name}", key, list(known)))
    try:
        return pydantic.TypeAdapter(component).validate_python(dict(given))
    except pydantic.ValidationError as error:
        raise PlanError(f"{kind} {name}: {explain_invalid(error)}") from None


def expand(kind: str, name: str, given: Mapping[str, Any]) -> list[Any]:
    """Make one component for every combination of the options that are given as lists.

    ``{"cut": ["conv1", "relu2"]}`` gives two threats. An option that is itself a sequence
    is passed on as it is.
    """
    component = load(kind, name)
    hints = typing.get_type_hints(component)
    for key, value in given.items():
        if value == [] and not _is_sequence(hints.get(key)):
            raise PlanError(f"{kind} {name}: {key} is an empty list; give one value or several")
    axes = [
        [(key, one) for one in value]
        if isinstance(value, list) and not _is_sequence(hints.get(key))
        else [(key, value)]
        for key, value in given.items()
    ]
    return [build(kind, name, dict(choice)) for choice in itertools.product(*axes)]


def kind_of(name: str) -> str:
    """Return the kind of the component with this name.

    Raises:
        PlanError: there is none.
    """
    for kind in ROOMS:
        if name in names(kind):
            return kind
    known = [one for kind in ROOMS for one in names(kind)]
    raise PlanError(unknown("component", name, known))


def summary(kind: str, name: str) -> str:
    """Return a component's first line of documentation, without importing it."""
    outside = _entry_points(kind)
    if name in outside:
        return f"from {outside[name].value}"
    file = Path(__file__).parent / _room(kind) / f"{name}.py"
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return text.split("\n")[0]


def explain(kind: str, name: str) -> str:
    """Return everything about a component as Markdown: docstring, access, options, reference."""
    component = load(kind, name)
    lines = [f"# {kind} {name}", "", inspect.getdoc(component) or "", ""]
    for access in ("needs", "offers"):
        needs = getattr(component, access, None)
        if needs is not None and not isinstance(needs, property):
            lines += [f"{access.capitalize()}: {', '.join(needs.names())}", ""]
    if isinstance(component, type) and dataclasses.is_dataclass(component):
        lines += ["| option | type | default |", "|---|---|---|"]
        hints = typing.get_type_hints(component)
        for option, field in options(component).items():
            lines.append(f"| `{option}` | {_spelled(hints[option])} | {_default(field)} |")
        lines.append("")
    reference = getattr(component, "reference", None)
    if isinstance(reference, Reference):
        lines += ["```bibtex", reference.bibtex(), "```"]
    return "\n".join(lines).rstrip() + "\n"


def name_of(component: object) -> str:
    """Return the catalog name of a component: its entry point's, or from the file of its class."""
    for kind in ROOMS:
        for name, point in _entry_points(kind).items():
            if point.value == f"{type(component).__module__}:{type(component).__qualname__}":
                return name
    kind_path = type(component).__module__.removeprefix("safelight.").replace(".", "/")
    for room in ROOMS.values():
        if kind_path.startswith(room + "/"):
            return kind_path[len(room) + 1 :]
    return f"{type(component).__module__}:{type(component).__qualname__}"


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Say that a name is unknown, suggest the nearest and list the rest."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}; {hint}choose from: {', '.join(known) or '(none)'}"


def explain_invalid(error: pydantic.ValidationError) -> str:
    """Put the first problem that pydantic found on one line."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "value"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where} = {first['input']!r}: {first['msg'].lower()}; correct it{more}"


def _room(kind: str) -> str:
    if kind not in ROOMS:
        raise PlanError(unknown("kind", kind, list(ROOMS)))
    return ROOMS[kind]


def _entry_points(kind: str) -> dict[str, importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=f"safelight.{kind}")
    return {point.name: point for point in found}


def _spelled(hint: Any) -> str:
    if typing.get_origin(hint) is Annotated:
        return _spelled(typing.get_args(hint)[0])
    if typing.get_origin(hint) is Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(hint))
    return f"`{getattr(hint, '__name__', hint)}`"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()}`"
    return "required"


def _is_sequence(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _is_sequence(typing.get_args(hint)[0])
    return origin in (list, tuple) or hint in (list, tuple)
