"""From inert values to networks: class, constructor arguments, settings and named tensors."""

import hashlib
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from safelight.targets.stylegan_pickle.constructions import Module, TensorFlowNetwork, as_elements
from safelight.targets.stylegan_pickle.opcodes import Name
from safelight.targets.stylegan_pickle.refusal import (
    damaged,
    foreign,
    quoted,
    too_large,
    unsafe,
)

Layout = Literal["pytorch", "tensorflow"]

#: The networks of a file, in the order of a TensorFlow tuple: the last is the running average.
ROLES = ("G", "D", "G_ema")
DEEPEST = 32
#: What a file's names (one a character), settings and tensors may cost, by the memory they take.
#: A file of networks of 32 x 32 pixels costs 90,000, one of 1024 x 1024 some three times that.
MOST_COST = 2_000_000
SETTING_COST, TENSOR_COST = 32, 256
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")
#: One network may go by several names, so that its bytes count more than once.
MOST_COPIES = 4
#: Arrays up to this many elements are settings, as the sizes of StyleGAN3's layers are.
LONGEST_SETTING = 64


@dataclass(frozen=True)
class PickledNetwork:
    """One network, as plain data.

    Attributes:
        name: ``G``, ``D`` or ``G_ema`` (``Gs`` of the TensorFlow tuple).
        kind: its class, or the function that built it in TensorFlow.
        args: positional arguments of its constructor.
        kwargs: keyword arguments of its constructor: the static ones in TensorFlow.
        settings: what its modules keep beside tensors, by dotted name, such as
            ``synthesis.b8.conv0.conv_clamp``. Says what the defaults were in the code that made it.
        tensors: parameters and buffers by dotted name, as in a state dict: of any shape, with the
            type that the file has. TensorFlow's ``4x4/Const/const`` is ``4x4.Const.const``, in the
            order of axes that TensorFlow has.
        source_sha256: hash of the source text that came along and was not run.
    """

    name: str
    kind: str
    args: list[Any]
    kwargs: dict[str, Any]
    settings: dict[str, Any] = field(repr=False)
    tensors: dict[str, Tensor] = field(repr=False)
    source_sha256: str


def networks(root: Any, file_bytes: int) -> tuple[Layout, list[PickledNetwork]]:
    """Return the networks of a file by what its pickle came to.

    Raises:
        LoadError: it holds none, or one of them is not as the published code writes it.
    """
    walk = _Walk(MOST_COPIES * file_bytes)
    if isinstance(root, dict):
        found = [(name, root.get(name)) for name in ROLES]
        modules = [(name, one) for name, one in found if one is not None]
        if modules and all(isinstance(one, Module) for _, one in modules):
            return "pytorch", [walk.pytorch(name, one) for name, one in modules]
    if isinstance(root, tuple) and len(root) == len(ROLES):
        pairs = list(zip(ROLES, root, strict=True))
        if all(isinstance(one, TensorFlowNetwork) for one in root):
            return "tensorflow", [walk.tensorflow(name, one) for name, one in pairs]
    raise foreign("it holds neither G, D and G_ema nor a tuple of three TensorFlow networks")


class _Walk:
    """Goes through the networks of one file, each step and byte on account.

    A value may occur in many places, and in itself, so that neither the size of the file nor the
    number of its instructions bounds what a walk meets.
    """

    def __init__(self, most_bytes: int) -> None:
        self.left = MOST_COST
        self.bytes = most_bytes

    def pytorch(self, name: str, root: Module) -> PickledNetwork:
        """Describe a network of the PyTorch layout."""
        tensors: dict[str, Tensor] = {}
        settings: dict[str, Any] = {}
        for prefix, module in self._modules(root, "", 0):
            for kind in ("_parameters", "_buffers"):
                passing = self._passing(module) if kind == "_buffers" else frozenset()
                for key, value in self._items(module.state.get(kind, {}), kind):
                    if value is not None and key not in passing:
                        self._keep(tensors, self._join(prefix, key), value)
            for key, value in self._items(module.state, "attributes"):
                if isinstance(key, str) and not key.startswith("_") and key != "training":
                    self._set(settings, self._join(prefix, key), value)
        args, kwargs = root.state.get("_init_args", ()), root.state.get("_init_kwargs", {})
        if not isinstance(args, tuple) or not isinstance(kwargs, dict):
            raise damaged("the constructor of a network in it has no proper arguments")
        return PickledNetwork(
            name=name,
            kind=root.class_name,
            args=self._plain(args, 0),
            kwargs=self._plain(kwargs, 0),
            settings=settings,
            tensors=tensors,
            source_sha256=hashlib.sha256(root.source.encode()).hexdigest(),
        )

    def tensorflow(self, name: str, root: TensorFlowNetwork) -> PickledNetwork:
        """Describe a network of the TensorFlow layout."""
        tensors: dict[str, Tensor] = {}
        settings: dict[str, Any] = {}
        for prefix, state in self._components(root, "", 0):
            for variable, value in self._variables(state.get("variables")):
                self._keep(tensors, self._join(prefix, variable.replace("/", ".")), value)
            if prefix:
                self._set(settings, f"{prefix}build_func_name", state.get("build_func_name"))
                for key, value in self._items(state.get("static_kwargs"), "static_kwargs"):
                    self._set(settings, self._join(prefix, key), value)
        state = _state(root)
        kind, source = state.get("build_func_name"), state.get("build_module_src")
        kwargs = state.get("static_kwargs")
        if not isinstance(kind, str) or not _NAME.fullmatch(kind) or not isinstance(source, str):
            raise damaged("a network in it lacks its function or source")
        if not isinstance(kwargs, dict):
            raise damaged("a network in it lacks its arguments")
        return PickledNetwork(
            name=name,
            kind=kind,
            args=[],
            kwargs=self._plain(kwargs, 0),
            settings=settings,
            tensors=tensors,
            source_sha256=hashlib.sha256(source.encode()).hexdigest(),
        )

    def _modules(self, module: Module, prefix: str, depth: int) -> Iterator[tuple[str, Module]]:
        self._enter(depth)
        yield prefix, module
        for key, child in self._items(module.state.get("_modules", {}), "_modules"):
            if isinstance(child, Module):
                yield from self._modules(child, f"{self._join(prefix, key)}.", depth + 1)
            elif child is not None:
                raise damaged("a module in it has a part that is no module")

    def _components(
        self, network: TensorFlowNetwork, prefix: str, depth: int
    ) -> Iterator[tuple[str, dict[Any, Any]]]:
        self._enter(depth)
        state = _state(network)
        yield prefix, state
        for key, child in self._items(state.get("components", {}), "components"):
            if not isinstance(child, TensorFlowNetwork):
                raise damaged("a network in it has a component that is none")
            yield from self._components(child, f"{self._join(prefix, key)}.", depth + 1)

    def _items(self, value: Any, what: str) -> Iterator[tuple[Any, Any]]:
        """Yield the items of a dictionary."""
        if not isinstance(value, dict):
            raise damaged(f"the {what} of a network in it are no dictionary")
        for item in value.items():
            self._spend(1)
            yield item

    def _passing(self, module: Module) -> Set[Any]:
        """Return the names of the buffers that no state dict has."""
        names = module.state.get("_non_persistent_buffers_set", set())
        if not isinstance(names, (set, frozenset)):
            raise damaged("a module in it does not say which buffers persist")
        return names

    def _variables(self, pairs: Any) -> Iterator[tuple[str, Any]]:
        """Yield the names and values of a list of pairs."""
        if not isinstance(pairs, list):
            raise damaged("the variables of a network in it are no list")
        for pair in pairs:
            self._spend(1)
            proper = isinstance(pair, (list, tuple)) and len(pair) == 2
            if not proper or not isinstance(pair[0], str):
                raise damaged("a variable of a network in it has no name")
            yield pair[0], pair[1]

    def _enter(self, depth: int) -> None:
        if depth > DEEPEST:
            raise too_large("nests values too deep, or in themselves")

    def _spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise too_large("unfolds into too many names and settings")

    def _join(self, prefix: str, key: Any) -> str:
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            told = quoted(key) if isinstance(key, str) else f"of type {type(key).__name__}"
            raise damaged(f"a part of a network has the name {told}")
        self._spend(len(prefix) + len(key))
        return prefix + key

    def _keep(self, tensors: dict[str, Tensor], name: str, value: Any) -> None:
        found = as_elements(value)
        if found is None:
            raise damaged(f"{quoted(name)} in it is no tensor")
        if name in tensors:
            raise damaged(f"it has {quoted(name)} twice")
        self._spend(TENSOR_COST)
        self.bytes -= found.bytes
        if self.bytes < 0:
            raise too_large("unpacks to many times its size")
        tensors[name] = found.tensor()

    def _set(self, settings: dict[str, Any], name: str, value: Any) -> None:
        found = as_elements(value)
        if found is None or found.count <= LONGEST_SETTING:
            settings[name] = self._plain(value, 0)

    def _plain(self, value: Any, depth: int) -> Any:
        """Return what JSON can hold: tuples, sets and small arrays as lists."""
        self._enter(depth)
        self._spend(SETTING_COST + (len(value) if isinstance(value, str) else 0))
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, Name):
            return str(value)
        if isinstance(value, (list, tuple)):
            return [self._plain(one, depth + 1) for one in value]
        if isinstance(value, (set, frozenset)):
            return [self._plain(one, depth + 1) for one in sorted(value, key=str)]
        if isinstance(value, dict):
            return {
                self._plain(str(key), depth + 1): self._plain(one, depth + 1)
                for key, one in value.items()
            }
        found = as_elements(value)
        if found is None or found.count > LONGEST_SETTING:
            raise unsafe("has settings other than plain data")
        self._spend(found.count * SETTING_COST)
        return found.tensor().tolist()


def _state(network: TensorFlowNetwork) -> dict[Any, Any]:
    if network.state is None:
        raise damaged("a network in it has no state")
    return network.state
