"""Monte Carlo: how many made pictures fall close to a candidate."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic
import torch

from safelight.attacks.generator_attack import CandidateAttack, CandidateScores, Count
from safelight.catalog import Reference
from safelight.metrics.density import components
from safelight.stats.seeds import Seeds
from safelight.threats.released_generator import GeneratorNeeds, GeneratorObservation


@dataclass(frozen=True, kw_only=True)
class MonteCarlo(CandidateAttack):
    """Score a candidate by the share of made pictures within a distance (Hilprecht et al. 2019).

    Distances are taken in principal components of the made pictures, the distance from the
    candidates' own neighbors, so that nothing is fitted on members.

    Attributes:
        kernel: every picture within the distance counts ``alike``, or ``nearer`` ones count more.
        within: ``median`` (over candidates, of the distance to the nearest made picture), or the
            ``quantile`` of all distances.
        quantile: which.
        components: how many.
        samples: pictures made.
    """

    reference: ClassVar[Reference] = Reference(
        key="hilprecht2019",
        authors="Hilprecht, Benjamin and Haerterich, Martin and Bernau, Daniel",
        title="Monte Carlo and Reconstruction Membership Inference Attacks against Generative "
        "Models",
        year=2019,
        venue="Proceedings on Privacy Enhancing Technologies 2019(4)",
        doi="10.2478/popets-2019-0067",
    )

    kernel: Literal["alike", "nearer"] = "nearer"
    within: Literal["median", "quantile"] = "median"
    quantile: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.001
    components: Count = 40
    samples: Count = 10_000

    @property
    def needs(self) -> GeneratorNeeds:
        """Candidates and made pictures."""
        return GeneratorNeeds(candidates=True, samples=True)

    def run(self, seen: GeneratorObservation, rng: Seeds) -> CandidateScores:
        """Score by 1/n sum_i 1[d_i <= eps], or with 1 - log(d_i / eps) for each."""
        made = seen.samples(self.samples, rng)
        project = components(made, self.components, whiten=False)
        apart = torch.cdist(project(seen.candidates.images), project(made))
        if self.within == "median":
            bound = apart.min(1).values.median()
        else:
            bound = apart.flatten().kthvalue(max(1, round(self.quantile * apart.numel()))).values
        inside = (apart <= bound).double()
        if self.kernel == "nearer":
            near = (apart / bound.clamp_min(1e-6)).clamp_min(1e-6)
            inside = inside * (1 - near.log().double())
        return CandidateScores(inside.mean(1).cpu().numpy())
