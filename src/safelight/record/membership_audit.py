"""The record of an audit of membership, and the only place that judges it."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from safelight.record.membership import ERROR, TESTS
from safelight.record.membership_finding import (
    BLIND_ERROR,
    MembershipFinding,
    inconclusive,
    trusted,
    void,
)
from safelight.record.reading import read
from safelight.record.record import (
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


class AttackFinding(MembershipFinding):
    """One attack under one threat: what it reached, and what that means.

    ``exposed`` are positions of the members with the highest scores among ``data.private``, the
    highest first, with ``exposed_scores``. ``within`` says whether the ROC curve keeps to the
    region that the training promises.
    """

    calls: Calls | None = None
    within: Control | None = None
    exposed: list[int] = Field(default_factory=list)
    exposed_scores: list[float] = Field(default_factory=list)

    @property
    def reached(self) -> float:
        """The TPR that is sure at a false alarm rate of 1 % or less, and the AUC."""
        if self.scores is None:
            return 0.0
        caught = [one.compared.measurement.low for one in self.scores.rates if one.fpr <= 0.01]
        return max(low or 0.0 for low in caught) + (self.scores.auc.measurement.value or 0.0)


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
    nothing = void(finding, blind)
    if nothing is not None or finding.scores is None:
        return nothing or inconclusive("there are no scores")
    found = finding.scores.verdict
    if finding.within is not None and not finding.within.passed:
        return Verdict(
            outcome="LEAK",
            severity="high",
            confidence="high",
            reason=f"the training breaks its promise: {finding.within.detail}",
        )
    return trusted(found, finding.controls, LEAKING, "a target that leaks")


def load_membership_record(path: str | Path) -> MembershipRecord:
    """Read the record of an audit of membership, by its folder or its record.json.

    Raises:
        RecordError: there is none, it is cut short, or of another kind or version.
    """
    return read(path, MembershipRecord, SCHEMA_VERSION, "membership")
