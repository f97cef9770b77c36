"""What candidates show of a training set, and the only place that judges it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from safelight.record.membership import Compared
from safelight.record.reading import read
from safelight.record.record import (
    SEVERITIES,
    Component,
    Control,
    Measurement,
    Provenance,
    Role,
    Severity,
    TargetFacts,
    Verdict,
)

#: Raised whenever a reader of an older version would misread a newer file.
SCHEMA_VERSION = 1

#: Fewer members than this and even a perfect attack leaves an interval too wide to act on: with 20
#: of 20 pairs ranked right, the 95 % interval of the AUC starts at 0.84.
FEWEST_MEMBERS = 20

#: Share of false discoveries among the pictures called extracted.
FALSE_DISCOVERIES = 0.01

#: At most this share of audits without a leak end as LEAK, both tests together (Bonferroni).
ERROR = 0.01

#: What tells members from others: the AUC, and the number extracted.
TESTS = 2

#: Shuffles of membership. Each p-value must reach ERROR / TESTS = 0.005, which ten of 2,001 do.
SHUFFLES = 2000

#: Every second training picture had: the training set is as good as published. One in ten: anyone
#: in it must expect to be seen. (Both are lower limits.)
MOST, SOME = 0.5, 0.1

#: SSIM above which the literature counts a picture as reconstructed, whatever it was matched with.
LEGACY_SSIM = 0.4

#: Names of sets of pictures: the training set, and the part of it that is scored if not all is.
TRAINING, SCORED = "training set", "scored"

PLANTED = "planted training set"
UNRELATED = "unrelated candidates"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Nearest(_Frozen):
    """For one set of pictures, the candidate nearest to each, in the order of the set.

    ``likeness`` is the correlation with it, ``ssim`` its SSIM, ``candidate`` its number among the
    claim's, ``artifact`` a sheet of these candidates.
    """

    likeness: list[float]
    ssim: list[float]
    candidate: list[int]
    artifact: str


class ExtractionCell(_Frozen):
    """One threat x attack x seed: the unit of work, and of resuming."""

    id: str
    finding: str
    seed: int
    status: Literal["ok", "error"]
    reason: str = ""
    candidates: int = 0
    members: Nearest | None = None
    others: Nearest | None = None
    measurements: dict[str, float] = Field(default_factory=dict)
    budgets: list[tuple[int, float]] = Field(default_factory=list)
    provenance: dict[str, float] = Field(default_factory=dict)
    controls: list[Control] = Field(default_factory=list)
    seconds: float = 0.0


class Searched(_Frozen):
    """How options of an attack were chosen: by its AUC on shadow models, never on the audited one.

    ``shadows`` models were made to learn public pictures by heart. ``importance`` is the share of
    each option in what made trials differ; it adds up to 1, and is empty below three trials.
    """

    ranges: dict[str, tuple[float, float]]
    trials: int
    shadows: int
    auc: float
    importance: dict[str, float]


class ExtractionFinding(_Frozen):
    """The cells that differ only in their seed, pooled over seeds picture by picture, and judged.

    ``measurements`` holds what does not decide: coverage, SSIM, the literature's rule on members
    and on others. ``roc`` holds the corners of the curve as (others called, members called).
    ``searched`` tells how options were chosen, where they were not written in the plan.
    """

    id: str
    threat: str
    threat_options: dict[str, Any]
    attack: str
    attack_options: dict[str, Any]
    access: str
    skipped: str = ""
    searched: Searched | None = None
    verdict: Verdict
    auc: Compared | None = None
    extracted: Compared | None = None
    measurements: dict[str, Measurement] = Field(default_factory=dict)
    roc: list[tuple[float, float]] = Field(default_factory=list)
    controls: list[Control] = Field(default_factory=list)
    seconds: float = 0.0

    @property
    def where(self) -> str:
        """What is exposed."""
        return "the weights"


class ExtractionRecord(_Frozen):
    """Everything one audit of released weights found. The field order is the file's order.

    Members are the training pictures that were scored: all, or a part drawn at random, in which
    case ``roles`` holds both the training set and what was scored.

    ``image_shape`` is (channels, height, width); artifacts are PNG sheets of all pictures of a
    set, in order, ``sheet_columns`` a row, addressed by the sha256 of the file. ``nearest_others``
    names for each member the held-out picture most like it, with their correlation: what chance
    resemblance looks like.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["extraction"] = "extraction"
    status: Literal["running", "complete"]
    name: str
    verdict: Verdict | None
    target: TargetFacts
    roles: list[Role]
    classes: list[str]
    image_shape: list[int]
    member_labels: list[int]
    members_artifact: str
    others_artifact: str
    nearest_others: list[int]
    nearest_others_likeness: list[float]
    sheet_columns: int
    findings: list[ExtractionFinding]
    cells: list[ExtractionCell]
    components: list[Component]
    shuffles: int
    plan: dict[str, Any]
    provenance: Provenance
    seconds: float

    @property
    def trained_on(self) -> int:
        """How many pictures the training set holds; as many as are scored, or more."""
        counts = [role.count for role in self.roles if role.name == TRAINING]
        return max([*counts, len(self.member_labels)])


class TargetRow(_Frozen):
    """One attack on one target of a reproduction; ``setting`` is the data and the training size."""

    setting: str
    architecture: str
    attack: str
    finding: ExtractionFinding
    accuracy: Measurement | None


class ClaimRow(_Frozen):
    """One published claim on one setting: the member AUC of its two sides, the difference paired.

    The interval, at 95%, is over pictures.
    """

    setting: str
    said: str
    difference: float
    low: float
    high: float

    @property
    def outcome(self) -> Literal["confirmed", "refuted", "open"]:
        """Whether the interval lies on one side of 0."""
        if self.low > 0:
            return "confirmed"
        return "refuted" if self.high < 0 else "open"


def judge(
    auc: Compared,
    extracted: Compared,
    controls: Sequence[Control],
    errors: Sequence[str] = (),
    whole: int | None = None,
) -> Verdict:
    """Judge one attack on one model.

    Args:
        auc: how often a member is nearer to a candidate than another picture is.
        extracted: share of the members extracted at ``FALSE_DISCOVERIES``.
        controls: the planted training set and the unrelated candidates among them.
        errors: of cells that failed.
        whole: the size of the training set, where a random part of it was scored.
    """
    if errors:
        return inconclusive(f"error: {errors[0]}")
    failed = [control for control in controls if not control.passed]
    for control in failed:
        if control.name == UNRELATED:
            return inconclusive(f"the score cannot be trusted: {control.detail}")
    if auc.measurement.n < FEWEST_MEMBERS:
        return inconclusive(
            f"{auc.measurement.n} training pictures are too few to judge; audit {FEWEST_MEMBERS}"
        )
    if leaking(auc) or leaking(extracted):
        return Verdict(
            outcome="LEAK",
            severity=_severity(extracted),
            confidence=_confidence(auc, controls),
            reason=_told(auc, extracted, whole),
        )
    if not any(control.name == PLANTED for control in controls):
        return inconclusive("the attack was not tried on a planted training set")
    if failed:
        return inconclusive(
            f"the attack found nothing, but failed where a leak was planted: {failed[0].detail}"
        )
    return Verdict(
        outcome="NO EVIDENCE",
        severity="none",
        confidence=_confidence(auc, controls),
        reason=_told(auc, extracted, whole) + "; the same attack extracts a planted training set",
    )


def leaking(tested: Compared) -> bool:
    """Whether one test alone makes the verdict LEAK."""
    return tested.p <= ERROR / TESTS


def overall(findings: Sequence[ExtractionFinding]) -> Verdict:
    """Return the verdict on the model: its worst finding, or what keeps it open."""
    ran = [one for one in findings if not one.skipped]
    if not ran:
        return inconclusive("no attack fits the threat and this model")
    order = {"LEAK": 2, "INCONCLUSIVE": 1, "NO EVIDENCE": 0}
    return max(
        ran,
        key=lambda one: (order[one.verdict.outcome], SEVERITIES.index(one.verdict.severity)),
    ).verdict


def planted_control(auc: Compared, extracted: Compared) -> Control:
    """Judge the attack on a model that was made to leak, by the tests that judge everything."""
    members = auc.measurement.n
    count = round((extracted.measurement.value or 0.0) * members)
    return Control(
        name=PLANTED,
        question="Does this attack find a training set that is there?",
        passed=leaking(auc) or leaking(extracted),
        detail=f"on a small model that was made to learn {members} public pictures by heart, "
        f"the AUC is {auc.measurement.value or 0.0:.2f} and {count} are extracted",
    )


def unrelated_control(p: float, auc: float, count: int) -> Control:
    """Judge the score itself: public pictures that nobody trained on, taken as candidates.

    Args:
        p: the smaller p-value of the two tests.
        auc: the AUC with these candidates.
        count: pictures called extracted beyond what shuffles reach.
    """
    return Control(
        name=UNRELATED,
        question="Does the score find a leak where there can be none?",
        # Judged by itself a false alarm in 1,000 audits: it voids the whole finding.
        passed=p > 0.001,
        detail=f"with unrelated public pictures as candidates the AUC is {auc:.2f} and {count} "
        "training pictures are called extracted",
    )


def inconclusive(reason: str) -> Verdict:
    """Return the verdict that neither clears nor blames."""
    return Verdict(outcome="INCONCLUSIVE", severity="none", confidence="low", reason=reason)


def load_extraction(path: str | Path) -> ExtractionRecord:
    """Read the record of an audit of released weights, by its folder or its record.json.

    Raises:
        RecordError: there is none, it is cut short, or of another kind or version.
    """
    return read(path, ExtractionRecord, SCHEMA_VERSION, "extraction")


def _severity(extracted: Compared) -> Severity:
    share = extracted.measurement.low or 0.0
    if not leaking(extracted):
        return "low"  # members can be told from others, but nobody's picture is had
    if share > MOST:
        return "critical"
    return "high" if share > SOME else "medium"


def _confidence(auc: Compared, controls: Sequence[Control]) -> Literal["low", "medium", "high"]:
    """High needs every control passed, 100 members and 3 seeds; low is a failed control."""
    if not all(control.passed for control in controls):
        return "low"
    return "high" if auc.measurement.n >= 100 and auc.measurement.seeds >= 3 else "medium"


def _told(auc: Compared, extracted: Compared, whole: int | None) -> str:
    share = extracted.measurement
    count = round((share.value or 0.0) * share.n)
    pictures = f"{share.n} training pictures"
    if whole is not None and whole > share.n:
        pictures = f"{share.n:,} training pictures that were scored, of {whole:,},"
    return (
        f"{count:,} of {pictures} are extracted at "
        f"{100 * FALSE_DISCOVERIES:g}% false discoveries (shuffled membership reaches "
        f"{round(extracted.reach * share.n)}), and a training picture is nearer to a candidate "
        f"than another picture is in {100 * (auc.measurement.value or 0.0):.0f}% of pairs"
    )
