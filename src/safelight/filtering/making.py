"""Make a filter: check the pictures, calibrate, measure what came of it."""

import importlib.metadata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.errors import DataError, PlanError
from safelight.filtering import calibration, distances
from safelight.filtering.engine import CLASSIFIER, Classifier, measure
from safelight.filtering.index import Index, pictures_sha256
from safelight.filtering.policy import ClassifierFacts, PictureFacts, Policy, Rule

#: Outputs measured together.
_CHUNK = 256

#: Smallest threshold that is divided by.
_LEAST = 1e-12


@dataclass(frozen=True)
class Wish:
    """What a user asks of a filter.

    ``block_rate``, ``held_rate``: the most harmless outputs, as shares, that may be blocked, and
    that may be blocked or sent to review. ``mirrored``: compare mirror images too.
    """

    block_rate: float = 0.001
    held_rate: float = 0.01
    mirrored: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.block_rate <= self.held_rate < 1:
            raise PlanError(
                f"rates of {self.block_rate:g} and {self.held_rate:g} make no filter; give "
                "0 < --block-rate <= --rate < 1, such as 0.001 and 0.01"
            )


def make_policy(
    index: Index,
    reference: Tensor,
    wish: Wish,
    sources: tuple[str, str],
    classifier: tuple[Classifier, ClassifierFacts] | None = None,
) -> Policy:
    """Calibrate thresholds on pictures known not to be protected.

    Args:
        index: the protected pictures.
        reference: [n, channels, height, width] bytes of the index's shape: other pictures, drawn
            like the harmless outputs to come.
        wish: the rates.
        sources: where the protected and the reference pictures come from.
        classifier: its function, and what is known of it.

    Raises:
        DataError: reference pictures are protected ones, or too few.
    """
    reference = _distinct(index, reference)
    own, facts = classifier or (None, None)
    apart = _measured(index, reference.float() / 255, wish, own)
    ranking, choosing, measuring = calibration.deal_parts(len(reference), wish.seed)
    block, held = (
        calibration.thresholds(apart[ranking], apart[choosing], rate)
        for rate in (wish.block_rate, wish.held_rate)
    )
    names = (*distances.NAMES, *((CLASSIFIER,) if classifier else ()))
    rules = calibration.rules(names, block, held)

    def held_copies(made: Tensor) -> NDArray[np.bool_]:
        return _below(_measured(index, made, wish, own), rules, "review")

    blocked, kept = (_below(apart[measuring], rules, kind) for kind in ("block", "review"))
    return Policy(
        safelight=importlib.metadata.version("safelight"),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=wish.seed,
        protected=PictureFacts(source=sources[0], count=len(index), sha256=index.sha256()),
        reference=PictureFacts(
            source=sources[1], count=len(reference), sha256=pictures_sha256(reference)
        ),
        shape=index.shape,
        mirrored=wish.mirrored,
        block_rate=wish.block_rate,
        held_rate=wish.held_rate,
        rules=rules,
        measured=(calibration.share("blocked", blocked), calibration.share("held", kept)),
        planted=tuple(calibration.planted(index.pictures, held_copies, wish.seed)),
        usual=_usual(apart[measuring], rules),
        classifier=facts,
    )


def _distinct(index: Index, reference: Tensor) -> Tensor:
    """Return the reference pictures once each, or raise if one is protected."""
    protected = {one.tobytes() for one in index.pictures.numpy()}
    seen: dict[bytes, int] = {}
    for row, one in enumerate(reference.numpy()):
        seen.setdefault(one.tobytes(), row)
    shared = [row for content, row in seen.items() if content in protected]
    if shared:
        raise DataError(
            f"{len(shared):,} reference pictures are protected ones (the first is picture "
            f"{shared[0]}), which would pull the thresholds to 0; remove them, and near copies "
            "with them: safelight inspect REFERENCE --against PROTECTED"
        )
    # The same picture twice is not two independent ones.
    return reference[torch.tensor(list(seen.values()))]


def _measured(
    index: Index, images: Tensor, wish: Wish, classifier: Classifier | None
) -> NDArray[np.float64]:
    """Return the distances of pictures [n, channels, height, width] in [0, 1], [n, d]."""
    parts = [measure(index, one, wish.mirrored, classifier) for one in images.split(_CHUNK)]
    return np.concatenate([one.distances for one in parts])


def _usual(apart: NDArray[np.float64], rules: tuple[Rule, ...]) -> tuple[float, ...]:
    """Return 101 quantiles of the nearness of harmless pictures."""
    review = np.array([rule.review for rule in rules])
    nearness = (apart / np.maximum(review, _LEAST)).min(1)
    return tuple(float(one) for one in np.quantile(nearness, np.linspace(0, 1, 101)))


def _below(
    apart: NDArray[np.float64], rules: tuple[Rule, ...], kind: Literal["block", "review"]
) -> NDArray[np.bool_]:
    """Say which pictures are below some threshold of a kind, [n]."""
    levels = np.array([rule.block if kind == "block" else rule.review for rule in rules])
    return np.asarray((apart < levels).any(1))
