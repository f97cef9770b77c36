"""Tensors as they lie in the file: a view of its bytes with a shape, checked before use."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safelight.targets.stylegan_pickle.refusal import damaged, quoted, too_large, unsafe

MOST_DIMENSIONS = 16
#: Bounds the sizes of a tensor without elements, which no byte of the file bounds.
LARGEST_EMPTY = 2**31


@dataclass(frozen=True)
class ElementType:
    """How one element is stored: little-endian numpy code, and what torch calls it."""

    code: str
    torch: torch.dtype

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return int(self.code[-1])


#: numpy's codes without the byte order.
NUMPY_TYPES = {
    code: ElementType(f"<{code}", getattr(torch, name))
    for code, name in {
        "b1": "bool",
        "i1": "int8",
        "i2": "int16",
        "i4": "int32",
        "i8": "int64",
        "u1": "uint8",
        "u2": "uint16",
        "u4": "uint32",
        "u8": "uint64",
        "f2": "float16",
        "f4": "float32",
        "f8": "float64",
    }.items()
}
#: Names of the storage classes in ``torch``.
STORAGE_TYPES = {
    "BoolStorage": NUMPY_TYPES["b1"],
    "CharStorage": NUMPY_TYPES["i1"],
    "ShortStorage": NUMPY_TYPES["i2"],
    "IntStorage": NUMPY_TYPES["i4"],
    "LongStorage": NUMPY_TYPES["i8"],
    "ByteStorage": NUMPY_TYPES["u1"],
    "HalfStorage": NUMPY_TYPES["f2"],
    "FloatStorage": NUMPY_TYPES["f4"],
    "DoubleStorage": NUMPY_TYPES["f8"],
    "BFloat16Storage": ElementType("<u2", torch.bfloat16),
}


@dataclass(frozen=True)
class Storage:
    """The elements of one torch storage."""

    raw: memoryview
    type: ElementType


@dataclass(frozen=True, eq=False)
class Elements:
    """A tensor: where its elements lie in ``raw``. Offset and stride count elements."""

    raw: memoryview
    type: ElementType
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes its elements take."""
        return self.count * self.type.size

    def tensor(self) -> Tensor:
        """Return the elements as a contiguous tensor with memory of its own."""
        if not self.count:
            return torch.empty(self.shape, dtype=self.type.torch)
        size = self.type.size
        # A byte other than 0 and 1 is no bool to either library until it is compared.
        code = "|u1" if self.type.torch is torch.bool else self.type.code
        array: np.ndarray[Any, Any] = np.ndarray(
            self.shape,
            code,
            buffer=self.raw,
            offset=self.offset * size,
            strides=tuple(step * size for step in self.stride),
        )
        tensor = torch.from_numpy(array.copy(order="C"))
        return tensor.ne(0) if self.type.torch is torch.bool else tensor.view(self.type.torch)


def elements(raw: memoryview, kind: ElementType, offset: Any, shape: Any, stride: Any) -> Elements:
    """Return a tensor of a storage, after a check that it lies inside and on no element twice.

    Raises:
        LoadError: it does not, or its numbers are none.
    """
    shape, stride = _counts(shape, "size"), _counts(stride, "stride")
    (offset,) = _counts((offset,), "offset")
    if len(shape) != len(stride):
        raise damaged(f"a tensor has {len(shape)} sizes and {len(stride)} strides")
    stored, wanted = len(raw) // kind.size, math.prod(shape)
    if not wanted:
        if math.prod(max(size, 1) for size in shape) > LARGEST_EMPTY:
            raise too_large("has an empty tensor of enormous sizes")
        return Elements(raw, kind, 0, shape, stride)
    reach = 0
    for step, size in sorted((step, size) for step, size in zip(stride, shape, strict=True)):
        if size > 1 and step <= reach:
            raise unsafe("holds a tensor whose elements overlap in memory")
        reach += step * (size - 1)
    if offset + reach >= stored:
        raise damaged(
            f"a tensor reaches to element {offset + reach} of a storage of {stored} elements"
        )
    return Elements(raw, kind, offset, shape, stride)


def packed(raw: Any, kind: ElementType, shape: Any, *, columns_first: bool) -> Elements:
    """Return the tensor of a numpy array, whose bytes have no gap.

    Raises:
        LoadError: the bytes are not as many as the shape asks for.
    """
    if not isinstance(raw, memoryview):
        raise unsafe("holds an array of Python objects")
    shape = _counts(shape, "size")
    if math.prod(shape) * kind.size != len(raw):
        raise damaged("an array has another number of bytes than its shape asks for")
    stride, step = [0] * len(shape), 1
    for axis in range(len(shape)) if columns_first else reversed(range(len(shape))):
        stride[axis] = step
        step *= shape[axis]
    return elements(raw, kind, 0, shape, tuple(stride))


def numpy_type(code: Any) -> ElementType:
    """Return the type that numpy's code stands for.

    Raises:
        LoadError: it is of Python objects, of records, or unknown.
    """
    if not isinstance(code, str) or code not in NUMPY_TYPES:
        told = quoted(code) if isinstance(code, str) else type(code).__name__
        raise unsafe(f"holds an array of type {told}")
    return NUMPY_TYPES[code]


def _counts(values: Any, what: str) -> tuple[int, ...]:
    """Return sizes, strides or an offset, all of them integers from 0 to 2**63."""
    if not isinstance(values, tuple) or len(values) > MOST_DIMENSIONS:
        raise damaged(f"the {what} of a tensor is no short tuple")
    if not all(type(one) is int and 0 <= one < 2**63 for one in values):
        raise damaged(f"the {what} of a tensor is negative, enormous or no integer")
    return values
