"""The constructions that network pickles use, and what each stands for here.

Every name outside this list is refused by the machine that reads the opcodes. None of these
functions imports, calls or looks up anything that the file names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from safelight.targets.stylegan_pickle.elements import (
    STORAGE_TYPES,
    Elements,
    ElementType,
    Storage,
    elements,
    numpy_type,
    packed,
)
from safelight.targets.stylegan_pickle.opcodes import (
    Budget,
    Name,
    Unfinished,
    Vocabulary,
    as_key,
)
from safelight.targets.stylegan_pickle.refusal import damaged, unsafe
from safelight.targets.stylegan_pickle.storages import read_storage

_NDARRAY = Name("numpy", "ndarray")
#: The scalar types of torch, which may occur as a setting.
_TORCH_TYPES = ("float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True, eq=False)
class Module:
    """A PyTorch module of the published code: its class and attributes; its source as text."""

    class_name: str
    source: str
    state: dict[Any, Any]


class TensorFlowNetwork(Unfinished):
    """A network of the TensorFlow era: its state, once it is there."""

    def __init__(self) -> None:
        self.state: dict[Any, Any] | None = None

    def finish(self, state: Any) -> None:
        """Take the state, a dictionary."""
        if self.state is not None or not isinstance(state, dict):
            raise unsafe("sets the state of a network twice, or to no dictionary")
        self.state = state


class Array(Unfinished):
    """A numpy array, whose shape and bytes come after it."""

    def __init__(self) -> None:
        self.elements: Elements | None = None

    def finish(self, state: Any) -> None:
        """Take (version, shape, type, whether columns come first, bytes)."""
        if self.elements is not None or not isinstance(state, tuple) or len(state) != 5:
            raise damaged("the state of an array is not of five parts, or is set twice")
        _, shape, kind, columns_first, raw = state
        self.elements = packed(raw, _element_type(kind), shape, columns_first=columns_first is True)


class ArrayType(Unfinished):
    """The type of a numpy array, whose byte order comes after it."""

    def __init__(self, kind: ElementType) -> None:
        self.type = kind

    def finish(self, state: Any) -> None:
        """Take (version, byte order, and what only arrays of records have)."""
        if not isinstance(state, tuple) or len(state) < 5 or any(state[2:5]):
            raise unsafe("holds an array of records")
        if state[1] not in ("<", "|", "="):
            raise damaged("an array in it is not little-endian")


def as_elements(value: Any) -> Elements | None:
    """Return the tensor that a value is, or None."""
    if isinstance(value, Array):
        if value.elements is None:
            raise damaged("an array in it has no content")
        return value.elements
    return value if isinstance(value, Elements) else None


def vocabulary(budget: Budget) -> Vocabulary:
    """Return the names that may occur in a network pickle, with what makes their values."""
    named: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any] | None] = {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
        ("dnnlib.tflib.network", "Network"): _network,
        ("dnnlib.util", "EasyDict"): _dictionary,
        ("collections", "OrderedDict"): _dictionary,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch.storage", "_load_from_bytes"): partial(_storage, budget=budget),
        ("torch", "Size"): _size,
        ("torch", "device"): _device,
        ("numpy", "dtype"): _array_type,
        ("numpy", "ndarray"): None,
        ("_codecs", "encode"): partial(_bytes, budget=budget),
    }
    named |= {("torch", name): None for name in (*STORAGE_TYPES, *_TORCH_TYPES)}
    collected = partial(_set, budget=budget)
    for builtins in ("builtins", "__builtin__"):
        named |= {(builtins, kind): collected for kind in ("set", "frozenset")}
    for core in ("numpy.core", "numpy._core"):
        named |= {
            (f"{core}.multiarray", "_reconstruct"): _array,
            (f"{core}.multiarray", "scalar"): _scalar,
            (f"{core}.numeric", "_frombuffer"): _array_from_buffer,
        }
    return {Name(*name): maker for name, maker in named.items()}


def _arguments(given: tuple[Any, ...], what: str, *counts: int) -> tuple[Any, ...]:
    if len(given) not in counts:
        raise damaged(f"{what} is made from {len(given)} arguments")
    return given


def _module(given: tuple[Any, ...]) -> Module:
    (meta,) = _arguments(given, "a module", 1)
    meta = meta if isinstance(meta, dict) else {}
    name, source, state = meta.get("class_name"), meta.get("module_src"), meta.get("state")
    if meta.get("type") != "class" or not isinstance(source, str) or not isinstance(state, dict):
        raise damaged("a module in it lacks its class, source or state")
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise damaged("the class of a module in it has no proper name")
    return Module(name, source, state)


def _network(given: tuple[Any, ...]) -> TensorFlowNetwork:
    _arguments(given, "a network", 0)
    return TensorFlowNetwork()


def _dictionary(given: tuple[Any, ...]) -> dict[Any, Any]:
    _arguments(given, "a dictionary", 0)
    return {}


def _tensor(given: tuple[Any, ...]) -> Elements:
    storage, offset, shape, stride, _, hooks = _arguments(given, "a tensor", 6, 7)[:6]
    if not isinstance(storage, Storage):
        raise damaged("a tensor in it has no storage")
    if hooks or any(given[6:]):
        raise unsafe("hooks code to a tensor, or marks it as a view of another kind")
    return elements(storage.raw, storage.type, offset, shape, stride)


def _parameter(given: tuple[Any, ...]) -> Elements:
    data, _, hooks = _arguments(given, "a parameter", 3)
    if not isinstance(data, Elements):
        raise damaged("a parameter in it is no tensor")
    if hooks:
        raise unsafe("hooks code to a parameter")
    return data


def _storage(given: tuple[Any, ...], *, budget: Budget) -> Storage:
    (content,) = _arguments(given, "a storage", 1)
    if not isinstance(content, memoryview):
        raise damaged("a storage in it is not made from bytes")
    return read_storage(content, budget)


def _size(given: tuple[Any, ...]) -> tuple[Any, ...]:
    (sizes,) = _arguments(given, "a shape", 1)
    if not isinstance(sizes, tuple):
        raise damaged("a shape in it is no tuple")
    return sizes


def _device(given: tuple[Any, ...]) -> str:
    kind = _arguments(given, "a device", 1, 2)[0]
    if not isinstance(kind, str):
        raise damaged("a device in it has no name")
    return kind


def _array_type(given: tuple[Any, ...]) -> ArrayType:
    return ArrayType(numpy_type(_arguments(given, "an array's type", 3)[0]))


def _element_type(value: Any) -> ElementType:
    if not isinstance(value, ArrayType):
        raise damaged("an array in it has no type")
    return value.type


def _array(given: tuple[Any, ...]) -> Array:
    kind, _, _ = _arguments(given, "an array", 3)
    if kind != _NDARRAY:
        raise unsafe("holds an array of another class than numpy's")
    return Array()


def _array_from_buffer(given: tuple[Any, ...]) -> Elements:
    raw, kind, shape, order = _arguments(given, "an array", 4)
    return packed(raw, _element_type(kind), shape, columns_first=order == "F")


def _scalar(given: tuple[Any, ...]) -> Any:
    kind, raw = _arguments(given, "a number", 2)
    return packed(raw, _element_type(kind), (), columns_first=False).tensor().item()


def _set(given: tuple[Any, ...], *, budget: Budget) -> set[str | int]:
    (members,) = _arguments(given, "a set", 1)
    if not isinstance(members, list):
        raise damaged("a set in it is not made from a list")
    budget.copy(len(members))
    return {as_key(one) for one in members}


def _bytes(given: tuple[Any, ...], *, budget: Budget) -> memoryview:
    """Return bytes that protocol 2 has as text."""
    text, encoding = _arguments(given, "bytes", 2)
    if not isinstance(text, str) or encoding != "latin1":
        raise unsafe("encodes something other than bytes")
    budget.copy(len(text))
    try:
        return memoryview(text.encode("latin1"))
    except UnicodeEncodeError:
        raise damaged("bytes in it are no bytes") from None
