"""Build the plans of a generator's threat model, and put measured values in place of its words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight import catalog
from safelight.auditing.reproduction import Scale
from safelight.data.roles import OUTLIER
from safelight.errors import PlanError
from safelight.plan.plan import Plan, parse_plan
from safelight.record.generator import GeneratorFinding, GeneratorRecord
from safelight.record.generator_reproduction import (
    FactorRow,
    GeneratorReproduction,
    Level,
    entry,
)
from safelight.record.verdict import LEVEL
from safelight.stats.intervals import bonferroni

Array = NDArray[np.float64]

#: The threats that attacks stand under: who has pictures, and who has the file.
_THREATS: Mapping[str, Mapping[str, Any]] = {
    "samples": {"access": "samples"},
    "weights": {"access": "weights", "discriminator": True},
}

#: What a factor is measured by where its levels name no attack, fixed beforehand: pictures alone,
#: the weights, and the discriminator.
MEASURED_BY = ("pictures alone", "weights", "discriminator")

#: Draws of the bootstrap: of a 99.8% interval, as two dozen comparisons need, ten lie beyond each
#: limit.
RESAMPLES = 10_000

#: From here on numbers are told in thousands: they stand below a figure.
THOUSANDS = 10_000

#: Parts of one record's candidates that a level may be about.
_PARTS = ("outliers", "usual pictures")


@dataclass(frozen=True)
class End:
    """Scores of one attack at one level of a factor.

    ``members``: [trainings, n]; ``others``: [trainings, m]; higher for members. ``who`` and
    ``whom`` name the pictures behind the columns: equal where they are the same in the same order.
    """

    members: Array
    others: Array
    who: str
    whom: str
    leak: bool


def plans(described: Mapping[str, Any], scale: Scale) -> dict[str, Plan]:
    """Return one plan for each architecture, each variant and each training, by its name."""
    own = described[scale]
    return {
        _called(name, training, own["trainings"]): _plan(described, own, name, training)
        for name in (*described["architectures"], *own["variants"])
        for training in own["trainings"]
    }


def gather(
    described: Mapping[str, Any], scale: Scale, records: Mapping[str, GeneratorRecord]
) -> GeneratorReproduction:
    """Put measured values in place of words, and compare the ends of every factor.

    Args:
        described: the threat model.
        scale: which was run.
        records: by the names of the plans, finished or not; those that are missing are left out.

    Raises:
        PlanError: there is no record at all.
    """
    if not records:
        raise PlanError("no plan was run; name a table, or leave out --table for all of them")
    trainings = _by_plan(described, scale, records)
    entries = [
        entry(name, own, [[_label(described, one) for one in record.findings] for record in own])
        for name, own in trainings.items()
        if name in described["architectures"]
    ]
    pairs = [
        (factor, attack, found)
        for factor in described["factors"]
        for attack in _attacks(factor)
        if (found := _levels(described, factor, attack, trainings)) is not None
    ]
    level = bonferroni(LEVEL, len(pairs))
    first = next(iter(records.values())).provenance
    done = {factor["name"] for factor, _, _ in pairs}
    return GeneratorReproduction(
        title=described["title"],
        reference=described["reference"],
        words=described["words"],
        scale=scale,
        entries=entries,
        factors=[_row(factor, attack, found, level) for factor, attack, found in pairs],
        missing=[one["name"] for one in described["factors"] if one["name"] not in done],
        machine=first.machine,
        safelight=first.safelight,
    )


def compare(more: End, less: End, level: float, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean AUC of one end less that of the other, with limits.

    A percentile bootstrap draws pictures, and trainings where there are several; what both ends
    share, they are drawn alike in. With one training it says nothing of others.

    Args:
        more: the end that is said to leak more.
        less: the other.
        level: coverage, in (0, 1).
        seed: of the resampling.
    """
    drawn = _resampled([more, less], seed)
    limits = np.percentile(drawn[0] - drawn[1], _tails(level))
    return _area(more) - _area(less), float(limits[0]), float(limits[1])


def _area(end: End) -> float:
    return float(np.mean([one.mean() for one in _wins(end)]))


def _wins(end: End) -> list[Array]:
    """Return for each training [n, m]: 1 where the member is higher, 1/2 where they are equal."""
    pairs = zip(end.members, end.others, strict=True)
    return [
        (one[:, None] > other[None]) + 0.5 * (one[:, None] == other[None]) for one, other in pairs
    ]


def _resampled(ends: Sequence[End], seed: int) -> list[Array]:
    """Return the mean AUC of each end in every resample, [RESAMPLES]."""
    rng = np.random.default_rng(seed)
    counts: dict[tuple[str, int], Array] = {}
    trainings: dict[int, NDArray[np.int64]] = {}

    def times(who: str, n: int) -> Array:
        """Return how often each picture is drawn, [RESAMPLES, n]: the same for the same ones."""
        if (who, n) not in counts:
            counts[who, n] = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.float64)
        return counts[who, n]

    found = []
    for end in ends:
        k, n, m = len(end.members), end.members.shape[1], end.others.shape[1]
        rows, columns = times(f"member {end.who}", n), times(f"other {end.whom}", m)
        # AUC = w' C v / (n m), w and v how often each picture was drawn.
        areas = np.stack([((rows @ one) * columns).sum(1) / (n * m) for one in _wins(end)], 1)
        if k not in trainings:
            trainings[k] = rng.integers(k, size=(RESAMPLES, k))
        found.append(np.take_along_axis(areas, trainings[k], 1).mean(1))
    return found


def _tails(level: float) -> tuple[float, float]:
    tail = 100 * (1 - level) / 2
    return tail, 100 - tail


def _row(
    factor: Mapping[str, Any], attack: str, found: Sequence[tuple[str, End]], level: float
) -> FactorRow:
    ends = [one for _, one in found]
    more, less = ends[0], ends[-1]
    value, low, high = compare(more, less, level)
    drawn = [np.percentile(one, _tails(level)) for one in _resampled(ends, 0)]
    return FactorRow(
        factor=factor["name"],
        said=factor["said"],
        attack=attack,
        levels=[
            Level(name=name, auc=_area(end), low=limits[0], high=limits[1], leak=end.leak)
            for (name, end), limits in zip(found, drawn, strict=True)
        ],
        difference=value,
        low=low,
        high=high,
        level=level,
        members_paired=more.who == less.who,
        others_paired=more.whom == less.whom,
        members=min(more.members.shape[1], less.members.shape[1]),
        others=min(more.others.shape[1], less.others.shape[1]),
        trainings=min(len(more.members), len(less.members)),
    )


def _attacks(factor: Mapping[str, Any]) -> Sequence[str]:
    """Return what a factor is measured by; one row where its levels are attacks themselves."""
    named = [one["attack"] for one in factor["levels"] if "attack" in one]
    return [" against ".join(named)] if named else MEASURED_BY


def _levels(
    described: Mapping[str, Any],
    factor: Mapping[str, Any],
    attack: str,
    trainings: Mapping[str, Sequence[GeneratorRecord]],
) -> list[tuple[str, End]] | None:
    """Return (name, scores) of the levels that were run; None where an end was not."""
    found = []
    for number, level in enumerate(factor["levels"]):
        records = trainings.get(level["plan"], [])
        by, part = level.get("attack", attack), level.get("only")
        end = _end(described, records, by, part)
        if end is not None:
            found.append((_level_name(factor, level, records[0]), end))
        elif number in (0, len(factor["levels"]) - 1):
            return None
    return found


def _level_name(
    factor: Mapping[str, Any], level: Mapping[str, Any], record: GeneratorRecord
) -> str:
    if "fact" not in factor:
        return str(level.get("only") or level["attack"])
    own = record.target
    facts = {**own.facts.get("recipe", {}), **own.facts, "parameters": own.parameters}
    value = facts[factor["fact"]]
    value = len(value) if isinstance(value, list) else value
    told = f"{value / 1000:.0f}k" if value >= THOUSANDS else f"{value:,}"
    return str(factor["shown"]).replace("{}", told)


def _end(
    described: Mapping[str, Any], records: Sequence[GeneratorRecord], attack: str, part: str | None
) -> End | None:
    """Return one attack's scores over trainings; None where it was not run in each."""
    own = [
        one
        for record in records
        for one in record.findings
        if one.shown is not None and _label(described, one) == attack
    ]
    if not own or len(own) != len(records):
        return None
    first = records[0]
    picked = [_part(first, labels, part) for labels in (first.member_labels, first.other_labels)]
    if not all(one.any() for one in picked):
        return None
    shown = [one.shown for one in own if one.shown is not None]
    return End(
        np.array([one.member_scores for one in shown])[:, picked[0]],
        np.array([one.other_scores for one in shown])[:, picked[1]],
        f"{first.members_artifact} {part}",
        f"{first.others_artifact} {part}",
        any(one.verdict.outcome == "LEAK" for one in own),
    )


def _part(record: GeneratorRecord, labels: Sequence[int], part: str | None) -> NDArray[np.bool_]:
    """Return which candidates a level is about."""
    if part is None:
        return np.ones(len(labels), dtype=bool)
    if part not in _PARTS:
        raise PlanError(catalog.unknown("part of the candidates", part, _PARTS))
    odd = np.array([record.classes[one] == OUTLIER for one in labels])
    return odd if part == "outliers" else ~odd


def _by_plan(
    described: Mapping[str, Any], scale: Scale, records: Mapping[str, GeneratorRecord]
) -> dict[str, list[GeneratorRecord]]:
    """Return the records of each plan, one a training, in the description's order."""
    own = described[scale]
    found = {}
    for name in (*described["architectures"], *own["variants"]):
        called = [_called(name, one, own["trainings"]) for one in own["trainings"]]
        if have := [records[one] for one in called if one in records]:
            found[name] = have
    return found


def _label(described: Mapping[str, Any], finding: GeneratorFinding) -> str:
    """Name the attack of a finding: of those that fit, the one described most closely."""
    fitting = [
        (len(one), label)
        for label, one in described["attacks"].items()
        if one["name"] == finding.attack
        and one["sees"] == finding.threat_options.get("access")
        and all(finding.options.get(key) == value for key, value in _options(one).items())
    ]
    return max(fitting)[1] if fitting else finding.attack


def _options(attack: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attack.items() if key not in ("name", "sees", "of")}


def _called(name: str, training: int, trainings: Sequence[int]) -> str:
    return name if len(trainings) == 1 else f"{name}, training {training}"


def _plan(described: Mapping[str, Any], own: Mapping[str, Any], name: str, training: int) -> Plan:
    """Return a plan; what is nearer to it decides: variant, architecture, scale, description."""
    variant = own["variants"].get(name, {})
    architecture = variant.get("of", name)
    here = own.get("architectures", {}).get(architecture, {})
    layers = [described.get("recipe", {}), described["architectures"][architecture], own["recipe"]]
    layers += [here.get("recipe", {}), variant.get("recipe", {}), {"seed": training}]
    options: dict[str, Any] = {"recipe": _joined(layers)}
    if "candidates" in variant:
        options["candidates"] = variant["candidates"]
    tried = {
        label: one
        for label, one in described["attacks"].items()
        if architecture in one.get("of", (architecture,))
    }
    content = {
        "name": _called(name, training, own["trainings"]).replace(",", ""),
        "data": _joined([described["data"], own["data"], variant.get("data", {})]),
        "target": {"model": "generator", "options": options},
        "threats": [
            {"name": "released_generator", **threat, "attacks": labels}
            for sees, threat in _THREATS.items()
            if (labels := [label for label, one in tried.items() if one["sees"] == sees])
        ],
        "attacks": [
            {
                "label": label,
                "name": one["name"],
                **_options(one),
                **own.get("attacks", {}).get(label, {}),
                **here.get("attacks", {}).get(label, {}),
            }
            for label, one in tried.items()
        ],
    }
    return parse_plan(content, f"the reproduction of {name}")


def _joined(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: value for one in layers for key, value in one.items()}
