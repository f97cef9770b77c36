"""Pictures of an audit of a generator: candidates beside the nearest picture an attack made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from safelight.errors import RecordError
from safelight.record.generator import GeneratorFinding, GeneratorRecord
from safelight.record.store import Run
from safelight.reports import numbers, pictures
from safelight.reports.evidence import Evidence
from safelight.reports.pictures import SIDES

#: Pairs a side of each view, and pictures of the generator: what a page has room for.
PAIRS, MADE = 12, 36

#: Findings shown with their pictures, those that carry most first.
MOST_VIEWS = 2


@dataclass(frozen=True)
class Pair:
    """A candidate above the picture nearest to it; ``had`` where it is called extracted."""

    own: str
    nearest: str
    alt: str
    found: str
    score: str
    had: bool


@dataclass(frozen=True)
class Side:
    """Members or others, with the highest scores first."""

    title: str
    pairs: list[Pair]


@dataclass(frozen=True)
class PairView:
    """One finding's pictures, members beside others."""

    title: str
    note: str
    sides: list[Side]


def views(
    run: Run, record: GeneratorRecord, findings: Sequence[GeneratorFinding], evidence: Evidence
) -> list[PairView]:
    """Cut the pictures of findings, or return none where nothing may be shown.

    Raises:
        RecordError: a contact sheet is missing, damaged, or too small.
    """
    if evidence == "none":
        return []
    cut = Cutter(run, record, evidence)
    having = [one for one in findings if one.shown and one.shown.members_artifact]
    chosen = []
    for asks in ("extraction", "membership"):  # the best of either kind
        chosen += [one for one in having if one.asks == asks][:1]
    return [_view(record, one, cut) for one in chosen[:MOST_VIEWS]]


def made(run: Run, record: GeneratorRecord, evidence: Evidence) -> list[str]:
    """Cut the first pictures that the generator made.

    Raises:
        RecordError: the contact sheet is missing, damaged, or too small.
    """
    if evidence == "none":
        return []
    cut = Cutter(run, record, evidence)
    return [cut(record.made_artifact, place) for place in range(min(MADE, record.made))]


class Cutter:
    """Cuts one picture out of a contact sheet, as a data URI."""

    def __init__(self, run: Run, record: GeneratorRecord, evidence: Evidence) -> None:
        self.run, self.record, self.evidence = run, record, evidence
        self.sheets: dict[str, Image.Image] = {}

    def __call__(self, name: str, place: int) -> str:
        """Return picture number ``place`` of a sheet."""
        if name not in self.sheets:
            self.sheets[name] = pictures._open(self.run, name)
        sheet = self.sheets[name]
        _, height, width = self.record.picture_shape
        left = place % self.record.sheet_columns * width
        top = place // self.record.sheet_columns * height
        if left + width > sheet.width or top + height > sheet.height:
            raise RecordError(f"artifact {name} has no picture {place}; run the audit again")
        picture = sheet.crop((left, top, left + width, top + height))
        return pictures._uri(picture, SIDES[0], self.evidence)


def _view(record: GeneratorRecord, finding: GeneratorFinding, cut: Cutter) -> PairView:
    shown = finding.shown
    assert shown is not None  # noqa: S101 - the caller picks findings that have pictures
    bar = -finding.found.bar if finding.found else float("inf")
    sides = []
    for title, own, nearest, labels, scores in (
        (
            "Training pictures",
            record.members_artifact,
            shown.members_artifact,
            record.member_labels,
            shown.member_scores,
        ),
        (
            "Pictures it never saw",
            record.others_artifact,
            shown.others_artifact,
            record.other_labels,
            shown.other_scores,
        ),
    ):
        best = np.argsort(-np.array(scores), kind="stable")[:PAIRS].tolist()
        pairs = [
            Pair(
                own=cut(own, row),
                nearest=cut(nearest, row),
                alt=f"{title}, {row}: class {record.classes[labels[row]]}",
                found="the nearest picture of the attack",
                score=numbers.number(scores[row], 2),
                had=scores[row] > bar,
            )
            for row in best
        ]
        sides.append(Side(title, pairs))
    if finding.asks == "extraction":
        title = "Training pictures that come out of the generator"
        note = (
            f"Above, candidates; below, the nearest of {finding.claims} pictures that "
            f"{finding.attack} claims without knowing any candidate. Red frames are called "
            "extracted. Those nearest to a claim come first, on either side: on the right is what "
            "chance resemblance looks like."
        )
    else:
        title = "How near the generator comes"
        note = (
            f"Above, candidates; below, the nearest picture that {finding.attack} found. The "
            "highest scores come first, on either side: only a difference between the two sides "
            "tells of membership."
        )
    return PairView(title, note, sides)
