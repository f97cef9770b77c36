import io

import numpy as np
import pytest
import scipy.io

from safelight.data.sources.matlab import HEADER, read_arrays

KINDS = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


def saved(content, compress=True):
    stream = io.BytesIO()
    scipy.io.savemat(stream, content, do_compression=compress)
    return stream.getvalue()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_read_as_scipy_reads_them(kind, compress):
    rng = np.random.default_rng(0)
    content = {
        "first": rng.integers(0, 100, (3, 4, 5)).astype(kind),
        "s": rng.integers(0, 100, (1, 2)).astype(kind),  # small: its data share the tag
        "a_name_of_more_than_eight_bytes": rng.integers(0, 100, (0, 7)).astype(kind),
    }
    file = saved(content, compress)
    ours, theirs = read_arrays(file, tuple(content)), scipy.io.loadmat(io.BytesIO(file))
    assert set(ours) == set(content)
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype == np.dtype(kind)
        assert np.array_equal(array, theirs[name])
        assert np.array_equal(array, content[name])


def test_only_what_is_asked_for_is_read_and_all_else_is_passed_over():
    rng = np.random.default_rng(0)
    content = {
        "told": "text",
        "nested": {"X": rng.normal(size=3)},
        "cells": np.array([1, "two", [3]], dtype=object),
        "X": np.eye(3),
        "y": np.eye(2),
    }
    for compress in (False, True):
        file = saved(content, compress)
        assert list(read_arrays(file, ("X",))) == ["X"]
        assert np.array_equal(read_arrays(file, ("X", "told", "none"))["X"], np.eye(3))
        assert read_arrays(file, ("nested", "cells", "told")) == {}


def test_the_other_byte_order_reads_too():
    header = b" " * 124 + b"\x01\x00MI"
    values = np.array([[1, 2], [300, 4]], dtype=">u2")
    parts = [
        (6, np.array([11, 0], dtype=">u4").tobytes()),
        (5, np.array([2, 2], dtype=">i4").tobytes()),
        (1, b"X\0\0\0\0\0\0\0"[:1]),
        (4, values.tobytes(order="F")),
    ]
    body = b"".join(
        np.array([kind, len(data)], dtype=">u4").tobytes() + data + bytes(-len(data) % 8)
        for kind, data in parts
    )
    file = header + np.array([14, len(body)], dtype=">u4").tobytes() + body
    assert read_arrays(file, ("X",))["X"].tolist() == [[1, 2], [300, 4]]
    assert scipy.io.loadmat(io.BytesIO(file))["X"].tolist() == [[1, 2], [300, 4]]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (b"", "cut short"),
        (b"\x89PNG" + bytes(200), "no MATLAB file"),
        (b"MATLAB 7.3".ljust(124) + b"\x00\x02IM" + bytes(400), "version 5 to 7"),
        (saved({"X": np.eye(9)})[:-20], "cut short"),
        (saved({"X": np.eye(9)}, compress=False)[:-20], "cut short"),
    ],
)
def test_what_is_no_such_file_is_told(file, told):
    with pytest.raises(ValueError, match=told):
        read_arrays(file, ("X",))


def test_a_bomb_is_not_unpacked(monkeypatch):
    file = saved({"X": np.zeros(100_000)})
    assert len(file) < 2_000
    monkeypatch.setattr("safelight.data.sources.matlab.LARGEST", 10_000)
    with pytest.raises(ValueError, match="too large"):
        read_arrays(file, ("X",))


@pytest.mark.parametrize("compress", [False, True])
def test_random_damage_is_an_error_or_another_array_and_nothing_else(compress):
    """SciPy's reader ends with exceptions of many kinds on these, and some end the process."""
    rng = np.random.default_rng(0)
    whole = saved({"X": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "y": np.eye(2)}, compress)
    outcomes = set()
    for _ in range(2_000):
        file = bytearray(whole)
        for place in rng.integers(HEADER - 4, min(len(file), 400), rng.integers(1, 6)):
            file[place] = rng.integers(256)
        try:
            read_arrays(bytes(file), ("X", "y"))
            outcomes.add("read")
        except ValueError as error:
            outcomes.add(str(error))
    assert {"it is damaged", "it is cut short"} <= outcomes
    assert all(len(one) < 60 for one in outcomes)


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_cut_anywhere_is_cut_short(compress):
    whole = saved({"X": np.eye(4), "y": np.eye(2)}, compress)
    first = saved({"X": np.eye(4)}, compress)
    for end in set(range(len(whole))) - {HEADER, len(first)}:  # where one more array could begin
        with pytest.raises(ValueError, match="cut short"):
            read_arrays(whole[:end], ("X", "y"))
    assert list(read_arrays(whole[: len(first)], ("X", "y"))) == ["X"]
