"""Read scores that someone else's attack or model wrote: one number an example, checked."""

import csv
import hashlib
import math
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import DataError, PlanError
from safelight.record.membership import FEWEST_SCORES, Kind, ScoreFile

#: Names under which examples are numbered, if a file does that.
ID = "id"

#: Rows compared to see whether a file was appended to itself, and how many of them must differ
#: for that to mean anything.
HEAD, HEAD_DIFFERENT = 20, 15

#: More values than this share, beyond what repeats by itself, in both files: the same examples.
SHARED = 0.02

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreSet:
    """The scores of one set, [n], higher for members, and where they come from."""

    scores: Array
    ids: tuple[str, ...]
    origin: ScoreFile


def read_pair(
    members: Path, nonmembers: Path, kind: Kind, column: str | None
) -> tuple[ScoreSet, ScoreSet]:
    """Read and check both sets.

    Args:
        members: npz, parquet or CSV with a header; one row an example.
        nonmembers: the same.
        kind: "loss" (cross-entropy, lower for members), "probability" (of the true class, in
            [0, 1]) or "score" (any number, higher for members).
        column: the column, or the npz file's array, to read; the only numeric one if not given.

    Raises:
        DataError: a file cannot be read, or holds what no such scores can be.
        PlanError: the column is not there, or there are several and none was named.
    """
    pair = _read(members, kind, column), _read(nonmembers, kind, column)
    _refuse_same_examples(*pair)
    return pair


def _read(path: Path, kind: Kind, column: str | None) -> ScoreSet:
    readers = {".npz": _npz, ".parquet": _parquet, ".csv": _csv}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: give an .npz, .parquet or .csv file")
    try:
        content = path.read_bytes()
        columns = readers[path.suffix.lower()](path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the path") from None
    name = _chosen(path, columns, column)
    values = _numbers(path, name, columns[name], kind)
    origin = ScoreFile(
        file=path.name,
        column=name,
        count=values.size,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    ids = tuple(str(one) for one in columns[ID]) if ID in columns and name != ID else ()
    found = ScoreSet(values if kind != "loss" else -values, ids, origin)
    _refuse_repeats(path, found)
    return found


def _npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"cannot read {path}: {_first_line(error)}; write plain numbers with numpy.savez"
        ) from None


def _parquet(path: Path) -> dict[str, Any]:
    import datasets  # takes seconds, which the other formats need not wait for

    try:
        with tempfile.TemporaryDirectory() as cache:
            datasets.disable_progress_bars()
            rows = datasets.Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)
            return {
                name: np.asarray([math.nan if one is None else one for one in rows[name][:]])
                for name in rows.column_names
            }
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"cannot read {path}: {_first_line(error)}; write it as parquet with one number a row"
        ) from None
    finally:
        datasets.enable_progress_bars()


def _csv(path: Path) -> dict[str, Any]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.reader(stream, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {_first_line(error)}; write it as CSV") from None
    rows = [row for row in rows if row]
    if not rows or all(_is_number(cell) for cell in rows[0]):
        raise DataError(f"{path} has no header; name its columns in the first line, as in: loss")
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise DataError(
                f"{path}: row {number} has {len(row)} cells, the header {len(header)}; correct it"
            )
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(header)}


def _chosen(path: Path, columns: dict[str, Any], column: str | None) -> str:
    if column is not None:
        if column not in columns:
            raise PlanError(f"{path} has no column {column!r}; choose from: {', '.join(columns)}")
        return column
    numeric = [name for name, cells in columns.items() if name != ID and _is_numeric(cells)]
    if len(numeric) != 1:
        raise PlanError(
            f"{path} has {len(numeric)} numeric columns among {', '.join(columns) or '(none)'}; "
            "name the one with the scores by --column"
        )
    return numeric[0]


def _is_numeric(cells: Any) -> bool:
    if isinstance(cells, list):
        return bool(cells) and _is_number(cells[0])
    return bool(np.issubdtype(cells.dtype, np.number))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(path: Path, name: str, cells: Any, kind: Kind) -> Array:
    """Return a column as float64, or say which row cannot be a loss, probability or score."""
    if isinstance(cells, list):
        for number, cell in enumerate(cells, 2):
            if not _is_number(cell):
                raise DataError(
                    f"{path}: {name} in row {number} is {cell!r}, not a number; mend or remove it"
                )
    try:
        values = np.asarray(cells).astype(np.float64)
    except (ValueError, TypeError):
        raise DataError(f"{path}: {name} does not hold numbers; name another --column") from None
    if values.ndim != 1:
        raise DataError(
            f"{path}: {name} has shape {list(values.shape)}; give one number an example, such as "
            "the loss or the true class's probability"
        )
    if values.size < FEWEST_SCORES:
        raise DataError(
            f"{path} has {values.size} scores, too few to tell anything; give {FEWEST_SCORES} or "
            "more"
        )
    least, most = {"loss": (0, math.inf), "probability": (0, 1)}.get(kind, (-math.inf, math.inf))
    wrong = ~np.isfinite(values) | (values < least) | (values > most)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}: {name} of example {row + 1} is {values[row]:g}, which is no {kind} "
            f"({int(wrong.sum())} of {values.size} are not); mend or remove it, or give another "
            "--kind"
        )
    return values


def _refuse_repeats(path: Path, found: ScoreSet) -> None:
    """Refuse a set in which the same rows come twice, as far as that can be seen."""
    if len(set(found.ids)) < len(found.ids):
        twice = Counter(found.ids).most_common(1)[0][0]
        raise DataError(f"{path} has example {twice} twice; keep each example once")
    scores, head = found.scores, found.scores[:HEAD]
    if np.unique(head).size < HEAD_DIFFERENT:
        return
    windows = np.lib.stride_tricks.sliding_window_view(scores[1:], HEAD)
    again = np.flatnonzero((windows[:, 0] == head[0]) & (windows[:, -1] == head[-1]))
    for start in again:
        if (windows[start] == head).all():
            raise DataError(
                f"{path}: its first {HEAD} scores come again from example {start + 2} on, as if it "
                "had been appended to itself; keep each example once"
            )


def _refuse_same_examples(members: ScoreSet, nonmembers: ScoreSet) -> None:
    """Refuse two sets that share examples, as far as that can be seen."""
    common = set(members.ids) & set(nonmembers.ids)
    if common:
        raise DataError(
            f"{len(common)} examples are in both files, such as {min(common)}; a member cannot be "
            "a non-member: remove them from one"
        )
    if np.array_equal(np.sort(members.scores), np.sort(nonmembers.scores)):
        raise DataError("both files hold the same scores; give members and non-members")
    # Losses of 0 and probabilities of 1 repeat by rounding, whoever the examples are.
    ends = np.array([f(s.scores) for s in (members, nonmembers) for f in (np.min, np.max)])
    ours, theirs = (s.scores[~np.isin(s.scores, ends)] for s in (members, nonmembers))
    if not ours.size or not theirs.size:
        return
    counts = np.unique(ours, return_counts=True)[1]
    by_itself = counts[counts > 1].sum() / ours.size * max(1.0, theirs.size / ours.size)
    shared = np.isin(ours, theirs).mean()
    if shared > SHARED + 3 * by_itself:
        raise DataError(
            f"{shared:.0%} of the members' scores are those of non-members to the last digit, as "
            "if the same examples were in both files; keep each example in one of them"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".;") or type(error).__name__
