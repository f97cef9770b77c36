"""Corners of the span: training pictures by linear programming, from the first layer alone."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from safelight.attacks.attack import Count, Positive
from safelight.attacks.extraction.attack import Extraction, ExtractionAttack
from safelight.catalog import Reference
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


@dataclass(frozen=True, kw_only=True)
class RowSpace(ExtractionAttack):
    """Find the pictures in the row space of the first dense layer that lie in the box of pixels.

    Plain gradient descent writes nothing but training pictures into the rows of a first dense
    layer. Pictures have pixels in [0, 1], and many at the ends: training pictures are corners of
    the polytope that the box cuts out of their span, far sharper ones than any other. Corners are
    climbed to from public pictures by linear programs, which maximize sum_p (x_p - level)^2.

    Works on layers whose initialization is known, or has been forgotten through weight decay or a
    small start; Adam writes something else.

    Attributes:
        directions: public pictures to start from, one candidate each.
        rounds: linear programs for each candidate at most.
        level: pixels above it are pushed up, those below it down.
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
    rounds: Count = 4
    level: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.5
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
        corners = []
        for _ in range(min(self.directions, len(public))):
            corners.append(self._climb(program, pool.farthest()))
            pool.found(corners[-1])
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
                "median excess": float(sharp.median()),
            },
        )

    def _climb(self, program: "_Program", start: Array) -> Array:
        """Maximize the convex sum_p (x_p - level)^2: each linear program goes to a better corner.

        Its gradient at x is 2 (x - level), and a convex function lies above its tangents.
        """
        x = start
        for _ in range(self.rounds):
            corner = program.highest(x - self.level)
            if np.abs(corner - x).max() < program.slack:
                break
            x = corner
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
