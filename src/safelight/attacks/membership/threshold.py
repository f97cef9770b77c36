"""Threshold: members have a low loss, so call everybody a member whose loss is low."""

from dataclasses import dataclass
from typing import ClassVar

from safelight.attacks.membership.attack import MembershipAttack, MembershipScores, Shadows
from safelight.catalog import Reference
from safelight.stats.membership import threshold
from safelight.stats.membership.signals import cross_entropy
from safelight.stats.seeds import Seeds
from safelight.threats.membership_game import GameObservation, Sights


@dataclass(frozen=True, kw_only=True)
class Threshold(MembershipAttack):
    """Score a candidate by its loss alone (Yeom et al. 2018).

    Attributes:
        per_class: measure the score from a threshold of the candidate's class, fitted on shadow
            models (Song and Mittal 2021): some classes are easy for everybody.
        shadows: how many, for ``per_class``.
    """

    reference: ClassVar[Reference] = Reference(
        key="yeom2018",
        authors="Yeom, Samuel and Giacomelli, Irene and Fredrikson, Matt and Jha, Somesh",
        title="Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting",
        year=2018,
        venue="IEEE Computer Security Foundations Symposium 2018",
        doi="10.1109/CSF.2018.00027",
    )

    per_class: bool = False
    shadows: Shadows = 16

    @property
    def needs(self) -> Sights:
        """Scores; per class, shadow models as well."""
        return Sights(scores=True, shadows=self.per_class, online=self.per_class)

    @property
    def trains(self) -> int:
        """Shadows for the thresholds of classes."""
        return self.shadows if self.per_class else 0

    def run(self, seen: GameObservation, rng: Seeds) -> MembershipScores:
        """Score by -loss, or by how far that lies above the class's threshold."""
        if not self.per_class:
            answers = seen.answers()
            n = answers.candidates
            losses = cross_entropy(answers.target[:n, 0], answers.labels[:n])
            return MembershipScores(threshold.score(losses))
        answers = seen.with_shadows(self.shadows, 1, True, rng)
        n, labels = answers.candidates, answers.labels
        scores = threshold.score(cross_entropy(answers.target[:n, 0], labels[:n]))
        theirs = threshold.score(cross_entropy(answers.shadows[:, :, 0], labels))
        fitted = threshold.fit_classes(theirs, answers.inside, labels)
        return MembershipScores(threshold.score_by_class(scores, labels[:n], fitted), 0.0)
