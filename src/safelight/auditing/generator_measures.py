"""What one attack on a generator reached, with its controls: measured here, judged elsewhere."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import fisher_exact, ks_2samp, mannwhitneyu
from torch import Tensor

from safelight import catalog
from safelight.attacks.generator_attack import (
    CandidateAttack,
    CandidateScores,
    GeneratorAttack,
    MemorizedPictures,
    MemoryAttack,
)
from safelight.auditing.scores import assess, sides_of
from safelight.auditing.sheets import sheet
from safelight.controls.planted_generator import RecitingDiscriminator, reciting
from safelight.data.images import ImageSet
from safelight.metrics import membership
from safelight.metrics.membership_null import p_values, shuffled, statistics
from safelight.metrics.memorization import SAME, likeness_to_claims, nearest, scale
from safelight.record.generator import Found, Shown, blind_control, reciting_control
from safelight.record.membership import RATES, ScoresRecord
from safelight.record.membership_finding import correct
from safelight.record.record import Control, Measurement
from safelight.record.store import Run
from safelight.record.verdict import LEVEL
from safelight.stats.intervals import bonferroni, clopper_pearson
from safelight.stats.seeds import Seeds
from safelight.targets.generators.released import ReleasedGenerator, tensors_of
from safelight.threats.released_generator import GeneratorObservation, GeneratorSecret

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Shuffles behind a control: enough for its p-value, and no more.
CONTROL_SHUFFLES = 2000

#: Share of members among those an attacker would ask about, for the precision that is reported.
PRIOR = 0.01


@dataclass(frozen=True)
class Bench:
    """One threat met: what is seen, the truth, and pictures that nobody trained on."""

    seen: GeneratorObservation
    secret: GeneratorSecret
    networks: ReleasedGenerator
    reference: ImageSet
    seeds: Seeds


@dataclass(frozen=True)
class Outcome:
    """A claim, scored: one score a candidate, and the nearest picture that the attack made."""

    scores: Array
    nearest: Tensor | None
    claims: int
    provenance: dict[str, float]


def measured(bench: Bench, attack: GeneratorAttack, tests: int, run: Run) -> dict[str, Any]:
    """Run an attack; return what its finding holds.

    Args:
        bench: whom it is run on.
        attack: what is run.
        tests: of the audit, which the p-values and intervals are corrected for.
        run: where pictures are kept.

    Raises:
        RuntimeError: the attack changed the networks, or claimed what is no claim.
    """
    view = bench.seen.restricted(attack.needs)
    before = state(bench.networks)
    outcome = outcome_of(attack, view, bench.seen, bench.reference, bench.seeds)
    queries = view.queries
    if state(bench.networks) != before:
        raise RuntimeError("the attack changed the generator; every later result is void")
    member = bench.secret.member
    return {
        "scores": _assessed(bench, attack, outcome.scores, tests),
        "found": _found(outcome, member, tests) if isinstance(attack, MemoryAttack) else None,
        "shown": _shown(bench.secret, outcome, run),
        "controls": [_reciting(bench, attack)],
        "claims": outcome.claims,
        "queries": queries,
        "provenance": outcome.provenance,
    }


def blind(bench: Bench) -> Control:
    """Tell members from others by the nearest picture that nobody trained on: at chance.

    By two tests of two sides each, of the middle and of the whole law of the distance: shuffles
    would have to be many thousands to be as sure as this must be.
    """
    candidates, member = bench.seen.candidates.images, bench.secret.member
    near = -nearest(candidates, bench.reference.images)[0][:, 0].double().cpu().numpy()
    sides = near[member], near[~member]
    p = min(float(mannwhitneyu(*sides).pvalue), float(ks_2samp(*sides).pvalue))
    return blind_control(min(2 * p, 1.0), membership.auc(*sides).value, len(bench.reference))


def state(networks: ReleasedGenerator) -> str:
    """Return a hash over every name and value of the networks."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors_of(networks).items()):
        digest.update(name.encode() + value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def outcome_of(
    attack: GeneratorAttack,
    view: GeneratorObservation,
    seen: GeneratorObservation,
    reference: ImageSet,
    seeds: Seeds,
) -> Outcome:
    """Run an attack, and score every candidate by its claim."""
    candidates = seen.candidates.images
    if isinstance(attack, CandidateAttack):
        claim: CandidateScores = attack.run(view, seeds)
        if claim.scores.shape != (len(candidates),) or not np.isfinite(claim.scores).all():
            raise RuntimeError(
                f"the attack gave {claim.scores.shape} scores or some are not numbers"
            )
        return Outcome(claim.scores, claim.nearest, 0, claim.provenance)
    assert isinstance(attack, MemoryAttack)  # noqa: S101 - the setting pairs no others
    pictures = checked(attack.run(view, seeds), seen.image_shape)
    scales = scale(pictures.images, reference.images)
    alike, which = likeness_to_claims(candidates, pictures.images, scales)
    return Outcome(
        alike.double().cpu().numpy(),
        pictures.images[which],
        len(pictures.images),
        pictures.provenance,
    )


def checked(claim: MemorizedPictures, shape: tuple[int, int, int]) -> MemorizedPictures:
    """Return a claim that is one; anything else is an error of the attack."""
    images = claim.images
    if images.ndim != 4 or tuple(images.shape[1:]) != shape or not len(images):
        raise ValueError(f"the attack claimed {list(images.shape)}, not [m, *{list(shape)}]")
    if len(claim.confidence) != len(images):
        raise ValueError("the attack claimed another number of confidences than pictures")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ValueError("the attack claimed pixels that are no numbers in [0, 1]")
    return claim


def _assessed(bench: Bench, attack: GeneratorAttack, values: Array, tests: int) -> ScoresRecord:
    """Measure scores like those of a file; intervals and null allow for the audit's tests."""
    secret, column = bench.secret, catalog.name_of(attack)
    sides = sides_of(values, secret.member, secret.members, secret.others, column)
    seed = bench.seeds.child("null", column).integer()
    scores = assess(*sides, "score", PRIOR, seed, tests)
    level = bonferroni(LEVEL, tests)
    area = membership.auc(sides[0].scores, sides[1].scores, level)
    limits = {"low": area.low, "high": area.high, "level": level}
    measurement = scores.auc.measurement.model_copy(update=limits)
    auc = scores.auc.model_copy(update={"measurement": measurement})
    return correct(scores.model_copy(update={"auc": auc}), tests)


def _found(outcome: Outcome, member: Mask, tests: int) -> Found:
    level = bonferroni(LEVEL, tests)
    called = [outcome.scores[side] > -SAME for side in (member, ~member)]
    hits = [int(one.sum()) for one in called]

    def share(place: int) -> Measurement:
        n = len(called[place])
        low, high = clopper_pearson(hits[place], n, level)
        return Measurement(
            value=hits[place] / n,
            low=low,
            high=high,
            level=level,
            n=n,
            seeds=1,
            chance=None,
            worse="higher",
            unit="share",
        )

    return Found(
        bar=SAME,
        members=share(0),
        others=share(1),
        p=min(_more(hits[0], hits[1], member) * tests, 1.0),
    )


def _more(own: int, false: int, member: Mask) -> float:
    """Fisher's exact test: how often chance calls at least as many of the called ones members."""
    inside, outside = int(member.sum()), int((~member).sum())
    table = [[own, false], [inside - own, outside - false]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _shown(secret: GeneratorSecret, outcome: Outcome, run: Run) -> Shown:
    """Put scores and pictures back into the order of members and others."""
    content: dict[str, Any] = {}
    for name, side in (("member", secret.member), ("other", ~secret.member)):
        order = np.flatnonzero(side)[np.argsort(secret.position[side])]
        content[f"{name}_scores"] = [float(f"{one:.6g}") for one in outcome.scores[order]]
        if outcome.nearest is not None:
            rows = torch.from_numpy(order).to(outcome.nearest.device)
            content[f"{name}s_artifact"] = run.keep(sheet(outcome.nearest[rows]), ".png")
    return Shown(**content)


def _reciting(bench: Bench, attack: GeneratorAttack) -> Control:
    """Run the same attack on a generator that makes a random half of the candidates.

    The truth is then that half, so that what the generator under audit was trained on does not
    matter.
    """
    seeds = bench.seeds.child("reciting generator")
    n = bench.secret.member.size
    sham = np.random.default_rng(seeds.integer()).permutation(n) < n // 2
    candidates = bench.seen.candidates.images
    known = candidates[torch.from_numpy(sham).to(candidates.device)]
    made = ReleasedGenerator(
        reciting(known, bench.seen.z_dim, bench.seen.classes), RecitingDiscriminator(known)
    )
    planted = bench.seen.remade(made)
    view = planted.restricted(attack.needs)
    outcome = outcome_of(attack, view, planted, bench.reference, bench.seeds)
    p, area = _surely(outcome.scores, sham, seeds)
    extracted = None
    if isinstance(attack, MemoryAttack):
        own, false = (int((outcome.scores[side] > -SAME).sum()) for side in (sham, ~sham))
        extracted = own, false
        p = min(p, _more(own, false, sham))
    return reciting_control(p, area, extracted, n // 2)


def _surely(scores: Array, member: Mask, seeds: Seeds) -> tuple[float, float]:
    """Return the smallest p-value of the tests, and the AUC."""
    sides = scores[member], scores[~member]
    found = statistics(*sides, RATES)
    null = shuffled(*sides, RATES, CONTROL_SHUFFLES, seeds.integer())
    return float(p_values(found, null).min()), float(found[0])
