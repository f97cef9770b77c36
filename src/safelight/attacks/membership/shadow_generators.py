"""Shadow generators: generators that one trained oneself teach how members stand out."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from safelight import catalog
from safelight.attacks.generator_attack import CandidateAttack, CandidateScores, Count
from safelight.attacks.membership.density_ratio import DensityRatio
from safelight.attacks.membership.discriminator_score import DiscriminatorScore
from safelight.attacks.membership.generator_distance import GeneratorDistance
from safelight.attacks.membership.monte_carlo import MonteCarlo
from safelight.cache import Cache
from safelight.catalog import Reference
from safelight.data.images import ImageSet
from safelight.metrics.membership import auc
from safelight.stats.seeds import Seeds
from safelight.targets.generators.adversarial import train_generator
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.shadows import draw
from safelight.threats.released_generator import GeneratorNeeds, GeneratorObservation

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Own pictures that no shadow holds and none is asked about: distances are scaled by them.
FEWEST_APART = 100

#: How shadows are trained where nobody tells how the generator was: a small DCGAN, half as wide and
#: with half the batch of one that learns 128 pictures by heart.
STAND_IN = GeneratorRecipe(
    channel_base=256, batch_size=32, learning_rate=5e-4, r1=0.2, r1_every=8, ema=0.998
)


@dataclass(frozen=True, kw_only=True)
class ShadowGenerators(CandidateAttack):
    """Learn on shadow generators how much each attack's score says, and add up the scores.

    Every shadow is trained on a random half of a pool of the adversary's own pictures, never on a
    candidate, and attacked with the pool as its candidates, where the adversary knows who is a
    member (Stadler et al. 2022; Shokri et al. 2017 for classifiers). A logistic regression on what
    the attacks say of all pools is then applied to what they say of the candidates. Every attack's
    scores are taken in deviations from their mean among the pictures asked about, as their scale
    differs between generators; no weight is negative, as every score is higher for members.

    Attributes:
        by: ``samples``: the scores of ``membership/generator_distance``, ``density_ratio`` and
            ``monte_carlo``, from made pictures alone; ``weights``: the distance by a white-box
            search as well.
        discriminator: the score of ``membership/discriminator_score`` as well.
        recipe: ``stand-in``: shadows are small DCGANs, whatever was released; ``published``: they
            are trained as the released generator was, each from its own seed.
        shadows: how many.
        pictures: that each is trained on, out of twice as many. Fewer are learned by heart in fewer
            steps: shadows that remember less than the released generator teach little.
        steps: of each shadow's training, at most.
        samples: pictures made of each generator, and to start a search from.
        search: steps of a white-box search.
    """

    reference: ClassVar[Reference] = Reference(
        key="stadler2022",
        authors="Stadler, Theresa and Oprisanu, Bristena and Troncoso, Carmela",
        title="Synthetic Data -- Anonymisation Groundhog Day",
        year=2022,
        venue="USENIX Security 2022",
        url="https://arxiv.org/abs/2011.07018",
    )

    by: Literal["samples", "weights"] = "samples"
    discriminator: bool = False
    recipe: Literal["stand-in", "published"] = "stand-in"
    shadows: Annotated[int, pydantic.Field(ge=2)] = 4
    pictures: Count = 64
    steps: Count = 2000
    samples: Count = 10_000
    search: Count = 100

    @property
    def needs(self) -> GeneratorNeeds:
        """Candidates, own pictures, what the attacks need, and the recipe if it is published."""
        white = self.by == "weights"
        return GeneratorNeeds(
            candidates=True,
            samples=True,
            latents=white,
            weights=white,
            discriminator=self.discriminator,
            reference=True,
            recipe=self.recipe == "published",
        )

    @property
    def attacks(self) -> list[CandidateAttack]:
        """The attacks whose scores are added up."""
        found: list[CandidateAttack] = [
            GeneratorDistance(samples=self.samples),
            DensityRatio(samples=self.samples),
            MonteCarlo(samples=self.samples),
        ]
        if self.by == "weights":
            found += [GeneratorDistance(by="weights", samples=self.samples, steps=self.search)]
        if self.discriminator:
            found += [DiscriminatorScore()]
        return found

    def unfit(self, seen: GeneratorObservation) -> str:
        """Return that there are too few own pictures, if so."""
        there, wanted = len(seen.reference), 2 * self.pictures + FEWEST_APART
        if there >= wanted:
            return ""
        return (
            f"shadows of {self.pictures} pictures need {wanted} own ones and there are {there}; "
            "raise data.public.count or lower pictures"
        )

    def run(self, seen: GeneratorObservation, rng: Seeds) -> CandidateScores:
        """Score by w . z(x), z the standardized scores of the attacks, w learned on shadows."""
        inside, known = self._lessons(seen, rng.child("shadow generators"))
        weights = fitted(known, inside)
        scores: Array = self._standardized(seen, rng) @ weights
        apart = [
            auc(score[own], score[~own]).value
            for score, own in zip(left_out(known, inside), inside, strict=True)
        ]
        names = [f"weight of {_told(attack)}" for attack in self.attacks]
        learned = {name: float(one) for name, one in zip(names, weights, strict=True)}
        learned |= {"AUC on shadows left out": float(np.mean(apart))}
        return CandidateScores(scores, None, learned)

    def _lessons(self, seen: GeneratorObservation, rng: Seeds) -> tuple[Mask, Array]:
        """Return who is in which shadow, [shadows, pool], and scores [shadows, pool, attacks]."""
        own = seen.reference
        order = torch.Generator().manual_seed(rng.child("pool").integer())
        rows = torch.randperm(len(own), generator=order).to(own.labels.device)
        pool, rest = own.rows(rows[: 2 * self.pictures]), own.rows(rows[2 * self.pictures :])
        inside = draw(self.shadows, len(pool), self.pictures, rng.child("halves"))
        known = []
        for number, half in enumerate(inside):
            seeds = rng.child(str(number))
            recipe = self._recipe(seen, pool, seeds)
            members = pool.rows(half.nonzero()[:, 0].to(pool.labels.device))
            shadow = train_generator(recipe, members, seen.device, Cache())
            known.append(self._standardized(seen.shadow(shadow, pool, rest), seeds))
        return inside.numpy(), np.stack(known)

    def _recipe(self, seen: GeneratorObservation, pool: ImageSet, seeds: Seeds) -> GeneratorRecipe:
        if self.recipe == "published":
            recipe = seen.recipe
        else:
            told = {"resolution": pool.shape[1], "conditional": bool(seen.classes)}
            recipe = STAND_IN.model_copy(update=told | {"steps": self.steps})
        update = {"steps": min(recipe.steps, self.steps), "seed": seeds.integer() % 2**62}
        return recipe.model_copy(update=update)

    def _standardized(self, seen: GeneratorObservation, rng: Seeds) -> Array:
        """Return what every attack says of the candidates, in deviations, [n, attacks]."""
        found = np.stack([attack.run(seen, rng).scores for attack in self.attacks], axis=1)
        spread = found.std(0)
        apart: Array = (found - found.mean(0)) / np.where(spread > 0, spread, 1.0)
        return apart


def fitted(known: Array, inside: Mask) -> Array:
    """Fit a logistic regression with weights of 0 or more, and a ridge of 1/2 |w|^2.

    Args:
        known: scores [shadows, pool, attacks].
        inside: [shadows, pool], True where a picture was trained on.

    Returns:
        weights [attacks]; half of each pool is inside, so that there is no intercept.
    """
    sign = np.where(inside, 1.0, -1.0).ravel()
    rows = known.reshape(len(sign), -1) * sign[:, None]

    def loss(weights: Array) -> tuple[float, Array]:
        margin = rows @ weights
        value = np.logaddexp(0, -margin).sum() + weights @ weights / 2
        return float(value), weights - rows.T @ expit(-margin)

    start, bounds = np.zeros(rows.shape[1]), [(0, None)] * rows.shape[1]
    found: Array = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found


def left_out(known: Array, inside: Mask) -> Array:
    """Return each shadow's scores by weights that were fitted on the others, [shadows, pool]."""
    found, every = np.zeros(inside.shape), np.arange(len(known))
    for one in every:
        found[one] = known[one] @ fitted(known[every != one], inside[every != one])
    return found


def _told(attack: CandidateAttack) -> str:
    name = catalog.name_of(attack)
    if isinstance(attack, GeneratorDistance):
        return f"{name} by {attack.by}"
    return name
