"""Numeric arrays of a MATLAB 5 file, in Python alone: a damaged file is an error and no crash.

SciPy's reader, which is compiled, ends the process on one in a hundred headers with a few random
bytes (version 1.17). The layout is published: MathWorks, "MAT-File Format".
"""

import math
import struct
import zlib
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Bytes before the first element; the last four tell the version and the byte order.
HEADER = 128

#: A compressed element that unpacks to more is refused; SVHN's largest file holds 1.6 GB.
LARGEST = 2**31

_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15

#: How numbers are stored, which may be smaller than what they are.
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}

#: What the numbers of an array are, by its class.
_CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}


class _Element(NamedTuple):
    kind: int
    data: memoryview
    end: int


def read_arrays(content: bytes, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the numeric arrays of these names, those that are there.

    Whatever else the file holds (text, structures, functions, objects) is passed over.

    Args:
        content: of a file saved by MATLAB as version 5 to 7.
        names: of the variables.

    Raises:
        ValueError: it is no such file, damaged, or cut short; the message says which.
    """
    if len(content) < HEADER:
        raise ValueError("it is cut short")
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise ValueError("it is no MATLAB file")
    if struct.unpack(f"{order}H", content[HEADER - 4 : HEADER - 2])[0] != 0x0100:
        raise ValueError("it is not of MATLAB's version 5 to 7")
    view, place = memoryview(content), HEADER
    found: dict[str, NDArray[Any]] = {}
    while place < len(view) and len(found) < len(names):
        element = _element(view, place, order)
        place = element.end
        if element.kind == _COMPRESSED:
            element = _element(_inflated(element.data), 0, order)
        if element.kind == _MATRIX:
            found |= _array(element.data, order, names)
    return found


def _element(view: memoryview, place: int, order: str) -> _Element:
    if len(view) - place < 8:
        raise ValueError("it is cut short")
    first, size = struct.unpack_from(f"{order}II", view, place)
    if first >> 16:  # a small element: its size shares the first word, its data are the second
        kind, size, begin, end = first & 0xFFFF, first >> 16, place + 4, place + 8
        if size > 4:
            raise ValueError("it is damaged")
    else:
        kind, begin = first, place + 8
        end = begin + size + (0 if kind == _COMPRESSED else -size % 8)
    if begin + size > len(view):
        raise ValueError("it is cut short")
    return _Element(kind, view[begin : begin + size], end)


def _inflated(data: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, LARGEST)
    except zlib.error:
        raise ValueError("it is damaged") from None
    if not stream.eof:
        raise ValueError("it is too large" if len(plain) >= LARGEST else "it is cut short")
    return memoryview(plain)


def _array(view: memoryview, order: str, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Read one matrix element: flags, sides, name, and the numbers column by column."""
    flags = _element(view, 0, order)
    sides = _element(view, flags.end, order)
    title = _element(view, sides.end, order)
    if (flags.kind, sides.kind, title.kind) != (_UINT32, _INT32, _INT8) or len(flags.data) < 4:
        return {}  # an object, whose layout is another
    name = bytes(title.data).decode("latin-1")
    kind = struct.unpack_from(f"{order}I", flags.data)[0] & 0xFF
    if name not in names or kind not in _CLASSES:
        return {}
    numbers = _element(view, title.end, order)
    shape = np.frombuffer(_whole(sides.data, 4), f"{order}i4").tolist()
    if numbers.kind not in _STORED:
        raise ValueError("it is damaged")
    stored, own = np.dtype(order + _STORED[numbers.kind]), np.dtype(_CLASSES[kind])
    values = np.frombuffer(_whole(numbers.data, stored.itemsize), stored)
    fits = 2 <= len(shape) <= 32 and min(shape) >= 0 and math.prod(shape) == len(values)
    if not fits or not np.can_cast(stored, own):
        raise ValueError("it is damaged")
    return {name: values.reshape(shape, order="F").astype(own, copy=False)}


def _whole(data: memoryview, size: int) -> memoryview:
    if len(data) % size:
        raise ValueError("it is damaged")
    return data
