"""The record of an audit of membership, and the only place that judges it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from safelight.record.membership import ERROR, TESTS, ScoresRecord, judge
from safelight.record.reading import read
from safelight.record.record import (
    SEVERITIES,
    Component,
    Control,
    Measurement,
    Provenance,
    Role,
    TargetFacts,
    Verdict,
)

#: Raised whenever a reader of an older version would misread a newer record.
SCHEMA_VERSION = 1

#: The controls, by name, beside the planted leak in the scores.
LEAKING = "a target that leaks"
BLIND = "models that never saw them"

#: The two sets are taken to differ in more than membership if models that saw neither tell them
#: apart this surely. It makes a verdict void, so that it must be rarer than a verdict in error.
BLIND_ERROR = 0.001

#: Most exposed members that the record lists.
EXPOSED = 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Privacy(_Frozen):
    """What the target's training promises, if it was differentially private.

    ``region`` holds points (FPR, TPR) of the curve that no attack lies above; ``gaussian`` those of
    a Gaussian mechanism that just keeps the same (epsilon, delta): for scale, no promise.
    """

    epsilon: float
    delta: float
    sampling: str
    accountant: str
    neighbors: str
    region: list[tuple[float, float]]
    gaussian: list[tuple[float, float]]
    mu: float


class Calls(_Frozen):
    """What the attack calls members at a threshold that was not fitted on the target's members."""

    threshold: float
    accuracy: Measurement
    precision: Measurement
    recall: Measurement
    fpr: Measurement


class AttackFinding(_Frozen):
    """One attack under one threat: what it reached, and what that means.

    ``scores`` is None where the attack was not run (``skipped``) or failed (``failed``); its
    p-values are corrected for the number of attacks. ``exposed`` are positions of the members with
    the highest scores among ``data.private``, the highest first, with ``exposed_scores``.
    ``within`` says whether the ROC curve keeps to the region that the training promises.
    """

    threat: str
    threat_options: dict[str, Any]
    attack: str
    options: dict[str, Any]
    access: str
    skipped: str = ""
    failed: str = ""
    verdict: Verdict
    scores: ScoresRecord | None = None
    calls: Calls | None = None
    controls: list[Control] = []
    within: Control | None = None
    exposed: list[int] = []
    exposed_scores: list[float] = []
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


class MembershipRecord(_Frozen):
    """Everything one audit of membership found. The field order is the file's order.

    ``exposed_artifact`` is a PNG sheet of the members that ``findings`` list, ``exposed_members``
    their positions in ``data.private``, in the sheet's order, ``sheet_columns`` a row.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["membership"] = "membership"
    status: Literal["running", "complete"]
    name: str
    verdict: Verdict | None
    target: TargetFacts
    train_accuracy: Measurement
    test_accuracy: Measurement
    privacy: Privacy | None
    roles: list[Role]
    classes: list[str]
    controls: list[Control]
    findings: list[AttackFinding]
    exposed_members: list[int]
    exposed_labels: list[int]
    exposed_artifact: str
    picture_shape: list[int]
    sheet_columns: int
    components: list[Component]
    plan: dict[str, Any]
    provenance: Provenance
    seconds: float

    def measurements_sha256(self) -> str:
        """Hash of what was measured: equal for the same plan and seeds, whatever the clock."""
        found = [
            [
                one.threat_options,
                one.attack,
                one.options,
                one.verdict.outcome,
                one.scores and one.scores.roc,
            ]
            for one in self.findings
        ]
        return hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()


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


def leaking_control(p: float, auc: float) -> Control:
    """Judge the attack on models that answer their members with raised confidence.

    Args:
        p: smallest p-value of the tests there.
        auc: area under the ROC curve there.
    """
    return Control(
        name=LEAKING,
        question="Does this attack find a leak that is there?",
        passed=p <= ERROR / TESTS,
        detail="where every model was made to answer the members of a random half with more "
        f"confidence, the attack ranked {100 * auc:.3g}% of pairs right (p = {p:.2g})",
    )


def blind_control(p: float, auc: float, models: int) -> Control:
    """Judge the two sets by models that saw neither: they must not tell them apart.

    Args:
        p: smallest p-value of the tests, either way round.
        auc: area under the ROC curve of the models' mean confidence.
        models: how many shadows there are.
    """
    return Control(
        name=BLIND,
        question="Do members and others differ in nothing but membership?",
        passed=p > BLIND_ERROR,
        detail=f"by the confidence of those of {models} shadow models that never saw a picture, "
        f"members rank higher in {100 * auc:.3g}% of pairs (chance 50%, p = {p:.2g})",
    )


def region_control(fpr: float, low: float, limit: float) -> Control:
    """Judge an attack by what the training promises: nobody may be above that.

    Args:
        fpr: false alarm rate at which the attack comes nearest to the limit.
        low: lower limit of the true ROC curve there.
        limit: the promise there.
    """
    return Control(
        name="the promise",
        question="Does the attack keep to what the training promises?",
        passed=low <= limit,
        detail=f"at a false alarm rate of {100 * fpr:g}% the attack catches at least "
        f"{100 * low:.3g}% of members, and the promise allows {100 * limit:.3g}%",
    )


def judge_attack(finding: AttackFinding, blind: Control | None) -> Verdict:
    """Judge one attack.

    Args:
        finding: with scores, controls and whether it keeps to the promise.
        blind: whether the two sets differ in nothing but membership; None where nobody could tell.
    """
    if finding.skipped:
        return _inconclusive(f"not run: {finding.skipped}")
    if finding.failed or finding.scores is None:
        return _inconclusive(f"error: {finding.failed or 'there are no scores'}")
    if blind is not None and not blind.passed:
        return _inconclusive(f"the two sets differ in more than membership: {blind.detail}")
    found = finding.scores.verdict
    if finding.within is not None and not finding.within.passed:
        return Verdict(
            outcome="LEAK",
            severity="high",
            confidence="high",
            reason=f"the training breaks its promise: {finding.within.detail}",
        )
    failed = [one for one in finding.controls if not one.passed]
    missing = not any(one.name == LEAKING for one in finding.controls)
    if found.outcome == "NO EVIDENCE" and (failed or missing):
        why = failed[0].detail if failed else "it was not tried on a target that leaks"
        return _inconclusive(f"the attack found nothing, but nobody knows whether it can: {why}")
    return found


def overall(findings: Sequence[AttackFinding]) -> Verdict:
    """Return the verdict on the target: the worst leak, else what is open, else what is clear."""
    ran = [one for one in findings if not one.skipped]
    leaks = [one for one in ran if one.verdict.outcome == "LEAK"]
    if leaks:
        return max(leaks, key=strength).verdict
    failed = [one.verdict for one in ran if one.failed or one.verdict.outcome == "INCONCLUSIVE"]
    if failed or not ran:
        return failed[0] if failed else _inconclusive("no attack fits the threat")
    return min((one.verdict for one in ran), key=lambda one: one.confidence == "high")


def strength(finding: AttackFinding) -> tuple[int, float]:
    """Return what orders findings with the same outcome: severity, then how much is caught.

    That is by the highest lower limit of the TPR at a false alarm rate of 1 % or less, and by the
    AUC where nothing is caught.
    """
    severity = SEVERITIES.index(finding.verdict.severity)
    if finding.scores is None:
        return severity, 0.0
    caught = max(
        one.compared.measurement.low or 0.0 for one in finding.scores.rates if one.fpr <= 0.01
    )
    return severity, caught + (finding.scores.auc.measurement.value or 0.0)


def load_membership_record(path: str | Path) -> MembershipRecord:
    """Read the record of an audit of membership, by its folder or its record.json.

    Raises:
        RecordError: there is none, it is cut short, or of another kind or version.
    """
    return read(path, MembershipRecord, SCHEMA_VERSION, "membership")


def _inconclusive(reason: str) -> Verdict:
    return Verdict(outcome="INCONCLUSIVE", severity="none", confidence="low", reason=reason)
