"""Pool the cells of an audit of released weights into findings, and say what was audited."""

from typing import Any

import numpy as np
import torch

from safelight.auditing.extraction_scoring import compared
from safelight.data.images import ImageSet
from safelight.metrics import membership
from safelight.record.extraction import (
    PLANTED,
    ExtractionCell,
    ExtractionFinding,
    inconclusive,
    judge,
)
from safelight.record.record import Measurement, TargetFacts
from safelight.record.verdict import LEVEL
from safelight.stats.intervals import bootstrap_mean, clopper_pearson
from safelight.targets.target import Target
from safelight.threats.released_model import TrainingSecret

_SIDES = ("members", "others")


def describe_released(target: Target, secret: TrainingSecret) -> TargetFacts:
    """Return what the record says of the target; accuracy on the held-out pictures."""
    right = {
        name: _right(target, one)
        for name, one in (("members", secret.members), ("others", secret.others))
    }
    n, hits = len(secret.others), right["others"]
    low, high = clopper_pearson(hits, n, LEVEL)
    accuracy = Measurement(
        value=hits / n,
        low=low,
        high=high,
        level=LEVEL,
        n=n,
        seeds=1,
        chance=1 / len(secret.others.classes),
        worse="lower",
        unit="share",
    )
    return TargetFacts(
        name=target.name,
        parameters=target.parameters(),
        weights_sha256=target.weights_sha256(),
        trained_on=target.trained_on,
        accuracy=accuracy,
        cut_points={},
        facts=target.facts | {"training accuracy": right["members"] / len(secret.members)},
    )


@torch.no_grad()
def _right(target: Target, images: ImageSet) -> int:
    if target.model(images.images[:1]).shape[1] == 1:
        return int(((target.model(images.images)[:, 0] > 0) == (images.labels % 2 == 1)).sum())
    return target.correct(images.images, images.labels)


def judged(
    finding: ExtractionFinding, cells: list[ExtractionCell], whole: int | None = None
) -> ExtractionFinding:
    """Pool the cells of a finding picture by picture, and judge it.

    Args:
        finding: not judged yet.
        cells: of all findings.
        whole: the size of the training set, where a part of it was scored.
    """
    own = [cell for cell in cells if cell.finding == finding.id]
    done = [(one, one.members, one.others) for one in own if one.members and one.others]
    errors = [cell.reason for cell in own if cell.status != "ok"]
    seconds = sum(cell.seconds for cell in own)
    if not done:
        verdict = inconclusive(f"error: {errors[0]}")
        return finding.model_copy(update={"verdict": verdict, "seconds": seconds})
    members = np.array([one.likeness for _, one, _ in done]).mean(0)
    others = np.array([one.likeness for _, _, one in done]).mean(0)
    area, had = compared(members, others, len(done))
    controls = [control for cell, _, _ in done for control in cell.controls]
    controls.sort(key=lambda one: one.name != PLANTED)
    curve = membership.roc(members, others)
    ssims = [np.array([getattr(cell, side).ssim for cell, _, _ in done]).mean(0) for side in _SIDES]
    measurements = {
        f"ssim of {side}": _mean(values, len(done))
        for side, values in zip(_SIDES, ssims, strict=True)
    }
    for name in done[0][0].measurements:
        values = [cell.measurements[name] for cell, _, _ in done]
        measurements[name] = _plain(float(np.mean(values)), len(members), len(done))
    return finding.model_copy(
        update={
            "verdict": judge(area, had, controls, errors, whole),
            "auc": area,
            "extracted": had,
            "measurements": measurements,
            "roc": [(float(x), float(y)) for x, y in zip(curve.fpr, curve.tpr, strict=True)],
            "controls": controls,
            "seconds": seconds,
        }
    )


def _mean(values: "np.ndarray[Any, np.dtype[np.float64]]", seeds: int) -> Measurement:
    low, high = bootstrap_mean(values, LEVEL)
    plain = _plain(float(values.mean()), len(values), seeds)
    return plain.model_copy(update={"low": low, "high": high, "unit": "SSIM"})


def _plain(value: float, n: int, seeds: int) -> Measurement:
    return Measurement(
        value=value,
        low=None,
        high=None,
        level=LEVEL,
        n=n,
        seeds=seeds,
        chance=None,
        worse="higher",
        unit="share",
    )
