"""How well a table hides its people: k-anonymity, l-diversity and t-closeness.

Written out here: each is a few lines, and the one library kept for them (pycanon) pins exact
versions of numpy, pandas and scipy that this project cannot live with.

* k-anonymity: Sweeney, IJUFKS 2002. Rows that agree in all quasi-identifiers form a class; k is
  the size of the smallest.
* l-diversity (distinct): Machanavajjhala et al., TKDD 2007. l is the least number of different
  sensitive values in a class.
* t-closeness: Li, Li and Venkatasubramanian, ICDE 2007. t is the largest earth mover's distance
  between a class's distribution of the sensitive value and the whole table's: with the ordered
  distance for numbers, with the equal distance (half the sum of absolute differences) for words.
"""

import csv
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np

from safelight import catalog
from safelight.errors import DataError


@dataclass(frozen=True)
class Sensitive:
    """l-diversity and t-closeness of one sensitive attribute; ``t`` lies in [0, 1]."""

    name: str
    l: int  # noqa: E741 - its name in the literature
    t: float


@dataclass(frozen=True)
class Anonymity:
    """``k``: rows in the smallest class. ``alone``: rows that no other row agrees with."""

    rows: int
    quasi: tuple[str, ...]
    k: int
    alone: int
    sensitive: tuple[Sensitive, ...]


def read_table(file: Path) -> dict[str, list[object]]:
    """Read a CSV (by its first row) or parquet file as columns.

    Raises:
        DataError: it is neither, or is cut short, or empty.
    """
    try:
        table = _read_parquet(file) if file.suffix == ".parquet" else _read_csv(file)
    except (OSError, ValueError, csv.Error, datasets.exceptions.DatasetsError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise DataError(f"cannot read {file}: {reason}; give a CSV or parquet file") from None
    if not table or not next(iter(table.values())):
        raise DataError(f"{file} holds no rows; give the attributes of the pictures")
    return table


def anonymity(
    table: Mapping[str, Sequence[object]], quasi: Sequence[str], sensitive: Sequence[str]
) -> Anonymity:
    """Measure a table.

    Args:
        table: columns of equal length.
        quasi: columns that an attacker may know of a person.
        sensitive: columns that must not be learned.

    Raises:
        DataError: a column is not there, or none is named.
    """
    if not quasi:
        raise DataError("no quasi-identifier is named; name columns, as in --quasi age,zip")
    for name in (*quasi, *sensitive):
        if name not in table:
            raise DataError(catalog.unknown("column", name, list(table)))
    classes: dict[tuple[object, ...], list[int]] = {}
    for row, key in enumerate(zip(*(table[name] for name in quasi), strict=True)):
        classes.setdefault(key, []).append(row)
    sizes = [len(rows) for rows in classes.values()]
    return Anonymity(
        rows=sum(sizes),
        quasi=tuple(quasi),
        k=min(sizes),
        alone=sizes.count(1),
        sensitive=tuple(_measure(name, table[name], list(classes.values())) for name in sensitive),
    )


def _measure(name: str, values: Sequence[object], classes: list[list[int]]) -> Sensitive:
    ordered, numeric = _levels(values)
    place = {value: at for at, value in enumerate(ordered)}
    whole = np.array([Counter(values)[value] for value in ordered]) / len(values)
    fewest, farthest = len(ordered), 0.0
    for rows in classes:
        counts = np.bincount([place[values[row]] for row in rows], minlength=len(ordered))
        gap = counts / len(rows) - whole
        if numeric and len(ordered) > 1:
            distance = np.abs(np.cumsum(gap)).sum() / (len(ordered) - 1)
        else:
            distance = np.abs(gap).sum() / 2
        fewest, farthest = min(fewest, int((counts > 0).sum())), max(farthest, float(distance))
    return Sensitive(name, fewest, farthest)


def _levels(values: Sequence[object]) -> tuple[list[object], bool]:
    """Return the different values in order, and whether they are numbers."""
    different = list(dict.fromkeys(values))
    try:
        return sorted(different, key=lambda value: float(str(value))), True
    except ValueError:
        return sorted(different, key=str), False


def _read_csv(file: Path) -> dict[str, list[object]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        head, *rows = [row for row in csv.reader(stream) if row] or [[]]
    if len(set(head)) < len(head):
        raise ValueError("two columns have the same name")
    short = next((at for at, row in enumerate(rows, 2) if len(row) != len(head)), None)
    if short is not None:
        raise ValueError(f"row {short} has not as many values as the first row has names")
    return {name: [row[at] for row in rows] for at, name in enumerate(head)}


def _read_parquet(file: Path) -> dict[str, list[object]]:
    datasets.disable_progress_bars()
    try:
        with tempfile.TemporaryDirectory() as cache:
            rows = datasets.Dataset.from_parquet(str(file), cache_dir=cache, keep_in_memory=True)
    finally:
        datasets.enable_progress_bars()
    return {name: list(rows[name]) for name in rows.column_names}
