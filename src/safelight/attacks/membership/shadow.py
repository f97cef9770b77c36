"""Shadow: a network that learned from shadow models how members' predictions look."""

from dataclasses import dataclass
from typing import ClassVar

from scipy.special import softmax

from safelight.attacks.membership.attack import MembershipAttack, MembershipScores, Shadows
from safelight.catalog import Reference
from safelight.stats.membership import shadow
from safelight.stats.seeds import Seeds
from safelight.threats.membership_game import GameObservation, Sights


@dataclass(frozen=True, kw_only=True)
class Shadow(MembershipAttack):
    """Train an attack model on the predictions of shadow models (Shokri et al. 2017).

    It has one small network a class, and a threshold that is fitted on the shadows as well.

    Attributes:
        shadows: how many.
        online: shadows are trained on candidates too; else on the adversary's pictures alone, as
            published.
    """

    reference: ClassVar[Reference] = Reference(
        key="shokri2017",
        authors="Shokri, Reza and Stronati, Marco and Song, Congzheng and Shmatikov, Vitaly",
        title="Membership Inference Attacks Against Machine Learning Models",
        year=2017,
        venue="IEEE Symposium on Security and Privacy 2017",
        doi="10.1109/SP.2017.41",
    )

    shadows: Shadows = 16
    online: bool = True

    @property
    def needs(self) -> Sights:
        """Scores and shadow models; offline the pool instead of candidates to train on."""
        return Sights(scores=True, shadows=True, online=self.online, pool=not self.online)

    @property
    def trains(self) -> int:
        """The shadows."""
        return self.shadows

    def run(self, seen: GameObservation, rng: Seeds) -> MembershipScores:
        """Score by the log-odds that the attack model gives."""
        answers = seen.with_shadows(self.shadows, 1, self.online, rng)
        n, labels = answers.candidates, answers.labels
        first = 0 if self.online else n  # offline, shadows never held a candidate
        model = shadow.fit(
            softmax(answers.shadows[:, first:, 0], axis=-1),
            labels[first:],
            answers.inside[:, first:],
            rng.child("attack model").integer(),
        )
        scores = model.score(softmax(answers.target[:n, 0], axis=-1), labels[:n])
        return MembershipScores(scores, model.threshold)
