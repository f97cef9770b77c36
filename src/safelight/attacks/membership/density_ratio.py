"""Density ratio: made pictures crowd where the generator overfitted, more than real ones do."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from safelight.attacks.generator_attack import CandidateAttack, CandidateScores, Count
from safelight.catalog import Reference
from safelight.metrics.density import components, kernel_density, neighbor_density
from safelight.stats.seeds import Seeds
from safelight.threats.released_generator import GeneratorNeeds, GeneratorObservation


@dataclass(frozen=True, kw_only=True)
class DensityRatio(CandidateAttack):
    """Score a candidate by how much denser made pictures lie there than real ones (DOMIAS).

    Densities are estimated in principal components of the adversary's own pictures.

    Attributes:
        estimate: by the distance to the k-th of the ``neighbors``, or by a Gaussian ``kernel``.
        neighbors: k.
        components: how many.
        samples: pictures made.
    """

    reference: ClassVar[Reference] = Reference(
        key="vanbreugel2023",
        authors="van Breugel, Boris and Sun, Hao and Qian, Zhaozhi and van der Schaar, Mihaela",
        title="Membership Inference Attacks against Synthetic Data through Overfitting Detection",
        year=2023,
        venue="AISTATS 2023",
        url="https://arxiv.org/abs/2302.12580",
    )

    estimate: Literal["neighbors", "kernel"] = "neighbors"
    neighbors: Count = 5
    components: Count = 60
    samples: Count = 10_000

    @property
    def needs(self) -> GeneratorNeeds:
        """Candidates, made pictures, and own ones."""
        return GeneratorNeeds(candidates=True, samples=True, reference=True)

    def run(self, seen: GeneratorObservation, rng: Seeds) -> CandidateScores:
        """Score by log p_G(x) - log p_R(x) (van Breugel et al. 2023, equation 2)."""
        own = seen.reference.images
        project = components(own, self.components)
        x, made, real = (
            project(one) for one in (seen.candidates.images, seen.samples(self.samples, rng), own)
        )
        if self.estimate == "kernel":
            ratio = kernel_density(x, made) - kernel_density(x, real)
        else:
            k = self.neighbors
            ratio = neighbor_density(x, made, k) - neighbor_density(x, real, k)
        return CandidateScores(ratio.double().cpu().numpy())
