"""Score candidates for training pictures, pool them over seeds, and check the score itself."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.attacks.extraction.attack import Extraction
from safelight.auditing.sheets import sheet
from safelight.data.images import ImageSet
from safelight.errors import DataError
from safelight.metrics import matching, membership
from safelight.metrics.extraction import above, extracted, shuffled_counts
from safelight.metrics.image import ssim
from safelight.metrics.membership_null import p_values, reach, shuffled
from safelight.record.extraction import (
    ERROR,
    FALSE_DISCOVERIES,
    LEGACY_SSIM,
    SHUFFLES,
    TESTS,
    Nearest,
    unrelated_control,
)
from safelight.record.membership import Compared
from safelight.record.record import Control, Measurement
from safelight.record.store import Run
from safelight.record.verdict import LEVEL
from safelight.stats.intervals import clopper_pearson
from safelight.stats.seeds import Seeds
from safelight.threats.released_model import TrainingSecret

Array = NDArray[np.float64]

#: Candidates (the surest) and pictures of each side that enter the literature's rule at most: every
#: pair costs an SSIM, and the rule decides nothing.
LEGACY_CANDIDATES, LEGACY_PICTURES = 200, 100

#: A training set larger than this may have fewer pictures held out beside it. Below 100, one of
#: them above the threshold is more than 1% false discoveries.
FEWEST_OTHERS = 100

#: Pictures that are compared at once with all others.
BLOCK = 1000


@dataclass(frozen=True)
class Scored:
    """One claim, scored: what goes into its cell."""

    members: Nearest
    others: Nearest
    measurements: dict[str, float]
    budgets: list[tuple[int, float]]


def checked(claim: Extraction, shape: tuple[int, int, int]) -> Extraction:
    """Return a claim that is one; anything else is an error of the attack."""
    m = len(claim.images)
    if claim.images.ndim != 4 or tuple(claim.images.shape[1:]) != shape or not m:
        raise ValueError(f"the attack claimed {list(claim.images.shape)}, not [m, *{list(shape)}]")
    if len(claim.labels) != m or len(claim.confidence) != m:
        raise ValueError("the attack claimed another number of labels or confidences than pictures")
    if not bool(((claim.images >= 0) & (claim.images <= 1)).all()):
        raise ValueError("the attack claimed pixels that are no numbers in [0, 1]")
    return claim


def sides(private: ImageSet, holdout: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Return the pictures that are scored: members of the training set, and as many others.

    The whole training set where as many of each class are held out, up to one. Else a random part
    of it: of each class as many as are held out, since a candidate is more easily like a 1 than
    like an 8. Both sets come in a random order, drawn by the plan's ``data.seed``, so that their
    first pictures are a draw.

    Raises:
        DataError: too few are held out, or too few of the same classes.
    """
    wanted = min(len(private), FEWEST_OTHERS)
    if len(holdout) < wanted:
        raise DataError(
            f"{len(private)} training pictures need others from the same source beside them; set "
            f"data.holdout.count to {wanted} or more (it has {len(holdout)})"
        )
    first = holdout.rows(torch.arange(min(len(private), len(holdout))))
    counts = [list(one.class_counts().values()) for one in (private, first)]
    if max(abs(a - b) for a, b in zip(*counts, strict=True)) <= 1 and len(first) == len(private):
        return private, first
    chosen: list[list[Tensor]] = [[], []]
    for label in holdout.labels.unique():
        places = [(one.labels == label).nonzero()[:, 0] for one in (private, holdout)]
        few = min(map(len, places))
        for kept, own in zip(chosen, places, strict=True):
            kept.append(own[:few])
    members, others = (
        one.rows(torch.cat(rows).sort().values)
        for one, rows in zip((private, holdout), chosen, strict=True)
    )
    if len(members) < wanted / 2:
        raise DataError(
            f"of the classes of {len(private)} training pictures only {len(members)} are held out; "
            f"raise data.holdout.count until {wanted} of the same classes are"
        )
    return members, others


def by_chance(members: Tensor, others: Tensor, center: Tensor) -> matching.Matches:
    """Give each of the pictures [n, c, h, w] the one of the others [m, c, h, w] most like it."""
    found = [matching.nearest(likeness_of(one, others, center)) for one in members.split(BLOCK)]
    return matching.Matches(*map(np.concatenate, zip(*found, strict=True)))


def score(claim: Extraction, secret: TrainingSecret, center: Tensor, run: Run) -> Scored:
    """Score the same candidates against the training set and against as many other pictures."""
    sides = (secret.members, secret.others)
    likeness = [likeness_of(one.images, claim.images, center) for one in sides]
    members, others = (
        _nearest(side, claim, alike, run) for side, alike in zip(sides, likeness, strict=True)
    )
    area = membership.auc(np.array(members.likeness), np.array(others.likeness)).value
    sure = claim.confidence.argsort(descending=True)[:LEGACY_CANDIDATES]
    legacy = [
        matching.one_to_one(
            _array(matching.structural(one.images[:LEGACY_PICTURES], claim.images[sure]))
        ).likeness
        for one in sides
    ]
    own = [matching.one_to_one(alike).likeness for alike in likeness]
    return Scored(
        members,
        others,
        {
            "auc": area,
            "coverage": matching.coverage(likeness[0]),
            "coverage of others": matching.coverage(likeness[1]),
            "one to one auc": membership.auc(own[0], own[1]).value,
            "ssim rule": above(legacy[0], LEGACY_SSIM),
            "ssim rule on others": above(legacy[1], LEGACY_SSIM),
        },
        _budgets(likeness),
    )


def likeness_of(pictures: Tensor, candidates: Tensor, center: Tensor) -> Array:
    """Return the likeness that decides, [pictures, candidates]."""
    return _array(matching.correlation(pictures, candidates, center))


def compared(members: Array, others: Array, seeds: int, seed: int = 0) -> tuple[Compared, Compared]:
    """Test whether members are nearer to candidates than others: by AUC, and by number extracted.

    Args:
        members: likeness to the nearest candidate, [n].
        others: the same of pictures never trained on, [n].
        seeds: attacks that the likeness is a mean over.
        seed: of the shuffles.
    """
    root = Seeds(seed)
    found = membership.auc(members, others, LEVEL)
    null = shuffled(members, others, (), SHUFFLES, root.child("auc").integer())
    area = Compared(
        measurement=Measurement(
            value=found.value,
            low=found.low,
            high=found.high,
            level=LEVEL,
            n=len(members),
            seeds=seeds,
            chance=0.5,
            worse="higher",
            unit="share",
        ),
        reach=float(reach(null, ERROR / TESTS)[0]),
        p=float(p_values(np.array([found.value]), null)[0]),
    )
    count = extracted(members, others, FALSE_DISCOVERIES).called
    dealt = shuffled_counts(
        members, others, FALSE_DISCOVERIES, SHUFFLES, root.child("extracted").integer()
    )[:, None].astype(np.float64)
    low, high = clopper_pearson(count, len(members), LEVEL)
    had = Compared(
        measurement=Measurement(
            value=count / len(members),
            low=low,
            high=high,
            level=LEVEL,
            n=len(members),
            seeds=seeds,
            chance=0.0,
            worse="higher",
            unit="share",
        ),
        reach=float(reach(dealt, ERROR / TESTS)[0]) / len(members),
        p=float(p_values(np.array([float(count)]), dealt)[0]),
    )
    return area, had


def unrelated(
    secret: TrainingSecret, public: ImageSet, candidates: int, center: Tensor, seed: int
) -> Control:
    """Take public pictures as candidates: what nobody trained on must be at chance."""
    draw = torch.Generator().manual_seed(Seeds(seed, ("unrelated",)).integer())
    rows = torch.randperm(len(public), generator=draw)[:candidates].to(public.labels.device)
    drawn = public.images[rows]
    sides = [
        likeness_of(one.images, drawn, center).max(1) for one in (secret.members, secret.others)
    ]
    area, had = compared(sides[0], sides[1], 1)
    beyond = (had.measurement.value or 0.0) > had.reach
    count = round((had.measurement.value or 0.0) * had.measurement.n) if beyond else 0
    return unrelated_control(min(area.p, had.p), area.measurement.value or 0.0, count)


def _nearest(side: ImageSet, claim: Extraction, likeness: Array, run: Run) -> Nearest:
    found = matching.nearest(likeness)
    pictures = claim.images[torch.from_numpy(found.candidate).to(claim.images.device)]
    return Nearest(
        likeness=[float(f"{one:.6g}") for one in found.likeness],
        ssim=[float(f"{one:.6g}") for one in ssim(pictures, side.images).tolist()],
        candidate=found.candidate.tolist(),
        artifact=run.keep(sheet(pictures), ".png"),
    )


def _budgets(likeness: list[Array]) -> list[tuple[int, float]]:
    """AUC with the best of 1, 2, 4, ... random candidates, up to all of them."""
    most = likeness[0].shape[1]
    sizes = [2**power for power in range(most.bit_length()) if 2**power < most] + [most]
    return [
        (
            size,
            membership.auc(
                matching.best_of(likeness[0], size), matching.best_of(likeness[1], size)
            ).value,
        )
        for size in sizes
    ]


def _array(values: Tensor) -> Array:
    return values.double().cpu().numpy()
