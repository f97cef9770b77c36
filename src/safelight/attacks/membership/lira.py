"""LiRA: is this confidence one of models that saw the picture, or of models that did not?"""

from dataclasses import dataclass
from typing import ClassVar

from safelight.attacks.membership.attack import (
    Array,
    Mask,
    MembershipAttack,
    MembershipScores,
    Rows,
    Shadows,
    Views,
    left_out_threshold,
)
from safelight.catalog import Reference
from safelight.stats.membership import lira
from safelight.stats.membership.signals import confidence_of_logits
from safelight.stats.seeds import Seeds
from safelight.threats.membership_game import GameObservation, MembershipGame, Sights


@dataclass(frozen=True, kw_only=True)
class Lira(MembershipAttack):
    """Compare a candidate's log-odds with those of shadow models (Carlini et al. 2022).

    Attributes:
        shadows: how many.
        online: the likelihood ratio between shadows with the candidate and without it; else how
            far the target lies above shadows that never held it.
        views: of each picture: itself, then mirrored, then moved by a pixel. More than one helps
            where the training showed pictures mirrored or moved.
    """

    reference: ClassVar[Reference] = MembershipGame.reference

    shadows: Shadows = 16
    online: bool = True
    views: Views = 1

    @property
    def needs(self) -> Sights:
        """Scores and shadow models; offline the pool instead of candidates to train on."""
        return Sights(scores=True, shadows=True, online=self.online, pool=not self.online)

    @property
    def trains(self) -> int:
        """The shadows."""
        return self.shadows

    def run(self, seen: GameObservation, rng: Seeds) -> MembershipScores:
        """Score by the likelihood ratio, or by the distance from the shadows without."""
        answers = seen.with_shadows(self.shadows, self.views, self.online, rng)
        labels = answers.labels[:, None]
        own = confidence_of_logits(answers.target, labels)
        theirs = confidence_of_logits(answers.shadows, labels)
        score = lira.online if self.online else lira.offline
        inside, n = answers.inside, answers.candidates

        def left_out(one: int, others: Mask, rows: Rows) -> Array:
            return score(theirs[one, rows], theirs[others][:, rows], inside[others][:, rows])

        return MembershipScores(
            score(own[:n], theirs[:, :n], inside[:, :n]), left_out_threshold(inside, left_out)
        )
