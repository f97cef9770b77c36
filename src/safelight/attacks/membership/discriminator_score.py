"""Discriminator score: the discriminator learned to tell training pictures from all others."""

from dataclasses import dataclass
from typing import ClassVar

from safelight.attacks.generator_attack import CandidateAttack, CandidateScores
from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.released_generator import GeneratorNeeds, GeneratorObservation


@dataclass(frozen=True, kw_only=True)
class DiscriminatorScore(CandidateAttack):
    """Score a candidate by the discriminator's logit (LOGAN, white-box, Hayes et al. 2019).

    Attributes:
        calibrate: subtract the logit of a twin's discriminator, which never saw a candidate: some
            pictures look real to any.
    """

    reference: ClassVar[Reference] = Reference(
        key="hayes2019",
        authors="Hayes, Jamie and Melis, Luca and Danezis, George and De Cristofaro, Emiliano",
        title="LOGAN: Membership Inference Attacks Against Generative Models",
        year=2019,
        venue="Proceedings on Privacy Enhancing Technologies 2019(1)",
        doi="10.2478/popets-2019-0008",
    )

    calibrate: bool = False

    @property
    def needs(self) -> GeneratorNeeds:
        """Candidates and the discriminator; calibrated, the twin's as well."""
        return GeneratorNeeds(candidates=True, discriminator=True, twin=self.calibrate)

    def run(self, seen: GeneratorObservation, rng: Seeds) -> CandidateScores:
        """Score by D(x), or by D(x) - D_twin(x)."""
        del rng
        scores = seen.scores(seen.candidates)
        if self.calibrate:
            scores = scores - seen.twin.scores(seen.candidates)
        return CandidateScores(scores.double().cpu().numpy())
