"""The plan of an audit: frozen models, read from TOML, with overrides from the command line."""

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from safelight import catalog
from safelight.errors import PlanError

#: The plans that are shipped.
PRESETS = resources.files(__package__) / "presets"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RolePlan(_Strict):
    """Which pictures play one role: a split, optionally sliced, of the data's source."""

    split: str = Field("train", description="split, sliced as in train[:30000]")
    source: str | None = Field(None, description="another source than the data's, if set")
    count: int | None = Field(None, ge=1, description="draw this many, balanced over classes")


class OutlierPlan(_Strict):
    """Pictures unlike the others: they get a class of their own, ``outlier``."""

    split: str = Field("train", description="split, sliced as in train[:30000]")
    source: str | None = Field(None, description="another source than the data's, if set")
    classes: list[str] | None = Field(None, min_length=1, description="of it, only these")
    count: int = Field(ge=1, description="so many for private, and others for holdout")


class DataPlan(_Strict):
    """The pictures and who may see them.

    ``source`` is ``embedded``, a data set's name (``mnist``, ``fashion_mnist``, ``cifar10``,
    ``svhn``), a hub name with a slash, or a folder of images or parquet files.
    """

    source: str
    seed: int = Field(0, description="draws the roles; the attack's seeds are separate")
    size: int | None = Field(None, ge=8, description="resize and center-crop to this many pixels")
    channels: Literal[1, 3] | None = Field(
        None, description="1 (gray) or 3 (color); as stored if unset"
    )
    classes: list[str] | None = Field(
        None, min_length=1, description="only pictures of these classes; all if unset"
    )
    outliers: OutlierPlan | None = Field(
        None, description="added to private and to holdout, before their own pictures"
    )
    private: RolePlan | None = Field(None, description="what the target was trained on")
    public: RolePlan = Field(description="what the attacker owns")
    victims: RolePlan | None = Field(
        None, description="what the attacker wants to see; not where it is after the training set"
    )
    holdout: RolePlan = Field(
        description="pictures nobody attacks: look-alikes to name victims among, non-members"
    )


class FitPlan(_Strict):
    """How to train the target where no weights are given."""

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(5e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(1e-2, ge=0, allow_inf_nan=False)
    flip: bool = Field(False, description="mirror half of the pictures, anew each time")
    shift: int = Field(0, ge=0, description="move each picture by up to this many pixels")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the forward pass; bfloat16 is faster where the hardware has it"
    )
    optimizer: Literal["adamw", "gradient descent"] = Field(
        "adamw",
        description="gradient descent: on the whole set at once, one step an epoch, constant rate",
    )
    seed: int = 0


class TargetPlan(_Strict):
    """The model to audit.

    ``model`` is a classifier of the catalog or ``package.module:function``, which returns a
    module. ``weights`` is ``shipped`` (or ``shipped/fashion_mnist``, of other pictures), a
    ``.safetensors`` or a state-dict file, or unset: then the model is trained on
    ``data.private`` by ``fit``.
    """

    model: str
    weights: str | None = None
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the factory")
    mean: list[float] | None = Field(None, description="per channel, subtracted from [0, 1] pixels")
    std: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = Field(
        None, description="per channel, divides what is left"
    )
    fit: FitPlan = FitPlan()


class ComponentPlan(BaseModel):
    """A threat or an attack: its name, and its options as further keys."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.__pydantic_extra__ or {})


class DefensePlan(ComponentPlan):
    """What protects the target: how it is trained, or what is done to all that leaves it."""


class ThreatPlan(ComponentPlan):
    """A threat, and which attacks to try under it."""

    attacks: list[str] | None = Field(
        None, description="their labels or names; all that fit if unset"
    )


class AttackPlan(ComponentPlan):
    """An attack, and how threats may call it where the plan has it with several options."""

    label: str | None = None


class Plan(_Strict):
    """One audit. Its ``name`` also names the run's folder."""

    name: str = Field(pattern=r"^[\w][\w .-]*$")
    seeds: list[int] = Field([0], min_length=1)
    device: str = "cpu"
    data: DataPlan
    target: TargetPlan
    defense: DefensePlan | None = Field(None, description="what the target is deployed with")
    defenses: list[DefensePlan] = Field(
        default_factory=list,
        description="candidates: each is audited, beside no defense, for one scorecard",
    )
    threats: list[ThreatPlan] = Field(min_length=1)
    attacks: list[AttackPlan] = Field(min_length=1)

    @pydantic.field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands there twice, which repeats a cell and tells nothing")
        return seeds


def to_toml(plan: Plan) -> str:
    """Return a plan as TOML that ``load_plan`` reads back to the same plan."""
    return tomli_w.dumps(plan.model_dump(exclude_none=True))


def load_plan(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Read a plan from a TOML file, or a preset by its name.

    Args:
        path: a file, or the name of a preset (``demo``, ``mnist``, ...).
        overrides: ``dotted.key=value`` items; values are TOML, or bare strings.

    Raises:
        PlanError: the file cannot be read or does not describe an audit.
    """
    file = Path(path)
    if file.is_file():
        content = file.read_bytes()
    elif str(path) in presets():
        content = (PRESETS / f"{path}.toml").read_bytes()
    else:
        raise PlanError(f"no plan at {path}; give a TOML file or a preset: {', '.join(presets())}")
    try:
        tables = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} is not TOML: {error}; correct that line") from None
    for item in overrides:
        _override(tables, item)
    return parse_plan(tables, str(path))


def override(plan: Plan, overrides: Sequence[str], where: str) -> Plan:
    """Return a plan with ``dotted.key=value`` items applied; ``where`` names it in errors.

    Raises:
        PlanError: a key does not exist, or its value does not fit.
    """
    content = plan.model_dump(exclude_none=True)
    for item in overrides:
        _override(content, item)
    return parse_plan(content, where)


def parse_plan(content: dict[str, Any], where: str) -> Plan:
    """Turn the content of a plan into a checked plan; ``where`` names it in errors."""
    try:
        return Plan.model_validate(content)
    except pydantic.ValidationError as error:
        # A misspelled key is also a missing one: speak of the misspelling.
        first = min(
            error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden"
        )
        if first["type"] == "extra_forbidden":
            *parents, key = [str(part) for part in first["loc"]]
            known = sorted(_keys_at(parents))
            table = ".".join(parents) or "the plan"
            raise PlanError(f"{where}: {catalog.unknown(f'key in {table}', key, known)}") from None
        if first["type"] == "missing":
            key = ".".join(str(part) for part in first["loc"])
            raise PlanError(f"{where}: {key} is missing; add it to the plan") from None
        raise PlanError(f"{where}: {catalog.explain_invalid(error)}") from None


def presets() -> list[str]:
    """Return the names of the plans that are shipped."""
    return sorted(entry.name.removesuffix(".toml") for entry in PRESETS.iterdir())


def _override(content: dict[str, Any], item: str) -> None:
    """Set one dotted key; list entries are addressed by position or by component name."""
    key, equals, raw = item.partition("=")
    if not equals:
        raise PlanError(f"cannot read the setting {item!r}; write key=value")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    *parents, last = key.split(".")
    node: Any = content
    for part in parents:
        node = _step(node, part, item)
    if not isinstance(node, dict):
        raise PlanError(f"cannot apply {item!r}: {'.'.join(parents)} is not a table; check the key")
    node[last] = value


def _step(node: Any, part: str, item: str) -> Any:
    if isinstance(node, dict):
        return node.setdefault(part, {})
    if isinstance(node, list):
        for position, entry in enumerate(node):
            name = str(entry.get("name")) if isinstance(entry, dict) else ""
            if part in (str(position), name, name.split("/")[-1]):
                return entry
    raise PlanError(f"cannot apply {item!r}: there is no {part!r} in the plan; check the key")


def _keys_at(parents: list[str]) -> list[str]:
    model: Any = Plan
    for part in parents:
        if part.isdigit():
            continue
        annotation = model.model_fields[part].annotation
        choices = [annotation, *getattr(annotation, "__args__", ())]
        model = next(one for one in choices if isinstance(one, type) and issubclass(one, BaseModel))
    return list(model.model_fields)
