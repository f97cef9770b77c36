"""Pictures of an extraction: what was trained on, what was found, what chance resemblance shows."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from safelight.errors import RecordError
from safelight.record.extraction import ExtractionCell, ExtractionFinding, ExtractionRecord
from safelight.record.store import Run
from safelight.reports import pictures
from safelight.reports.evidence import Evidence
from safelight.reports.pictures import SEED, SHOWN, Tile

#: Findings with a row of candidates, worst first; the others stand in the table only.
MOST_ROWS = 4


@dataclass(frozen=True)
class PictureRow:
    """One kind of picture beside the same training pictures; ``kind`` is its style."""

    kind: str
    title: str
    note: str
    tiles: list[Tile]


@dataclass(frozen=True)
class PictureView:
    """One choice of training pictures, as (number in the record, class name), and its rows."""

    key: str
    title: str
    note: str
    members: list[tuple[int, str]]
    rows: list[PictureRow]


def views(run: Run, record: ExtractionRecord, evidence: Evidence) -> list[PictureView]:
    """Cut the pictures of a page, or return none where nothing may or can be shown.

    Raises:
        RecordError: a contact sheet is missing, damaged, or too small.
    """
    shown = _shown(record)
    if evidence == "none" or not shown:
        return []
    cut = _Cutter(run, record, evidence)
    likeness = np.array(shown[0][1].members.likeness) if shown[0][1].members else np.zeros(0)
    return [
        PictureView(
            key,
            title,
            note,
            [(one, record.classes[record.member_labels[one]]) for one in members],
            _rows(record, shown, members, cut),
        )
        for key, title, note, members in _choices(record, likeness, shown[0][0].attack)
    ]


def _shown(record: ExtractionRecord) -> list[tuple[ExtractionFinding, ExtractionCell]]:
    """Return each finding with its first finished cell, the one with most extracted first."""
    rows = []
    for one in record.findings:
        cells = [cell for cell in record.cells if cell.finding == one.id and cell.members]
        if cells:
            rows.append((one, cells[0]))
    return sorted(rows, key=lambda row: -_rank(row[0]))[:MOST_ROWS]


def _rank(finding: ExtractionFinding) -> float:
    if finding.extracted is None or finding.auc is None:
        return 0.0
    return (finding.extracted.measurement.value or 0.0) + (finding.auc.measurement.value or 0.0)


def _choices(
    record: ExtractionRecord, likeness: np.ndarray, attack: str
) -> list[tuple[str, str, str, list[int]]]:
    total = len(likeness)
    whose = "scored training pictures" if record.trained_on > total else "training pictures"
    some = min(SHOWN, total)
    drawn = np.random.default_rng(SEED).choice(total, some, replace=False)
    order = np.argsort(likeness, kind="stable").tolist()
    middle = (total - some) // 2
    by = f"by likeness to a candidate of {attack}"
    return [
        (
            "random",
            "Random",
            f"{some} of {total:,} {whose}, drawn by a fixed seed ({SEED}).",
            sorted(drawn.tolist()),
        ),
        ("worst", "Worst", f"The {some} least found, {by}.", order[:some]),
        ("median", "Median", f"The {some} around the median, {by}.", order[middle : middle + some]),
        ("best", "Best", f"The {some} best found, {by}.", order[::-1][:some]),
    ]


def _rows(
    record: ExtractionRecord,
    shown: list[tuple[ExtractionFinding, ExtractionCell]],
    members: list[int],
    cut: "_Cutter",
) -> list[PictureRow]:
    def tiles(sheet: str, places: list[int], scores: list[float] | None, what: str) -> list[Tile]:
        return [
            Tile(cut(sheet, place), f"{what} {member}", scores[member] if scores else None)
            for member, place in zip(members, places, strict=True)
        ]

    first = tiles(record.members_artifact, members, None, "Training picture")
    rows = [PictureRow("victim", "Training picture", "private", first)]
    for finding, cell in shown:
        if cell.members is None:
            continue
        scores, kind = cell.members.likeness, finding.verdict.outcome
        found = tiles(cell.members.artifact, members, scores, f"{finding.attack}, nearest to")
        rows.append(
            PictureRow(
                "leak" if kind == "LEAK" else "other",
                "Nearest candidate",
                f"{finding.attack}, of {cell.candidates}",
                found,
            )
        )
    places = [record.nearest_others[one] for one in members]
    scores = record.nearest_others_likeness
    nearest = tiles(record.others_artifact, places, scores, "The held-out picture most like")
    note = "never trained on: chance resemblance"
    rows.append(PictureRow("null", "Nearest held-out picture", note, nearest))
    return rows


class _Cutter:
    """Cuts one picture out of a contact sheet, as a data URI."""

    def __init__(self, run: Run, record: ExtractionRecord, evidence: Evidence) -> None:
        self.run, self.record, self.evidence = run, record, evidence
        self.sheets: dict[str, Image.Image] = {}

    def __call__(self, name: str, place: int) -> str:
        if name not in self.sheets:
            self.sheets[name] = pictures._open(self.run, name)
        sheet = self.sheets[name]
        _, height, width = self.record.image_shape
        left = place % self.record.sheet_columns * width
        top = place // self.record.sheet_columns * height
        if left + width > sheet.width or top + height > sheet.height:
            raise RecordError(f"artifact {name} has no picture {place}; run the audit again")
        picture = sheet.crop((left, top, left + width, top + height))
        return pictures._uri(picture, pictures.SIDES[0], self.evidence)
