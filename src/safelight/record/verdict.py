"""The only place that judges. Every constant stands here, with its reason."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, Literal, Protocol

import numpy as np

from safelight.record.record import (
    SEVERITIES,
    Cell,
    Control,
    Finding,
    Measurement,
    Severity,
    Verdict,
)
from safelight.stats.intervals import bonferroni, bootstrap_mean, clopper_pearson

#: A victim is named among this many pictures of its class: itself and 99 look-alikes. A hundred
#: makes chance 1 %, low enough that a handful of hits stands out and affordable in most data.
LINE_UP = 100

#: Fewer victims than this and even a perfect attack leaves an interval too wide to act on: with
#: 20 of 20 named the exact 95 % interval starts at 0.83.
FEWEST_VICTIMS = 20

#: Coverage of the intervals that decide, corrected for the number of findings (Bonferroni).
LEVEL = 0.95

#: SSIM gains over the best null below this are not called a leak: the class template is itself
#: optimized on finitely many pictures and may fall short of the best constant by about this.
SMALLEST_GAIN = 0.02

#: Named this often (lower limit), a victim's picture is as good as shown; with a gain over even
#: the nearest public picture the leak is critical.
SHOWN = 0.5

#: Named this often (lower limit): an attacker who tries a few candidates succeeds.
OFTEN = 0.1

#: The positive control must name at least this share (lower limit) of a planted leak's victims.
CONTROL_NAMED = 0.5

#: The controls, by name.
PLANTED = "planted leak"
SWAPPED = "swapped claims"

#: Scores that carry over from victims to findings: unit, direction, chance level.
SCORES: dict[str, tuple[str, Literal["higher", "lower"], float | None]] = {
    "named": ("share", "higher", 1 / LINE_UP),
    "gain": ("SSIM", "higher", 0.0),
    "gain over nearest": ("SSIM", "higher", None),
    "ssim": ("SSIM", "higher", None),
    "psnr": ("dB", "higher", None),
    "mse": ("squared pixel", "lower", None),
}


def measure(
    name: str, scores: Sequence[Sequence[float]], level: float = LEVEL, seeds: int = 0
) -> Measurement:
    """Pool one score over seeds: the mean, with an interval over victims.

    Args:
        name: a key of ``SCORES``.
        scores: [seeds][victims]; the same victims in every seed.
        level: coverage of the interval.
        seeds: how many distinct seeds there are, if fewer than rows.
    """
    unit, worse, chance = SCORES[name]
    values = np.asarray(scores, dtype=np.float64).mean(axis=0)
    n = len(values)
    low: float | None
    high: float | None
    if not np.isfinite(values).all():
        low = high = None
    elif name == "named":
        low, high = clopper_pearson(float(values.sum()), n, level)
    else:
        low, high = bootstrap_mean(values, level)
    return Measurement(
        value=float(values.mean()) if low is not None else None,
        low=low,
        high=high,
        level=level,
        n=n,
        seeds=seeds or len(scores),
        chance=chance,
        worse=worse,
        unit=unit,
    )


def positive_control(named: Sequence[float], defended: bool = False) -> Control:
    """Judge the attack on a planted leak: it must name most of the victims there.

    ``defended``: the message went through the defense that is audited.
    """
    low, _ = clopper_pearson(float(np.sum(named)), len(named), LEVEL)
    return Control(
        name=PLANTED,
        question="Does this attack find a leak that is there?",
        passed=low > CONTROL_NAMED,
        detail=f"on a message that is the picture itself"
        f"{', sent through the defense' if defended else ''}, {int(np.sum(named))} of {len(named)} "
        f"were named among {LINE_UP}",
    )


def negative_control(named: Sequence[float]) -> Control:
    """Judge the score itself: claims dealt to the wrong victims must name nobody."""
    low, _ = clopper_pearson(float(np.sum(named)), len(named), 0.999)
    if len(named) < FEWEST_VICTIMS:
        return Control(
            name=SWAPPED,
            question="Does the score find a leak where there can be none?",
            passed=False,
            detail=f"only {len(named)} victims share their class with another, too few to tell; "
            "take more victims a class",
        )
    return Control(
        name=SWAPPED,
        question="Does the score find a leak where there can be none?",
        passed=low <= 1 / LINE_UP,
        detail=f"with every claim handed to another victim of the same class, "
        f"{int(np.sum(named))} of {len(named)} were named among {LINE_UP}",
    )


def judge(finding: Finding, cells: Sequence[Cell], tests: int, luck: float = 0.0) -> Finding:
    """Pool the cells of a finding and judge them.

    The intervals that are recorded are the ones that decide: wide enough that all findings of
    the record hold together with ``LEVEL``.

    Args:
        finding: without measurements and verdict.
        cells: its cells, one per seed.
        tests: how many findings are judged together.
        luck: the share of victims that the luckiest null names. All victims of a class share
            their look-alikes, so that even a constant per class may name more than 1 %.
    """
    done = [cell for cell in cells if cell.status == "ok"]
    level, seeds = bonferroni(LEVEL, tests), len({cell.seed for cell in done})
    measurements = {
        name: measure(name, [cell.scores[name] for cell in done], level, seeds)
        for name in SCORES
        if done and name in done[0].scores
    }
    controls = [control for cell in done for control in cell.controls]
    pooled = finding.model_copy(
        update={
            "measurements": measurements,
            "controls": controls,
            "bound": done[0].bound if done else None,
            "queries": max((cell.queries for cell in cells), default=0),
            "seconds": sum(cell.seconds for cell in cells),
        }
    )
    return pooled.model_copy(update={"verdict": _verdict(pooled, cells, luck)})


def _verdict(finding: Finding, cells: Sequence[Cell], luck: float) -> Verdict:
    for cell in cells:
        if cell.status != "ok":
            return _inconclusive(f"{cell.status}: {cell.reason}")
    failed = [control for control in finding.controls if not control.passed]
    for control in failed:
        if control.name == SWAPPED:
            return _inconclusive(f"the score cannot be trusted: {control.detail}")
    deciding = ("named", "gain", "gain over nearest")
    lows = [finding.measurements[name].low for name in deciding if name in finding.measurements]
    if len(lows) < len(deciding) or not all(low is not None and isfinite(low) for low in lows):
        return _inconclusive("there are no scores, or some are not numbers")
    if not any(control.name == PLANTED for control in finding.controls):
        return _inconclusive("the attack was not tried on a planted leak")
    named, gain, beyond = (low or 0.0 for low in lows)
    swapped = max(_share(cell.scores.get("named swapped")) for cell in cells)
    if named > max(1 / LINE_UP, luck, swapped) or gain > SMALLEST_GAIN:
        return Verdict(
            outcome="LEAK",
            severity=_severity(named, gain, beyond),
            confidence=_confidence(finding),
            reason=_told(finding),
        )
    if failed:
        return _inconclusive(
            f"the attack found nothing, but failed where a leak was planted: {failed[0].detail}"
        )
    return Verdict(
        outcome="NO EVIDENCE",
        severity="none",
        confidence=_confidence(finding),
        reason=_told(finding) + "; the same attack finds a planted leak",
    )


def skip(finding: Finding) -> Finding:
    """Return a finding that was never run, by design: it neither clears nor blames."""
    return finding.model_copy(update={"verdict": _inconclusive(f"not run: {finding.skipped}")})


def overall(findings: Sequence[Finding]) -> Verdict:
    """Return the verdict on the model: its worst finding, or what keeps it open."""
    idle = never_attacked(findings)
    findings = [one for one in findings if not one.skipped]
    leaks = [one for one in findings if one.verdict.outcome == "LEAK"]
    if leaks:
        return worst(leaks).verdict
    for one in findings:
        if one.verdict.outcome == "INCONCLUSIVE":
            return one.verdict
    if not findings:
        return _inconclusive("no attack fits any threat of the plan")
    if idle:
        return _inconclusive(idle[0])
    return worst(findings).verdict


class Tried(Protocol):
    """What findings of every question have in common."""

    @property
    def threat(self) -> str:
        """Name of the threat."""
        ...

    @property
    def threat_options(self) -> dict[str, Any]:
        """Its settings."""
        ...

    @property
    def where(self) -> str:
        """What was watched."""
        ...

    @property
    def skipped(self) -> str:
        """Why it was never run, or nothing."""
        ...


def never_attacked(findings: Sequence[Tried]) -> list[str]:
    """Return a line for each threat that no attack could be run under."""
    groups: dict[str, list[Tried]] = {}
    for one in findings:
        groups.setdefault(f"{one.threat} {one.threat_options}", []).append(one)
    return [
        f"nothing was tried at {group[0].where}: {group[0].skipped}"
        for group in groups.values()
        if all(one.skipped for one in group)
    ]


def worst(findings: Sequence[Finding]) -> Finding:
    """Return the finding to lead with: the most severe, then the one with the least access."""

    def order(one: Finding) -> tuple[int, int, float]:
        named = one.measurements.get("named")
        low = (named.low or 0.0) if named else 0.0
        access = ("white-box", "black-box queries", "no queries")
        rank = access.index(one.access) if one.access in access else 0
        if one.verdict.outcome != "LEAK":  # nothing to blame: the attack that came furthest
            gain = one.measurements.get("gain")
            return 0, 0, (gain.value or 0.0) if gain else 0.0
        return SEVERITIES.index(one.verdict.severity), rank, low

    return max(findings, key=order)


def _share(named: Sequence[float] | None) -> float:
    return float(np.mean(named)) if named else 0.0


def _severity(named: float, gain: float, beyond: float) -> Severity:
    if named > SHOWN and beyond > 0:
        return "critical"
    if named > SHOWN:
        return "high"
    if named > OFTEN or gain > 5 * SMALLEST_GAIN:
        return "medium"
    return "low"


def _confidence(finding: Finding) -> Literal["low", "medium", "high"]:
    """High needs every control passed, 100 victims and 3 seeds; low is a failed control."""
    if not all(control.passed for control in finding.controls):
        return "low"
    named = finding.measurements["named"]
    return "high" if named.n >= 100 and named.seeds >= 3 else "medium"


def _inconclusive(reason: str) -> Verdict:
    return Verdict(outcome="INCONCLUSIVE", severity="none", confidence="low", reason=reason)


def _count(hits: float) -> str:
    """Spell a count that may be a mean over seeds: 500, 0.4, 12.3."""
    return f"{round(hits, 1):g}"


def _told(finding: Finding) -> str:
    named, gain = finding.measurements["named"], finding.measurements["gain"]
    hits = (named.value or 0.0) * named.n
    return (
        f"{_count(hits)} of {named.n} victims are named among {LINE_UP} look-alikes "
        f"(chance {_count(named.n / LINE_UP)}), and reconstructions score "
        f"{gain.value or 0.0:+.2f} SSIM over the best null"
    )
