"""What a record says, in words that hold in every format: the verdict, its reason, its reach."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from safelight.record.record import (
    Dependence,
    Finding,
    Measurement,
    Outcome,
    Record,
    Severity,
)
from safelight.record.verdict import LINE_UP, worst
from safelight.reports import numbers
from safelight.reports.adversaries import ORDER, adversaries, attacker, holds_back

#: What the adversary watches, by threat; other threats are named as they are.
_WATCHED = {
    "split_inference": ("message", "{message} sent after {where}"),
    "prediction_api": ("answer", "{message} of {where} that the service gives"),
    "trusted_execution": ("size", "the sizes of what goes into and out of the enclave at {where}"),
}

#: How findings are labeled that hold only if something does that no audit measures.
ASSUMED = "Assumed, not measured"

#: The ending of a plural's genitive, typographic.
_S = "\N{RIGHT SINGLE QUOTATION MARK}"

#: The p-value from which on a dependence is called one; no verdict rests on it.
DEPENDS = 0.01

_CONFIDENCE = {
    "high": "high (its controls passed, on 100 or more victims and 3 or more seeds)",
    "medium": "medium (its controls passed, but on fewer than 100 victims or 3 seeds)",
    "low": "low (a control failed, or nothing could be judged)",
}


#: The measurement that carries a verdict; empty where none does.
Carrier = Literal["named", "gain", ""]


@dataclass(frozen=True)
class Headline:
    """The verdict on the model, as its owner should hear it.

    ``measured`` is one sentence with the leading finding's naming, its interval and chance;
    ``carrier`` names the measurement that carries the verdict. Both are empty where nothing does.
    ``given`` labels a verdict that rests on assumptions, and is empty otherwise.
    """

    outcome: Outcome
    severity: Severity
    confidence: str
    title: str
    lead: str
    measured: str
    finding: Finding | None
    carrier: Carrier
    given: str = ""


@dataclass(frozen=True)
class Label:
    """How a finding is called on this page.

    ``apart`` tells it from others with the same attack and place, and is empty where there are
    none; ``detail`` says that and what the attacker could use.
    """

    where: str
    attack: str
    detail: str
    apart: str = ""

    def __str__(self) -> str:
        return f"{self.attack} at {self.where}" + (f" ({self.apart})" if self.apart else "")


def plain(text: str) -> str:
    """Put a text from outside on one line, without control characters that drive a terminal."""
    return "".join(one if one.isprintable() else " " for one in " ".join(text.split()))


def headline(record: Record) -> Headline:
    """Say the record's verdict in one sentence and back it in a paragraph."""
    verdict = record.verdict
    outcome: Outcome = verdict.outcome if verdict else "INCONCLUSIVE"
    same = [one for one in ran(record) if one.verdict.outcome == outcome]
    leading = worst(same) if same else None
    if outcome == "LEAK" and leading is not None:
        title, lead, measured, carrier = _leak(record, leading)
    elif outcome == "NO EVIDENCE" and leading is not None:
        title, lead, measured, carrier = _no_evidence(record, leading)
    else:
        title, lead, measured, carrier = _inconclusive(record)
    return Headline(
        outcome=outcome,
        severity=verdict.severity if verdict else "none",
        confidence=_CONFIDENCE[verdict.confidence if verdict else "low"],
        title=title,
        lead=lead,
        measured=measured,
        finding=leading,
        carrier=carrier,
        given=_given(record, leading),
    )


def _given(record: Record, leading: Finding | None) -> str:
    """Label the verdict: a leak rests on its finding, the rest on all that were run."""
    resting = [leading] if leading and leading.verdict.outcome == "LEAK" else ran(record)
    return "under assumptions" if any(one.assumptions for one in resting) else ""


def judged(head: Headline) -> str:
    """Write the record's verdict with its severity, and with the label of what it rests on."""
    label = f", {head.given} ({ASSUMED.lower()})" if head.given else ""
    return chip(head.outcome, head.severity) + label


def assumed(record: Record) -> list[tuple[str, list[str]]]:
    """Return what findings take for granted: which findings, and the assumptions."""
    places: dict[tuple[str, ...], dict[str, None]] = {}
    for one in ran(record):
        if one.assumptions:
            who = f"{one.threat.replace('_', ' ')} at {one.where}"
            places.setdefault(tuple(one.assumptions), {})[plain(who)] = None
    return [(", ".join(who), [plain(one) for one in lines]) for lines, who in places.items()]


def dependences(record: Record) -> list[str]:
    """Say of each thing that is seen beside messages whether it depends on the picture."""
    return list(dict.fromkeys(_dependence(one) for one in record.dependences))


def _dependence(one: Dependence) -> str:
    said = f"{plain(one.what)} at {plain(one.where)}: "
    said = said[:1].upper() + said[1:]
    unit, digits = plain(one.unit), 0 if one.unit == "bytes" else 2
    if one.low == one.high:
        value = numbers.number(one.typical, digits)
        return f"{said}{value} {unit} for each of {one.pictures} pictures"
    low, middle, high = (numbers.number(x, digits) for x in (one.low, one.typical, one.high))
    return (
        f"{said}{middle} {unit} ({low} to {high} over {one.pictures} pictures); "
        f"on the picture {_clearly(one.by_picture_p)} (concordance {one.by_picture:.2f} over "
        f"{one.rounds} rounds, p = {one.by_picture_p:.3f}), on its class "
        f"{_clearly(one.by_class_p)} ({numbers.percent(one.by_class)} of the variance, "
        f"p = {one.by_class_p:.3f})"
    )


def _clearly(p: float) -> str:
    return "it depends" if p <= DEPENDS else "no dependence is seen"


def ran(record: Record) -> list[Finding]:
    """Return the findings that were meant to run: skipped ones neither clear nor blame."""
    return [one for one in record.findings if not one.skipped]


def watched(finding: Finding) -> str:
    """Say what the adversary of a finding sees."""
    other = ("message", finding.threat.replace("_", " ") + " at {where}")
    noun, pattern = _WATCHED.get(finding.threat, other)
    sends = finding.threat_options.get("sends", 1)
    message = f"the {noun}" if sends == 1 else f"{sends} {noun}s about each picture"
    told = pattern.format(message=message, where=plain(finding.where))
    return f"{told}, behind {finding.defense}" if finding.defense else told


def labels(findings: Sequence[Finding]) -> dict[str, Label]:
    """Name every finding, by id, short where that is enough to tell it from the others."""
    full = {one.attack for one in findings}
    short = Counter(name.rsplit("/", 1)[-1] for name in full)
    alike: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for one in findings:
        alike[one.where, one.attack].append(one)
    who = adversaries(findings)
    several = len(set(who.values())) > 1
    named = {}
    for one in findings:
        last = one.attack.rsplit("/", 1)[-1]
        peers = alike[one.where, one.attack]
        options = differing(_options(one), [_options(peer) for peer in peers])
        apart = list(options)
        if any(who[peer.id] != who[one.id] for peer in peers):
            apart.insert(0, who[one.id])
        if several and who[one.id]:
            options.insert(0, who[one.id] + (f", using {one.access}" if holds_back(one) else ""))
        else:
            options.insert(0, one.access)
        named[one.id] = Label(
            where=plain(one.where),
            attack=plain(last if short[last] == 1 else one.attack),
            detail=plain(", ".join(options)),
            apart=plain(", ".join(one for one in apart if one)),
        )
    return named


def chip(outcome: str, severity: str) -> str:
    """Write a verdict with its severity, where it has one."""
    return outcome if severity == "none" else f"{outcome}, {severity}"


def untried(record: Record, plan: str = "plan.toml") -> list[tuple[str, str]]:
    """Return what was not tried and the command that would, empty where the record has none.

    ``plan`` is the run's plan as the reader of the command finds it.
    """
    gaps = []
    for number, line in enumerate(record.not_tried, 1):
        what, found, settings = line.partition(": --")
        command = f"safelight audit {plan} --{settings} --out runs/more-{number}" if found else ""
        gaps.append((plain(what), plain(command)))
    return gaps


def failed_controls(record: Record) -> list[str]:
    """Return one line per control that did not pass."""
    names = labels(record.findings)
    return [
        f"{names[one.id]}: {plain(control.name)} failed: {plain(control.detail)}"
        for one in record.findings
        for control in one.controls
        if not control.passed
    ]


def _leak(record: Record, finding: Finding) -> tuple[str, str, str, Carrier]:
    """Speak of a leak, led by the number whose interval carries it.

    A severity of high or critical rests on naming. Below, the verdict may rest on the gain alone:
    naming then leads only where its own interval clears chance.
    """
    named, gain = finding.measurements["named"], finding.measurements["gain"]
    severe = finding.verdict.severity in ("high", "critical")
    does = "rebuilt the pictures" if severe else "tried to rebuild the pictures"
    lead = [f"Seeing {watched(finding)}, {plain(attacker(finding))} {does} of {named.n} victims."]
    if gain.low is not None and gain.low > 0:
        closer = (
            f"What came out is {numbers.number(gain.value, 2)} SSIM closer to the truth "
            f"({numbers.interval(gain, 2)}) than the best null, a guess without the message "
            f"({plain(finding.best_null)})"
        )
        if finding.verdict.severity == "critical":
            closer += ", and closer than even the nearest picture that the attacker owned"
        lead.append(closer + ".")
    else:
        lead.append(f"In SSIM it is no closer than the best null ({plain(finding.best_null)}).")
    lead += _others(record)
    if severe or (named.low or 0) > (named.chance or 0):
        some = "Your" if severe else "Some of your"
        title = (
            f"{some} users{_S} pictures leak: {numbers.count(named, whole=True)} were rebuilt well "
            f"enough to name them among {LINE_UP} look-alikes."
        )
        return title, " ".join(lead), _naming(named), "named"
    does = "leave a trace" if finding.verdict.severity == "low" else "show through"
    title = (
        f"Your users{_S} pictures {does}: what was rebuilt is "
        f"{numbers.number(gain.value, 2)} SSIM closer to them than the best null."
    )
    return title, " ".join(lead), _naming(named), "gain"


def _no_evidence(record: Record, finding: Finding) -> tuple[str, str, str, Carrier]:
    named, gain = finding.measurements["named"], finding.measurements["gain"]
    resting = any(one.assumptions for one in ran(record))
    title = f"No evidence that your users{_S} pictures can be rebuilt, within what was tried" + (
        " and if what is assumed holds." if resting else "."
    )
    lead = (
        f"The attack that came furthest was {plain(finding.attack)} on {watched(finding)}. Its "
        f"SSIM over the best null is {numbers.number(gain.value, 2, signed=True)} "
        f"({numbers.interval(gain, 2, signed=True)}). The same attack finds a leak that was "
        f"planted, so it works. This clears the attacks, places and attackers that were tried "
        f"here ({len(ran(record))} in all), and no others."
    )
    if resting:
        lead += " It says nothing of attackers who break what is assumed."
    if any(min(one.by_picture_p, one.by_class_p) <= DEPENDS for one in record.dependences):
        lead += " What is seen does depend on the picture, and may tell what no attack here asks."
    return title, lead, _naming(named), "named"


def _naming(named: Measurement) -> str:
    """Say how many were named, how sure that is, and what guessing does."""
    return (
        f"Named among {LINE_UP} pictures of their class: {numbers.count(named)} victims "
        f"({numbers.percent(named.level)} interval {numbers.percent_interval(named)}); guessing "
        f"names {numbers.guessed(named)} (chance {numbers.percent(named.chance or 0.0)})."
    )


def _inconclusive(record: Record) -> tuple[str, str, str, Carrier]:
    title = f"This audit cannot say whether your users{_S} pictures leak."
    if record.verdict is None:
        return (
            title,
            "The run was not finished. That is not a clean result: continue it with "
            "safelight audit --resume and this folder.",
            "",
            "",
        )
    stuck = [one for one in ran(record) if one.verdict.outcome == "INCONCLUSIVE"]
    reason = plain(record.verdict.reason)
    lead = f"The reason: {reason}. That is not a clean result: mend the cause and run it again."
    if len(stuck) < len(ran(record)):
        lead += f" {len(stuck)} of {len(ran(record))} findings stay open; none of the rest leaks."
    return title, lead, "", ""


def _others(record: Record) -> list[str]:
    """Say what the leading finding does not: how many more leak, how many stay open."""
    every = ran(record)
    leaks = sum(one.verdict.outcome == "LEAK" for one in every)
    stuck = sum(one.verdict.outcome == "INCONCLUSIVE" for one in every)
    said = []
    if len(every) > 1:
        verb = "is a leak" if leaks == 1 else "are leaks"
        said.append(f"{leaks} of {len(every)} findings {verb}.")
    if stuck:
        said.append(f"{stuck} of {len(every)} could not be judged.")
    return said


def differing(mine: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the options, written out, in which a finding differs from others named like it."""
    return [
        f"{key} = {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in mine.items()
        if any(one.get(key) != value for one in others)
    ]


def _options(finding: Finding) -> dict[str, Any]:
    """Return every option but those that make the adversary, who has a name."""
    threat = {key: val for key, val in finding.threat_options.items() if key not in ORDER}
    return {**threat, **finding.attack_options}
