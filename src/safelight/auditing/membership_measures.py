"""What one membership attack reached, with its controls: measured here, judged elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight import catalog
from safelight.attacks.membership.attack import MembershipAttack, MembershipScores
from safelight.auditing.scores import assess, sides_of
from safelight.bounds.dp_region import gaussian_with, largest_tpr, region
from safelight.bounds.rero import ApproximateDP
from safelight.data.images import ImageSet
from safelight.metrics import membership as metric
from safelight.metrics.membership_null import p_values, shuffled, statistics
from safelight.record.membership import RATES, ScoresRecord
from safelight.record.membership_audit import (
    EXPOSED,
    Calls,
    Privacy,
    blind_control,
    leaking_control,
    region_control,
)
from safelight.record.membership_finding import correct
from safelight.record.record import Control, Measurement
from safelight.record.verdict import LEVEL
from safelight.stats.intervals import clopper_pearson
from safelight.stats.membership.signals import confidence_of_logits
from safelight.stats.seeds import Seeds
from safelight.targets.target import Target
from safelight.threats.membership_game import GameObservation, GameSecret

#: Share of members among those an attacker would ask about, for the precision that is reported.
PRIOR = 0.01

#: The planted leak raises members' log-odds by this many deviations over pictures: more than half
#: of the pairs that were ranked at random are then ranked right.
RAISED = 2.0

#: Shuffles behind a control: enough for its p-value, and no more.
CONTROL_SHUFFLES = 2000


@dataclass(frozen=True)
class Bench:
    """One game: what is seen, the truth, and who the two sets are."""

    seen: GameObservation
    secret: GameSecret
    members: ImageSet
    others: ImageSet
    target: Target
    seeds: Seeds


Array = NDArray[np.float64]


def measured(
    bench: Bench,
    attack: MembershipAttack,
    tries: int,
    privacy: Privacy | None,
) -> dict[str, Any]:
    """Run an attack; return what its finding holds.

    Raises:
        RuntimeError: the attack changed the target, or gave what are no scores.
    """
    view = bench.seen.restricted(attack.needs)
    weights = bench.target.weights_sha256()
    claim = attack.run(view, bench.seeds)
    if bench.target.weights_sha256() != weights:
        raise RuntimeError("the attack changed the target; every later result is void")
    member = bench.secret.member
    if claim.scores.shape != member.shape or not np.isfinite(claim.scores).all():
        raise RuntimeError(f"the attack gave {claim.scores.shape} scores or some are not numbers")
    scores = _assessed(bench, attack, claim, tries)
    best = np.argsort(-claim.scores[member], kind="stable")[:EXPOSED]
    return {
        "scores": scores,
        "calls": _calls(claim, member),
        "controls": [_leaking(bench, attack)],
        "within": _within(scores, privacy),
        "exposed": bench.secret.position[member][best].tolist(),
        "exposed_scores": claim.scores[member][best].tolist(),
        "queries": view.queries,
    }


def _assessed(
    bench: Bench, attack: MembershipAttack, claim: MembershipScores, tries: int
) -> ScoresRecord:
    """Measure scores like those of a file; the null is finer where several attacks are tried."""
    column = catalog.name_of(attack)
    sides = sides_of(claim.scores, bench.secret.member, bench.members, bench.others, column)
    seed = bench.seeds.child("null", column).integer()
    return correct(assess(*sides, "score", PRIOR, seed, tries), tries)


def _calls(claim: MembershipScores, member: NDArray[np.bool_]) -> Calls | None:
    if claim.threshold is None:
        return None
    found = metric.at_threshold(claim.scores[member], claim.scores[~member], claim.threshold, LEVEL)
    share = float(member.mean())
    chances = {"accuracy": max(share, 1 - share), "precision": share, "recall": None, "fpr": None}

    def told(name: str) -> Measurement:
        one = getattr(found, name)
        return measurement(one, int(member.size), chances[name])

    return Calls(
        threshold=claim.threshold,
        accuracy=told("accuracy"),
        precision=told("precision"),
        recall=told("recall"),
        fpr=told("fpr"),
    )


def measurement(estimate: metric.Estimate, n: int, chance: float | None) -> Measurement:
    """Return a share with its interval; NaN, of nobody, becomes None."""
    return Measurement(
        value=None if np.isnan(estimate.value) else estimate.value,
        low=estimate.low,
        high=estimate.high,
        level=LEVEL,
        n=n,
        seeds=1,
        chance=chance,
        worse="higher",
        unit="share",
    )


def blind(bench: Bench, attack: MembershipAttack, tell: Callable[[int, int], None]) -> Control:
    """Ask the shadows that an attack uses, each about pictures that it never saw."""
    view = bench.seen.restricted(attack.needs)
    views = getattr(attack, "views", 1)
    answers = view.with_shadows(attack.trains, views, attack.needs.online, bench.seeds, tell)
    n = answers.candidates
    said = confidence_of_logits(answers.shadows[:, :n, 0], answers.labels[:n])
    without = ~answers.inside[:, :n]
    known = without.any(0)
    mean = np.where(without, said, 0).sum(0)[known] / without.sum(0)[known]
    member = bench.secret.member[known]
    up, area = _surely(mean, member, bench.seeds.child("blind"))
    down, _ = _surely(-mean, member, bench.seeds.child("blind", "reversed"))
    return blind_control(min(2 * min(up, down), 1.0), area, attack.trains)


def _leaking(bench: Bench, attack: MembershipAttack) -> Control:
    """Run an attack where every model answers its members with raised confidence.

    The target's members are then a random half of the candidates, so that what it really was
    trained on does not matter.
    """
    seeds = bench.seeds.child("planted leak")
    rng = np.random.default_rng(seeds.integer())
    sham = rng.permutation(bench.secret.member.size) < bench.secret.member.size // 2
    view = bench.seen.planted(_raising(torch.from_numpy(sham), bench)).restricted(attack.needs)
    scores = attack.run(view, bench.seeds).scores
    return leaking_control(*_surely(scores, sham, seeds))


def _raising(sham: Tensor, bench: Bench) -> Callable[[Tensor, Tensor | None], Tensor]:
    labels = bench.seen.all_labels

    def plant(said: Tensor, inside: Tensor | None) -> Tensor:
        member = torch.zeros(len(said), dtype=torch.bool)
        member[: len(sham)] = sham if inside is None else inside[: len(sham)]
        if inside is not None:
            member = inside
        own = torch.nn.functional.one_hot(labels, said.shape[-1]).bool()
        odds = confidence_of_logits(said[:, 0].numpy(), labels.numpy())
        rise = RAISED * float(np.std(odds))
        return said + rise * (own & member[:, None])[:, None]

    return plant


def _surely(scores: Array, member: NDArray[np.bool_], seeds: Seeds) -> tuple[float, float]:
    """Return the smallest p-value of the tests, and the AUC."""
    sides = scores[member], scores[~member]
    found = statistics(*sides, RATES)
    null = shuffled(*sides, RATES, CONTROL_SHUFFLES, seeds.integer())
    return float(p_values(found, null).min()), float(found[0])


def promised(facts: dict[str, Any]) -> Privacy | None:
    """Return what a target's facts promise; None where they promise nothing."""
    given = facts.get("privacy")
    if not isinstance(given, dict) or given.get("epsilon") is None:
        return None
    epsilon, delta = float(given["epsilon"]), float(given["delta"])
    gaussian = gaussian_with(epsilon, delta)
    return Privacy(
        epsilon=epsilon,
        delta=delta,
        sampling=f"{given['sampling']}, rate {given['sampling rate']:.4g}",
        accountant=str(given["accountant"]),
        neighbors=str(given["neighbors"]),
        region=region(ApproximateDP(epsilon, delta)).points(),
        gaussian=region(gaussian).points(),
        mu=gaussian.mu,
    )


def _within(scores: ScoresRecord, privacy: Privacy | None) -> Control | None:
    """Hold the curve's lower limits against the promise, at the rate where it comes nearest."""
    if privacy is None:
        return None
    rates = scores.rates
    promise = ApproximateDP(privacy.epsilon, privacy.delta)
    limits = largest_tpr(promise, np.array([one.fpr for one in rates]))
    nearest = max(zip(rates, limits, strict=True), key=lambda one: one[0].curve_low - one[1])
    return region_control(nearest[0].fpr, nearest[0].curve_low, float(nearest[1]))


def accuracy(target: Target, images: ImageSet) -> Measurement:
    """Return how often the target is right, with an exact interval."""
    device = target.model.mean.device
    hits, n = target.correct(images.images.to(device), images.labels.to(device)), len(images)
    found = metric.Estimate(hits / n, *clopper_pearson(hits, n, LEVEL))
    chance = 1 / len(images.classes)
    return measurement(found, n, chance).model_copy(update={"worse": "lower"})
