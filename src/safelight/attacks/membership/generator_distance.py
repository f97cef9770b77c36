"""Generator distance: a generator comes nearer to pictures that it was trained on."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from safelight.attacks.extraction.latent_search import Space, descend, evolve, started
from safelight.attacks.generator_attack import CandidateAttack, CandidateScores, Count
from safelight.catalog import Reference
from safelight.metrics.memorization import nearest
from safelight.stats.seeds import Seeds
from safelight.threats.released_generator import (
    GeneratorNeeds,
    GeneratorObservation,
    ReleasedGenerator,
)


@dataclass(frozen=True, kw_only=True)
class GeneratorDistance(CandidateAttack):
    """Score a candidate by how near the generator comes to it (GAN-Leaks, Chen et al. 2020).

    Attributes:
        by: ``samples``: the nearest of many pictures (full black-box); ``latents``: CMA-ES over
            latents from the nearest picture on (partial black-box); ``weights``: Adam over latents
            (white-box).
        calibrate: subtract the distance that pictures nobody trained on lead to expect: to the
            nearest of the adversary's own ``pictures``, or of a twin ``generator``, sought in the
            same way; ``nothing`` subtracts nothing. Distances are compared by their logarithms: a
            picture that is hard to come near to is so by a factor.
        neighbors: nearest pictures that a distance is a mean over, where pictures are looked among.
        samples: pictures made, to look among or to start from.
        space: where the white-box search goes: z, w, or w+ (a w for every layer), which
            reconstructs anything.
        steps: of the search.
    """

    reference: ClassVar[Reference] = ReleasedGenerator.reference

    by: Literal["samples", "latents", "weights"] = "samples"
    calibrate: Literal["pictures", "generator", "nothing"] = "pictures"
    neighbors: Count = 5
    samples: Count = 10_000
    space: Space = "z"
    steps: Count = 100

    @property
    def needs(self) -> GeneratorNeeds:
        """Candidates, the generator in the way of ``by``, and what calibrates."""
        return GeneratorNeeds(
            candidates=True,
            samples=self.by == "samples",
            latents=self.by != "samples",
            weights=self.by == "weights",
            reference=self.calibrate == "pictures",
            twin=self.calibrate == "generator",
        )

    def run(self, seen: GeneratorObservation, rng: Seeds) -> CandidateScores:
        """Score by -(L(x, G) - L(x, calibration)), L the logarithm of a distance (section 5.6)."""
        images = seen.candidates.images
        apart, found = self._nearest(seen, rng)
        if self.calibrate == "pictures":
            own = nearest(images, seen.reference.images, self.neighbors)[0]
            apart = apart - _logarithm(own.mean(1))
        if self.calibrate == "generator":
            apart = apart - self._nearest(seen.twin, rng)[0]
        return CandidateScores(-apart.double().cpu().numpy(), found)

    def _nearest(self, seen: GeneratorObservation, rng: Seeds) -> tuple[Tensor, Tensor]:
        """Return L for each candidate, and the nearest picture."""
        images = seen.candidates.images
        if self.by == "samples":
            made = seen.samples(self.samples, rng)
            apart, which = nearest(images, made, self.neighbors)
            return _logarithm(apart.mean(1)), made[which[:, 0]]

        def error(pictures: Tensor, rows: Tensor) -> Tensor:
            return (pictures - images[rows]).square().flatten(1).mean(1)

        z, classes = started(seen, images, self.samples, rng)
        if self.by == "latents":
            made = evolve(seen, error, z, classes, self.steps, rng)
        else:
            made = descend(seen.painter, error, z, classes, self.space, self.steps)
        rows = torch.arange(len(images), device=images.device)
        return _logarithm(error(made, rows).sqrt()), made


def _logarithm(apart: Tensor) -> Tensor:
    """Distances below a hundredth of a gray level out of 255 are the same picture."""
    return apart.clamp_min(4e-5).log()
