"""RMIA: how many other people's pictures does this one dominate?"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import pydantic

from safelight.attacks.membership.attack import (
    Array,
    Mask,
    MembershipAttack,
    MembershipScores,
    Rows,
    Shadows,
    both_left,
    left_out_threshold,
)
from safelight.catalog import Reference
from safelight.errors import DataError
from safelight.stats.membership import rmia
from safelight.stats.membership.signals import cross_entropy
from safelight.stats.seeds import Seeds
from safelight.threats.membership_game import GameObservation, Sights


@dataclass(frozen=True, kw_only=True)
class Rmia(MembershipAttack):
    """Compare a candidate's likelihood ratio with those of other pictures (Zarifzadeh et al. 2024).

    Attributes:
        shadows: how many reference models.
        online: reference models are trained on candidates too; else on own pictures alone.
        gamma: how clearly a candidate must dominate.
        a: offline, how the probability of a member follows from that of a non-member.
    """

    reference: ClassVar[Reference] = Reference(
        key="zarifzadeh2024",
        authors="Zarifzadeh, Sajjad and Liu, Philippe and Shokri, Reza",
        title="Low-Cost High-Power Membership Inference Attacks",
        year=2024,
        venue="International Conference on Machine Learning 2024",
        url="https://arxiv.org/abs/2312.03262",
    )

    shadows: Shadows = 16
    online: bool = True
    gamma: Annotated[float, pydantic.Field(ge=1)] = rmia.GAMMA
    a: Annotated[float, pydantic.Field(ge=0, le=1)] = rmia.OFFLINE_A

    @property
    def needs(self) -> Sights:
        """Scores, shadow models and pictures to compare with."""
        return Sights(scores=True, shadows=True, online=self.online, pool=True)

    @property
    def trains(self) -> int:
        """The shadows."""
        return self.shadows

    def run(self, seen: GameObservation, rng: Seeds) -> MembershipScores:
        """Score by the share of the pool's pictures that a candidate dominates."""
        answers = seen.with_shadows(self.shadows, 1, self.online, rng, compared=True)
        n = answers.candidates
        own = np.exp(-cross_entropy(answers.target[:, 0], answers.labels))
        theirs = np.exp(-cross_entropy(answers.shadows[:, :, 0], answers.labels))
        inside = answers.inside
        kept = both_left(inside[:, n:]) if self.online else inside[:, n:].sum(0) < self.shadows - 1
        if not kept.any():
            raise DataError(
                f"{self.shadows} shadows are too few for every picture of the pool to be in some "
                "and out of some; raise shadows"
            )
        pools = np.flatnonzero(kept) + n

        def score(target: Array, others: Mask, rows: Rows) -> Array:
            shadows, held = theirs[others], inside[others]
            pool = pools[~inside[~others][:, pools].any(0)]  # who is attacked never saw them
            asked = (target[rows], shadows[:, rows], held[:, rows])
            population = (target[pool], shadows[:, pool], held[:, pool])
            if self.online:
                return rmia.online(*asked, *population, gamma=self.gamma)
            return rmia.offline(*asked, *population, gamma=self.gamma, a=self.a)

        everyone = np.ones(self.shadows, dtype=bool)
        return MembershipScores(
            score(own, everyone, np.arange(n)),
            left_out_threshold(inside, lambda one, others, rows: score(theirs[one], others, rows)),
        )
