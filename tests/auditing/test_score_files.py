import numpy as np
import pandas as pd
import pytest

from safelight.auditing.score_files import read_pair
from safelight.errors import DataError, PlanError


@pytest.fixture
def losses():
    rng = np.random.default_rng(0)
    return rng.exponential(size=60), rng.exponential(size=50)


def write(path, scores, name="loss", ids=None):
    columns = {name: scores} | ({"id": ids} if ids is not None else {})
    if path.suffix == ".npz":
        np.savez(path, **{key: np.asarray(value) for key, value in columns.items()})
    elif path.suffix == ".parquet":
        pd.DataFrame(columns).to_parquet(path)
    else:
        pd.DataFrame(columns).to_csv(path, index=False, float_format="%.17g")
    return path


@pytest.fixture
def place(tmp_path, losses):
    """Write members and non-members, changed as a test asks, and read them."""

    def read(members=None, nonmembers=None, kind="loss", suffix=".npz", column=None, **more):
        ours = losses[0] if members is None else members
        theirs = losses[1] if nonmembers is None else nonmembers
        one = write(tmp_path / f"in{suffix}", ours, ids=more.get("ids"))
        two = write(tmp_path / f"out{suffix}", theirs, ids=more.get("other_ids"))
        return read_pair(one, two, kind, column)

    return read


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv"])
@pytest.mark.parametrize("ids", [False, True])
def test_every_format_gives_the_same_scores(place, losses, suffix, ids):
    more = {"ids": list(range(60)), "other_ids": list(range(100, 150))} if ids else {}
    members, nonmembers = place(suffix=suffix, **more)
    assert np.array_equal(members.scores, -losses[0])
    assert np.array_equal(nonmembers.scores, -losses[1])
    assert members.ids == (tuple(str(one) for one in range(60)) if ids else ())
    assert (members.origin.column, members.origin.count) == ("loss", 60)
    assert members.origin.file == f"in{suffix}"
    assert len(members.origin.sha256) == 64


def test_only_losses_are_turned_around(place):
    values = np.random.default_rng(1).random(60)
    for kind, sign in (("loss", -1), ("probability", 1), ("score", 1)):
        assert np.array_equal(place(values, values[:50] / 2, kind=kind)[0].scores, sign * values)


def test_the_column_can_be_named(tmp_path, losses):
    for side, name in zip(losses, ("in.csv", "out.csv"), strict=True):
        frame = pd.DataFrame({"loss": side, "label": np.arange(side.size) % 3})
        frame.to_csv(tmp_path / name, index=False)
    pair = tmp_path / "in.csv", tmp_path / "out.csv"
    assert read_pair(*pair, "loss", "loss")[0].scores.size == 60
    with pytest.raises(PlanError, match="2 numeric columns among loss, label; name the one"):
        read_pair(*pair, "loss", None)
    with pytest.raises(PlanError, match="no column 'lss'; choose from: loss, label"):
        read_pair(*pair, "loss", "lss")


def spoiled(values, at, to):
    changed = values.copy()
    changed[at] = to
    return changed


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (lambda v: spoiled(v, 3, np.nan), "loss", "example 4 is nan, which is no loss"),
        (lambda v: spoiled(v, 3, np.inf), "score", "example 4 is inf, which is no score"),
        (lambda v: spoiled(v, 0, -0.1), "loss", "example 1 is -0.1, which is no loss"),
        (lambda v: spoiled(v / 99, 2, 1.1), "probability", "1.1, which is no probability"),
        (lambda v: v[:19], "loss", "has 19 scores, too few"),
        (lambda v: v.reshape(-1, 2), "loss", r"shape \[30, 2\]; give one number an example"),
        (lambda v: np.append(v, v[:25]), "loss", "come again from example 61 on"),
    ],
)
def test_what_cannot_be_scores_is_refused(place, losses, change, kind, told):
    with pytest.raises(DataError, match=told):
        place(change(losses[0]), losses[1] / 99, kind=kind)


def test_the_same_examples_in_both_files_are_refused(place, losses):
    with pytest.raises(DataError, match="both files hold the same scores"):
        place(losses[0], losses[0][::-1])
    with pytest.raises(DataError, match="are those of non-members to the last digit"):
        place(losses[0], np.append(losses[1], losses[0][:10]))
    with pytest.raises(DataError, match="2 examples are in both files, such as 58"):
        place(ids=list(range(60)), other_ids=list(range(58, 108)))
    with pytest.raises(DataError, match="has example 7 twice"):
        place(ids=[7, *range(1, 60)])


def test_ties_that_come_by_themselves_are_not_held_against_the_files(place):
    """Rounded losses, saturated probabilities and counts of labels repeat in any two sets."""
    rng = np.random.default_rng(2)
    place(rng.exponential(size=500).round(2), rng.exponential(size=500).round(2))
    saturated = [np.where(rng.random(400) < 0.7, 1.0, rng.random(400)) for _ in range(2)]
    place(*saturated, kind="probability")
    place(rng.integers(0, 9, 300) / 8, rng.integers(0, 9, 400) / 8, kind="score")
    place(rng.random(30_000).astype(np.float32), rng.random(30_000).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("in.csv", b"0.1\n0.2\n", "has no header"),
        ("in.csv", b"", "has no header"),
        ("in.csv", b"loss\n0.1\nmany\n", "in row 3 is 'many', not a number"),
        ("in.csv", b"loss,id\n0.1\n", "row 2 has 1 cells, the header 2"),
        ("in.csv", b"\xff\xfe\x00", "write it as CSV"),
        ("in.parquet", b"PAR1 it is not", "write it as parquet"),
        ("in.npz", b"PK it is not", "write plain numbers with numpy.savez"),
        ("in.npz", b"", "write plain numbers with numpy.savez"),
        ("in.json", b"[]", r"give an .npz, .parquet or .csv file"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, losses, name, content, told):
    (tmp_path / name).write_bytes(content)
    other = write(tmp_path / "out.npz", losses[1])
    with pytest.raises(DataError, match=told):
        read_pair(tmp_path / name, other, "loss", None)


def test_a_pickle_in_an_npz_is_not_executed(tmp_path, losses):
    file = tmp_path / "in.npz"
    np.savez(file, loss=np.array([{"a": 1}] * 30, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="write plain numbers"):
        read_pair(file, write(tmp_path / "out.npz", losses[1]), "loss", None)


def test_a_file_that_is_not_there_is_named(tmp_path, losses):
    other = write(tmp_path / "out.npz", losses[1])
    for suffix in (".npz", ".csv", ".parquet"):
        with pytest.raises(DataError, match=r"cannot read .*nowhere.*; check the path"):
            read_pair(tmp_path / f"nowhere{suffix}", other, "loss", None)


def test_missing_cells_of_a_table_are_refused(tmp_path, losses):
    file = tmp_path / "in.parquet"
    pd.DataFrame({"loss": [None, *losses[0][1:]]}).to_parquet(file)
    with pytest.raises(DataError, match="example 1 is nan"):
        read_pair(file, write(tmp_path / "out.npz", losses[1]), "loss", None)
