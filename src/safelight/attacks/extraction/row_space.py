"""Corners of the span: training pictures by linear programming, from the first layer alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn

from safelight.attacks.attack import Count, Positive
from safelight.attacks.extraction.attack import Extraction, ExtractionAttack
from safelight.catalog import Reference
from safelight.metrics.extraction_losses.duals import TOLERANCE, duals, without
from safelight.metrics.extraction_losses.row_space import (
    Span,
    excess,
    first_dense,
    moving,
    span_of,
)
from safelight.stats.seeds import Seeds
from safelight.threats.released_model import ReleasedObservation, ReleaseNeeds

Array = NDArray[np.float64]

#: Of the logarithms, one linear program each.
SOFTENING = (0.5, 0.4, 0.3, 0.2, 0.1)

#: Two corners are the same picture below this distance, relative to that from the mean picture.
SAME = 0.35

#: Corners that were taken for pictures and refuted, after which the weights are not what they
#: should be (a rectifier that leaks, another optimizer) and refuting ends.
MOST_REFUTED = 10

#: Slack of the peeled program over that of the whole.
BLUR = 5.0


@dataclass(frozen=True, kw_only=True)
class RowSpace(ExtractionAttack):
    """Find the pictures in the row space of the first dense layer that lie in the box of pixels.

    Plain gradient descent writes nothing but training pictures into the rows of a first dense
    layer. Pictures have pixels in [0, 1], and many at the ends: training pictures are corners of
    the polytope that the box cuts out of their span, far sharper ones than any other. Corners are
    reached from public pictures by linear programs that minimize sum_p log(x_p + e)(1 - x_p + e).
    What was found is peeled off: units that are off at a picture learned nothing from it, which
    tells the part of the span that belongs to the other pictures, and the search goes on there.

    Works on layers whose initialization is known, or has been forgotten through weight decay or a
    small start; Adam writes something else.

    Attributes:
        directions: public pictures to start from, one candidate each.
        batch: directions between two peelings.
        slack: how far pixels may leave [0, 1] at first; doubled until the polytope is not empty.
    """

    reference: ClassVar[Reference] = Reference(
        key="spielman2012",
        authors="Spielman, Daniel A. and Wang, Huan and Wright, John",
        title="Exact Recovery of Sparsely-Used Dictionaries",
        year=2012,
        venue="COLT 2012",
        url="https://proceedings.mlr.press/v23/spielman12.html",
    )
    needs: ClassVar[ReleaseNeeds] = ReleaseNeeds(weights=True, public=True)
    welcomes: ClassVar[ReleaseNeeds] = ReleaseNeeds(weights=False, initialization=True, count=True)

    directions: Count = 400
    batch: Count = 10
    slack: Positive = 1e-3

    def unfit(self, seen: ReleasedObservation) -> str:
        """Say whether there is a first dense layer."""
        if first_dense(seen.model.network) is None:
            return "the network does not begin with a dense layer"
        return ""

    def run(self, seen: ReleasedObservation, rng: Seeds) -> Extraction:
        """Climb to one corner from each public picture."""
        public = seen.public.images
        initial = None
        name, layer = first_dense(seen.model.network) or ("", None)
        if layer is None:
            raise ValueError(self.unfit(seen))
        state = seen.initialization
        if state is not None:
            initial = state[f"{name}.weight"], state.get(f"{name}.bias")
        most = seen.count or min(layer.weight.shape)
        normalization = seen.model.mean, seen.model.std
        span = span_of(seen.model.network, normalization, seen.image_shape, most, initial)
        program = _Program(span, self.slack)
        draw = torch.Generator().manual_seed(rng.integer())
        order = torch.randperm(len(public), generator=draw)
        pool = _Pool(public[order].flatten(1).double().cpu().numpy())
        bank = _Bank(program, pool, layer, normalization, seen.image_shape)
        corners: list[Array] = []
        part = program
        for place in range(min(self.directions, len(public))):
            if place and not place % self.batch:
                part = bank.peeled()
            corner = reach(part, pool.farthest(), SOFTENING)
            if part is not program:
                corner = reach(program, corner, SOFTENING[-1:] * 2)
            corners.append(corner)
            pool.found(corner)
            bank.offer(corner)
        found = np.stack(corners)
        images = torch.from_numpy(found).float().clamp(0, 1).reshape(-1, *seen.image_shape)
        images = images.to(public.device)
        sharp = torch.from_numpy(excess(span, found, 2 * program.slack)).double()
        with torch.no_grad():
            labels = _predicted(seen, images)
        return Extraction(
            images,
            labels,
            sharp.to(images.device),
            {
                "rank": float(span.rank),
                "gap": span.gap,
                "slack": program.slack,
                "taken for pictures": float(len(bank.pictures)),
                "refuted": float(len(bank.refuted)),
                "median excess": float(sharp.median()),
            },
        )


def reach(program: "_Program", start: Array, softening: Sequence[float]) -> Array:
    """Minimize the concave sum_p log(x_p + e) + log(1 - x_p + e), with e falling, from a picture.

    A concave function lies below its tangents: each linear program goes to a better corner, one
    where more pixels are at an end (Candes, Wakin and Boyd 2008, doi:10.1007/s00041-008-9045-x).
    """
    x = start
    for e in softening:
        inside = x.clip(0, 1)
        corner = program.highest(1 / (1 - inside + e) - 1 / (inside + e))
        done = np.abs(corner - x).max() < program.slack
        x = corner
        if done:
            break
    return x


class _Pool:
    """Public pictures to start from, [n, pixels]: those least like what was found come first."""

    def __init__(self, pictures: Array) -> None:
        self.pictures = pictures
        self.center = pictures.mean(0)
        own = pictures - self.center
        self.axes = own / np.linalg.norm(own, axis=1, keepdims=True).clip(1e-12)
        self.likeness = np.full(len(pictures), -1.0)

    def farthest(self) -> Array:
        """Take the picture whose greatest correlation with those found is least."""
        place = int(self.likeness.argmin())
        self.likeness[place] = np.inf
        return np.asarray(self.pictures[place])

    def found(self, picture: Array) -> None:
        """Remember a corner [pixels], a training picture or not."""
        own = picture - self.center
        likeness = self.axes @ (own / max(np.linalg.norm(own), 1e-12))
        self.likeness = np.maximum(self.likeness, likeness)


class _Bank:
    """Corners that are taken for training pictures, and the span without them."""

    def __init__(
        self,
        program: "_Program",
        pool: _Pool,
        layer: nn.Linear,
        normalization: tuple[Tensor, Tensor],
        shape: tuple[int, int, int],
    ) -> None:
        self.program, self.center, self.shape = program, pool.center, shape
        self.layer, self.normalization = layer, normalization
        self.pictures: list[Array] = []
        self.refuted: list[Array] = []
        # As sharp as all but the bluntest of the attacker's own pictures would be here.
        sharp = np.percentile(excess(program.span, pool.pictures, 2 * program.slack), 1)
        self.least = max(float(sharp), program.span.rank)

    def offer(self, corner: Array) -> None:
        """Take a corner [pixels] in if it is sharp enough and new."""
        if excess(self.program.span, corner[None], 2 * self.program.slack)[0] < self.least:
            return
        near = SAME * np.linalg.norm(corner - self.center)
        if all(np.linalg.norm(corner - one) > near for one in self.pictures + self.refuted):
            self.pictures.append(corner)

    def peeled(self) -> "_Program":
        """Return the program on what belongs to other pictures; on the whole where none is left."""
        trusted = self._trusted()
        if not len(trusted) or len(trusted) >= self.program.span.rank:
            return self.program
        try:
            # The duals are known to a hundredth or so, and the others are in the rest up to that.
            return _Program(without(self.program.span, trusted), BLUR * self.program.slack)
        except ValueError:
            return self.program

    def _trusted(self) -> Array:
        """Return the duals of pictures that the weights confirm, [k, rank]; drop what they refute.

        One picture that is none of the training set spoils the duals of others: the worst goes
        first, and the rest is judged anew.
        """
        span = self.program.span
        while 0 < len(self.pictures) < span.rank:
            known = np.stack(self.pictures)
            found, doubt = duals(span, known, self._signals(known))
            told = np.where(np.isfinite(doubt), doubt, 0.0)
            if told.max() <= TOLERANCE or len(self.refuted) >= MOST_REFUTED:
                return found[doubt <= TOLERANCE]
            self.refuted.append(self.pictures.pop(int(told.argmax())))
        return np.empty((0, span.rank))

    def _signals(self, known: Array) -> Array:
        images = torch.from_numpy(known).to(self.layer.weight).reshape(-1, *self.shape)
        mean, std = self.normalization
        with torch.no_grad():
            signals: Array = self.layer(((images - mean) / std).flatten(1)).double().cpu().numpy()
        return signals


class _Program:
    """max g . x over pictures x of a span with pixels in [-slack, 1 + slack]."""

    def __init__(self, span: Span, slack: float) -> None:
        self.span = span
        self.rows = moving(span)  # a pixel that is black in the whole span bounds nothing
        self.slack = slack
        while self._solve(np.zeros(len(span.offset)), self.slack) is None:
            self.slack *= 2
            if self.slack > 1:
                raise ValueError("no picture of the first layer's row space has pixels in [0, 1]")

    def highest(self, objective: Array) -> Array:
        """Return the corner that is furthest along an objective [pixels]."""
        found = self._solve(objective, self.slack)
        if found is None:
            raise ValueError("the linear program has no solution")
        return found

    def _solve(self, objective: Array, slack: float) -> Array | None:
        span, rows = self.span, self.rows
        limits = [
            LinearConstraint(
                span.basis[rows], -slack - span.offset[rows], 1 + slack - span.offset[rows]
            )
        ]
        if span.affine is not None:
            limits.append(LinearConstraint(span.affine[None], 1.0, 1.0))
        # Without integers it is a linear program, with both limits of a pixel in one row.
        result = milp(-(objective @ span.basis), constraints=limits, bounds=Bounds())
        if result.x is None:
            return None
        return np.asarray(span.offset + span.basis @ result.x)


def _predicted(seen: ReleasedObservation, images: Tensor) -> Tensor:
    """Return the class that the model gives each candidate: it knows its training pictures."""
    logits: Tensor = seen.model(images)
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
