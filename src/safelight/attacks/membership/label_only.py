"""Label only: members are labeled right however they are mirrored and moved."""

from dataclasses import dataclass
from typing import ClassVar

from safelight.attacks.membership.attack import MembershipAttack, MembershipScores, Views
from safelight.catalog import Reference
from safelight.stats.membership.label_only import agreement
from safelight.stats.seeds import Seeds
from safelight.targets.views import MOST_VIEWS
from safelight.threats.membership_game import GameObservation, Sights


@dataclass(frozen=True, kw_only=True)
class LabelOnly(MembershipAttack):
    """Count the views of a candidate that are labeled right (Choquette-Choo et al. 2021).

    Attributes:
        views: of each picture. One is the gap attack: members are those labeled right.
    """

    reference: ClassVar[Reference] = Reference(
        key="choquettechoo2021",
        authors="Choquette-Choo, Christopher A. and Tramer, Florian and Carlini, Nicholas and "
        "Papernot, Nicolas",
        title="Label-Only Membership Inference Attacks",
        year=2021,
        venue="International Conference on Machine Learning 2021",
        url="https://arxiv.org/abs/2007.14321",
    )

    views: Views = MOST_VIEWS

    @property
    def needs(self) -> Sights:
        """Nothing but labels."""
        return Sights()

    @property
    def trains(self) -> int:
        """None."""
        return 0

    def run(self, seen: GameObservation, rng: Seeds) -> MembershipScores:
        """Score by the share of views labeled right; a member is one with all of them right."""
        labels = seen.candidates.labels.numpy()
        return MembershipScores(agreement(seen.labels(self.views), labels), 1.0)
