"""Generator samples: made pictures that crowd unusually close together are memorized ones."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from safelight.attacks.generator_attack import Count, MemorizedPictures, MemoryAttack, Positive
from safelight.catalog import Reference
from safelight.metrics.memorization import SAME, distances, nearest, scale
from safelight.stats.seeds import Seeds
from safelight.threats.released_generator import GeneratorNeeds, GeneratorObservation

#: Of the made pictures, only so many times the claims are looked at, those that crowd most first.
AT_MOST = 4


@dataclass(frozen=True, kw_only=True)
class GeneratorSamples(MemoryAttack):
    """Make many pictures; claim the centers of crowds (Carlini et al. 2023, adapted).

    A generator that learned the distribution makes pictures about as far from each other as real
    ones are. A made picture is ranked by its distance to the ``crowd``-th nearest made picture,
    over the mean distance to the 50 nearest pictures that the adversary owns. Of a crowd only the
    center is claimed, as the mean of the pictures nearest to it: what they do not share is noise.

    Attributes:
        samples: pictures made.
        crowd: made pictures that must lie close.
        merged: of them, so many are averaged, the center among them.
        claims: the most pictures claimed.
        apart: pictures nearer than this share of that scale are of one crowd.
    """

    reference: ClassVar[Reference] = Reference(
        key="carlini2023",
        authors="Carlini, Nicholas and Hayes, Jamie and Nasr, Milad and Jagielski, Matthew and "
        "Sehwag, Vikash and Tramer, Florian and Balle, Borja and Ippolito, Daphne and Wallace, "
        "Eric",
        title="Extracting Training Data from Diffusion Models",
        year=2023,
        venue="USENIX Security 2023",
        url="https://arxiv.org/abs/2301.13188",
    )

    samples: Count = 5000
    crowd: Count = 5
    merged: Count = 3
    claims: Count = 1000
    apart: Positive = SAME

    @property
    def needs(self) -> GeneratorNeeds:
        """Made pictures, and own ones."""
        return GeneratorNeeds(samples=True, reference=True)

    def unfit(self, seen: GeneratorObservation) -> str:
        """A crowd is of other made pictures."""
        del seen
        fewest = max(self.crowd + 1, self.merged)
        if self.samples < fewest:
            return (
                f"{self.samples} made pictures hold no crowd of {fewest}; set samples to {fewest} "
                "or more"
            )
        return ""

    def run(self, seen: GeneratorObservation, rng: Seeds) -> MemorizedPictures:
        """Rank made pictures by how they crowd, and claim the centers."""
        made = seen.samples(self.samples, rng)
        scales = scale(made, seen.reference.images)
        # A made picture is the first among its own neighbors.
        apart, which = nearest(made, made, max(self.crowd + 1, self.merged))
        crowding = apart[:, self.crowd] / scales
        taken = self._centers(made, scales, crowding.argsort())
        return MemorizedPictures(
            made[which[taken, : self.merged]].mean(1),
            -crowding[taken],
            {"crowding of the first": float(crowding[taken[0]])},
        )

    def _centers(self, made: Tensor, scales: Tensor, order: Tensor) -> Tensor:
        """Take pictures in order, leaving out those close to one that was taken."""
        first = order[: AT_MOST * self.claims]
        close = distances(made[first], made[first]) <= self.apart * scales[first, None]
        crowds = close.cpu().numpy()
        free = np.ones(len(first), dtype=bool)
        taken: list[int] = []
        for one in range(len(first)):
            if not free[one]:
                continue
            taken.append(one)
            if len(taken) == self.claims:
                break
            free &= ~crowds[one]
        return first[torch.tensor(taken, device=first.device)]
