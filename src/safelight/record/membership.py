"""What scores of members and non-members say, and the only place that judges them."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from safelight.record.record import Control, Measurement, Severity, Verdict

#: Raised whenever a reader of an older version would misread a newer file.
SCHEMA_VERSION = 1

#: Fewer scores a side and even perfect scores leave an interval too wide to act on: with 20 of 20
#: members caught, the exact 95 % interval starts at 0.83.
FEWEST_SCORES = 20

#: False alarm rates at which members are counted: those the field reports (Carlini et al. 2022).
RATES = (0.001, 0.01, 0.1)

#: What tells the two sets apart: the AUC and the TPR at each rate.
TESTS = 1 + len(RATES)

#: Shuffles of the labels. The p-value of each test must reach ERROR / TESTS = 0.0025, which five
#: of 2,001 do; more shuffles cost time without moving a verdict that is not on the edge.
SHUFFLES = 2000

#: At most this share of audits without a leak end as LEAK, all tests together (Bonferroni).
ERROR = 0.01

#: The planted leak: this share of the members stands above every non-member. A leak of few members
#: is what an average over all hides, so that the AUC alone would not do.
PLANTED_SHARE = 0.05

#: Data sets with the planted leak; with 100, the share that is found is known to 10 points.
PLANTED_DRAWS = 100

#: The planted leak must be found this often (lower limit), or silence counts for nothing.
PLANTED_FOUND = 0.8

#: Non-members behind a TPR at a false alarm rate, times that rate: with fewer than ten false alarms
#: the threshold's own rate is known only to a factor of two.
FEWEST_ALARMS = 10

#: At one false alarm in a hundred: half of the members caught is nearly everybody's privacy, a
#: tenth is ten times chance. (Both are lower limits.)
MANY_CAUGHT, SOME_CAUGHT = 0.5, 0.1

PLANTED = "planted leak"

Kind = Literal["loss", "probability", "score"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScoreFile(_Frozen):
    """One of the two sets: which file, which column, how many scores."""

    file: str
    column: str
    count: int
    sha256: str


class Compared(_Frozen):
    """A measurement beside its null.

    ``reach`` is the largest value that shuffled labels reach without counting as a leak, ``p`` the
    share of shuffles at or above the measurement, itself counted in.
    """

    measurement: Measurement
    reach: float
    p: float


class Rate(_Frozen):
    """What an attacker catches at a false alarm rate.

    ``compared`` has the exact interval at this very threshold, which was chosen on the
    non-members so that at most ``false_alarms`` of them lie at or above it; ``curve_low`` and
    ``curve_high`` bound the true ROC curve at ``fpr``, whatever the threshold's own rate.
    ``threshold`` is None where no score is high enough. ``precision`` is the share of right calls
    at the record's prior.
    """

    fpr: float
    false_alarms: int
    threshold: float | None
    compared: Compared
    curve_low: float
    curve_high: float
    precision: float


class ScoresRecord(_Frozen):
    """Everything found in one pair of score files. The field order is the file's order.

    ``reversed_p`` is the smallest p-value of the same tests on the scores upside down; ``roc``
    holds corners of the ROC curve as (FPR, TPR), thinned to what a page can show.
    """

    schema_version: int = SCHEMA_VERSION
    verdict: Verdict
    kind: Kind
    members: ScoreFile
    nonmembers: ScoreFile
    prior: float
    auc: Compared
    reversed_p: float
    advantage: Measurement
    rates: list[Rate]
    controls: list[Control]
    shuffles: int
    roc: list[tuple[float, float]]
    safelight: str
    started: str


def judge(
    auc: Compared, rates: Sequence[Rate], controls: Sequence[Control], reversed_p: float
) -> Verdict:
    """Judge two sets of scores.

    Args:
        auc: the area under the ROC curve.
        rates: members caught at each false alarm rate.
        controls: the planted leak among them.
        reversed_p: smallest p-value of the same tests on the scores upside down.
    """
    leaks = [one for one in (auc, *(rate.compared for rate in rates)) if leaking(one)]
    failed = [control for control in controls if not control.passed]
    if leaks:
        sure = not failed and all(fine(rate) for rate in rates if rate.fpr >= 0.01)
        return Verdict(
            outcome="LEAK",
            severity=_severity(rates),
            confidence="high" if sure else "medium",
            reason=_told(auc, rates),
        )
    if reversed_p <= ERROR / TESTS:
        return _inconclusive(
            "members stand out by low scores instead of high ones: the files are swapped, the "
            "scores mean the opposite, or the two sets differ in more than membership"
        )
    if not any(control.name == PLANTED for control in controls):
        return _inconclusive("no leak was planted to see whether it would be found")
    if failed:
        return _inconclusive(f"there are too few scores: {failed[0].detail}")
    return Verdict(
        outcome="NO EVIDENCE",
        severity="none",
        confidence="high" if all(fine(rate) for rate in rates) else "medium",
        reason=f"with these scores members cannot be told from non-members "
        f"(AUC {auc.measurement.value:.3f}, at most {auc.measurement.high:.3f}; chance 0.5), and a "
        "planted leak is found",
    )


def planted_control(found: int, low: float) -> Control:
    """Judge the tests on a leak that is there.

    Args:
        found: of ``PLANTED_DRAWS`` data sets with the planted leak, those in which it was found.
        low: lower limit of that share.
    """
    return Control(
        name=PLANTED,
        question="Do these tests find a leak that is there, with this many scores?",
        passed=low > PLANTED_FOUND,
        detail=f"with {_percent(PLANTED_SHARE)} of the members planted above every non-member, "
        f"the leak was found in {found} of {PLANTED_DRAWS} data sets of this size",
    )


def leaking(compared: Compared) -> bool:
    """Whether one test alone makes the verdict LEAK."""
    return compared.p <= ERROR / TESTS


def fine(rate: Rate) -> bool:
    """Whether enough non-members stand behind a rate to take it at its word."""
    return rate.false_alarms >= FEWEST_ALARMS


def _severity(rates: Sequence[Rate]) -> Severity:
    caught = max(rate.compared.measurement.low or 0.0 for rate in rates if rate.fpr <= 0.01)
    if caught > MANY_CAUGHT:
        return "high"
    return "medium" if caught > SOME_CAUGHT else "low"


def _told(auc: Compared, rates: Sequence[Rate]) -> str:
    """Tell the rate that stands furthest above chance of those that are leaks, else the AUC."""
    leaks = [rate for rate in rates if leaking(rate.compared)]
    if not leaks:
        return (
            f"a member scores higher than a non-member in {_percent(auc.measurement.value or 0)} "
            f"of pairs; shuffled labels reach {_percent(auc.reach)}"
        )
    worst = max(leaks, key=lambda rate: (rate.compared.measurement.value or 0.0) / rate.fpr)
    caught = _percent(worst.compared.measurement.value or 0.0)
    return (
        f"{caught} of the members are caught at a false alarm rate of {_percent(worst.fpr)}; "
        f"shuffled labels reach {_percent(worst.compared.reach)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _inconclusive(reason: str) -> Verdict:
    return Verdict(outcome="INCONCLUSIVE", severity="none", confidence="low", reason=reason)
