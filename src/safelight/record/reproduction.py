"""A published table beside ours: what a reproduction keeps. Knows records and nothing above."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict

from safelight.record.record import Cell, Finding, Measurement, Record
from safelight.record.verdict import LEVEL, measure


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figures(_Frozen):
    """PSNR in dB and SSIM, on ten pictures with the range of each claim: the paper's way."""

    psnr: float
    ssim: float


class Row(_Frozen):
    """One adversary at one cut: published, ours by the paper's definitions, ours.

    ``scores`` holds measurements by name, with 95 % intervals over victims, and ``by_seed`` the
    means of each seed, in the order of ``seeds``; empty where the cell was not run.
    """

    adversary: str
    group: str
    cut: str
    attack: str
    published: Figures | None
    as_published: Figures | None
    scores: dict[str, Measurement]
    seeds: list[int]
    by_seed: dict[str, list[float]]
    seconds: float
    controls_passed: bool | None

    @property
    def beaten(self) -> bool | None:
        """Whether both figures lie above the published ones: lower limits, and every seed."""
        if self.published is None or not self.scores:
            return None
        psnr, ssim = self.scores["psnr"].low, self.scores["ssim"].low
        if psnr is None or ssim is None:
            return None
        least = {"psnr": min(psnr, *self.by_seed["psnr"]), "ssim": min(ssim, *self.by_seed["ssim"])}
        return least["psnr"] > self.published.psnr and least["ssim"] > self.published.ssim


class Table(_Frozen):
    """All rows of one data set, with what they were measured on."""

    name: str
    data: str
    target: str
    accuracy: float | None
    nulls: dict[str, float]
    rows: list[Row]
    provenance: dict[str, Any]


def tabulate(
    name: str, record: Record, who: Mapping[str, tuple[str, str]], published: Mapping[str, Any]
) -> Table:
    """Set a record beside a published table.

    Args:
        name: of the table.
        record: of its audit, finished or not.
        who: finding id -> (adversary, group).
        published: adversary -> cut -> (PSNR in dB, SSIM).
    """
    first = {label: row for row, label in reversed(list(enumerate(record.victim_labels)))}
    rows = []
    for finding in record.findings:
        adversary, group = who[finding.id]
        figures = published.get(adversary, {}).get(finding.where)
        cells = [one for one in record.cells if one.finding == finding.id and one.status == "ok"]
        rows.append(_row(finding, adversary, group, figures, cells, list(first.values())))
    victims = next(one for one in record.roles if one.name == "victims")
    accuracy = record.target.accuracy
    return Table(
        name=name,
        data=victims.source,
        target=record.target.name,
        accuracy=accuracy.value if accuracy else None,
        nulls={one.name: fmean(one.scores["ssim"]) for one in record.baselines},
        rows=rows,
        provenance=record.provenance.model_dump(),
    )


def _row(
    finding: Finding,
    adversary: str,
    group: str,
    figures: Sequence[float] | None,
    cells: Sequence[Cell],
    ten: Sequence[int],
) -> Row:
    ours = None
    if cells:
        ours = Figures(
            psnr=fmean(cell.scores["psnr"][row] for cell in cells for row in ten),
            ssim=fmean(cell.scores["ssim in own range"][row] for cell in cells for row in ten),
        )
    controls = [control.passed for cell in cells for control in cell.controls]
    return Row(
        adversary=adversary,
        group=group,
        cut=finding.where,
        attack=finding.attack,
        published=Figures(psnr=figures[0], ssim=figures[1]) if figures else None,
        as_published=ours,
        scores={
            score: measure(score, [cell.scores[score] for cell in cells], LEVEL)
            for score in ("psnr", "ssim", "gain", "named")
            if cells
        },
        seeds=[cell.seed for cell in cells],
        by_seed={
            score: [round(fmean(cell.scores[score]), 4) for cell in cells]
            for score in ("psnr", "ssim")
            if cells
        },
        seconds=round(sum(cell.seconds for cell in cells), 1),
        controls_passed=all(controls) if controls else None,
    )
