"""Architectures, training sizes and attacks beside each other, and what was claimed: Markdown."""

from collections.abc import Sequence

from safelight.record.extraction import ClaimRow, TargetRow
from safelight.record.record import Measurement
from safelight.reports import numbers

_HEAD = (
    "| data, size | target | right on held-out | attack | verdict | extracted | member AUC | seeds "
    "| seconds |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)
_CLAIMS = (
    "| data, size | claimed | difference of member AUC (95% interval, paired) | |",
    "| --- | --- | --- | --- |",
)


def render(
    title: str, reference: str, rows: Sequence[TargetRow], claims: Sequence[ClaimRow]
) -> str:
    """Render everything that was measured for one paper.

    Args:
        title: of the paper.
        reference: to the paper.
        rows: each attack on each target.
        claims: each claim on each setting.
    """
    said = [
        f"# {title}: what was claimed, and what was measured",
        f"Claimed: {reference}; no published figure is shown, for none could be checked. "
        "*Extracted*: training pictures nearer to a candidate than the held-out pictures are, at "
        "1% false discoveries, of those that were scored: as many as are held out. *Member AUC*: "
        "how often a training picture is nearer to a candidate than a held-out one; chance is 0.5. "
        "NO EVIDENCE stands only where the same attack found a planted training set.",
        "\n".join([*_HEAD, *map(_line, rows)]),
        "## What was claimed",
    ]
    if claims:
        said.append("\n".join([*_CLAIMS, *map(_claim, claims)]))
        said.append("*Open*: the interval holds 0, and neither side is shown to leak more.")
    else:
        said.append("Nothing: no claim has both of its sides among the runs.")
    return "\n\n".join(said) + "\n"


def _line(row: TargetRow) -> str:
    finding = row.finding
    right = row.accuracy.value if row.accuracy else None
    cells = [
        row.setting.replace("-", ", "),
        row.architecture,
        numbers.MISSING if right is None else numbers.percent(right),
        row.attack,
    ]
    if finding.skipped or finding.auc is None or finding.extracted is None:
        reason = finding.skipped or finding.verdict.reason
        cells += [f"not run: {reason}", "", "", "", ""]
    else:
        auc, had = finding.auc.measurement, finding.extracted.measurement
        share = f"{numbers.count(had)} ({numbers.percent_interval(had)})"
        cells += [_verdict(row), share, _measured(auc), str(auc.seeds), f"{finding.seconds:.0f}"]
    return "| " + " | ".join(cells) + " |"


def _verdict(row: TargetRow) -> str:
    verdict = row.finding.verdict
    return (
        f"{verdict.outcome}, {verdict.severity}" if verdict.outcome == "LEAK" else verdict.outcome
    )


def _measured(measurement: Measurement) -> str:
    value = numbers.number(measurement.value, 3)
    return f"{value} ({numbers.interval(measurement, 3)})"


def _claim(row: ClaimRow) -> str:
    signed = [numbers.number(one, 3, signed=True) for one in (row.difference, row.low, row.high)]
    between = f"{signed[0]} ({signed[1]} to {signed[2]})"
    return f"| {row.setting.replace('-', ', ')} | {row.said} | {between} | {row.outcome} |"
