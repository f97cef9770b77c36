"""What findings about a training set have in common, whoever was trained on it: a rule apiece."""

import abc
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from safelight.record.membership import ScoresRecord, judge
from safelight.record.record import SEVERITIES, Control, Verdict
from safelight.record.verdict import never_attacked

#: The two sets are taken to differ in more than membership if something that was never trained on
#: either tells them apart this surely. It makes a verdict void, so that it must be rarer than a
#: verdict in error.
BLIND_ERROR = 0.001


class MembershipFinding(BaseModel, abc.ABC):
    """One attack under one threat: what it reached, and what that means.

    ``scores`` is None where the attack was not run (``skipped``) or failed (``failed``); its
    p-values are corrected for the number of tests of the audit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threat: str
    threat_options: dict[str, Any]
    attack: str
    options: dict[str, Any]
    access: str
    skipped: str = ""
    failed: str = ""
    verdict: Verdict
    scores: ScoresRecord | None = None
    controls: list[Control] = []
    queries: int = 0
    seconds: float = 0.0

    @property
    def id(self) -> str:
        """Equal for the same attack with the same options under the same threat."""
        same = [self.threat, self.threat_options, self.attack, self.options]
        return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def where(self) -> str:
        """What is exposed."""
        return "the training set"

    @property
    def strength(self) -> tuple[int, float]:
        """What orders findings with the same outcome: severity, then what makes one worse."""
        return SEVERITIES.index(self.verdict.severity), self.reached if self.scores else 0.0

    @property
    @abc.abstractmethod
    def reached(self) -> float:
        """How much was reached, where there are scores."""


def correct(scores: ScoresRecord, attacks: int) -> ScoresRecord:
    """Return scores with p-values that count ``attacks`` tries (Bonferroni), judged anew.

    ``reach`` is left: the caller measures it at ``ERROR / TESTS / attacks``.
    """

    def raised(p: float) -> float:
        return min(p * attacks, 1.0)

    auc = scores.auc.model_copy(update={"p": raised(scores.auc.p)})
    rates = [
        one.model_copy(
            update={"compared": one.compared.model_copy(update={"p": raised(one.compared.p)})}
        )
        for one in scores.rates
    ]
    opposite = raised(scores.reversed_p)
    return scores.model_copy(
        update={
            "auc": auc,
            "rates": rates,
            "reversed_p": opposite,
            "verdict": judge(auc, rates, scores.controls, opposite),
        }
    )


def void(finding: MembershipFinding, blind: Control | None) -> Verdict | None:
    """Return the verdict where there is nothing to judge, else None.

    Args:
        finding: of any attack.
        blind: whether the two sets differ in nothing but membership; None where nobody could tell.
    """
    if finding.skipped:
        return inconclusive(f"not run: {finding.skipped}")
    if finding.failed or finding.scores is None:
        return inconclusive(f"error: {finding.failed or 'there are no scores'}")
    if blind is not None and not blind.passed:
        return inconclusive(f"the two sets differ in more than membership: {blind.detail}")
    return None


def trusted(found: Verdict, controls: Sequence[Control], needed: str, untried: str) -> Verdict:
    """Return a verdict, but no silence of an attack that nobody knows to be able to speak.

    Args:
        found: by the scores.
        controls: of the attack.
        needed: name of the control that shows that it finds a leak that is there.
        untried: what it was not tried on if that control is missing.
    """
    failed = [one for one in controls if not one.passed]
    missing = not any(one.name == needed for one in controls)
    if found.outcome == "NO EVIDENCE" and (failed or missing):
        why = failed[0].detail if failed else f"it was not tried on {untried}"
        return inconclusive(f"the attack found nothing, but nobody knows whether it can: {why}")
    return found


def overall(findings: Sequence[MembershipFinding]) -> Verdict:
    """Return the verdict of an audit: the worst leak, else what is open, else what is clear."""
    ran = [one for one in findings if not one.skipped]
    leaks = [one for one in ran if one.verdict.outcome == "LEAK"]
    if leaks:
        return max(leaks, key=lambda one: one.strength).verdict
    open_ = [one.verdict for one in ran if one.verdict.outcome == "INCONCLUSIVE"]
    if open_ or not ran:
        return open_[0] if open_ else inconclusive("no attack fits the threat")
    if idle := never_attacked(findings):
        return inconclusive(idle[0])
    return min((one.verdict for one in ran), key=lambda one: one.confidence == "high")


def inconclusive(reason: str) -> Verdict:
    """Return the verdict where it is open what leaks."""
    return Verdict(outcome="INCONCLUSIVE", severity="none", confidence="low", reason=reason)
