"""NoPeek: keep messages from standing to each other as their pictures do."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor

from safelight.catalog import Reference
from safelight.defenses.fit_at_cut import Passing, Penalty, Room, TrainedAtCut


@dataclass(frozen=True, kw_only=True)
class NoPeek(TrainedAtCut):
    """Lower the distance correlation of pictures and messages (Vepakomma et al. 2020).

    Distance correlation is 0 for independent variables alone, but lowering it on batches promises
    nothing: what is left may still be all that a decoder needs.

    Attributes:
        cut: the layer whose output is sent.
        noise: standard deviation of the Gaussian noise on the message in training, in units of
            the message's own deviation; as much as the release will add.
        channels: of a bottleneck put behind the cut, whose output is the message; 0 puts none.
            The threat then cuts at ``<cut>.narrow``.
        stride: of the bottleneck; one as large as the message's grid makes the message a vector
            of ``channels`` numbers.
        weight: of the distance correlation, in [0, 1], beside the cross-entropy.
    """

    reference: ClassVar[Reference] = Reference(
        key="vepakomma2020",
        authors="Vepakomma, Praneeth and Singh, Abhishek and Gupta, Otkrist and Raskar, Ramesh",
        title="NoPeek: Information leakage reduction to share activations in distributed deep "
        "learning",
        year=2020,
        venue="IEEE ICDM Workshops 2020",
        url="https://arxiv.org/abs/2008.09161",
    )

    weight: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 1.0

    def penalty(self, room: Room) -> Penalty:
        """Return the price of a batch: its weighted distance correlation."""

        def price(passing: Passing) -> Tensor:
            return self.weight * distance_correlation(passing.pictures, passing.sent)

        return price


def distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Distance correlation of two samples [n, ...], in [0, 1] (Szekely, Rizzo and Bakirov 2007).

    dCor^2 = dCov^2(x, y) / (dVar(x) dVar(y)) of double-centered Euclidean distances: their roots,
    not their squares, for which it would be 0 for dependent variables too. The sample version is
    biased upward, more so the larger the vectors are beside n. Differentiable where no two rows
    are equal; a sample without any spread correlates with nothing.
    """
    a, b = _centered(x.flatten(1)), _centered(y.flatten(1))
    variances = (a * a).mean() * (b * b).mean()
    squared = (a * b).mean() / variances.sqrt().clamp_min(1e-20)
    # The root of 0 has no gradient; below 1e-6 samples of any size cannot tell from 0.
    return squared.clamp_min(1e-12).sqrt()


def _centered(rows: Tensor) -> Tensor:
    """Return the distances [n, n] of rows [n, d] less the means of their rows and columns."""
    rows = rows - rows.mean(0)
    norms = rows.square().sum(1)
    squared = norms[:, None] + norms - 2 * rows @ rows.T
    # Rounding leaves what should be 0 a little off it, where the root is steepest.
    least = 1e-6 * float(norms.detach().mean()) + 1e-30
    apart = torch.where(squared > least, squared.clamp_min(least).sqrt(), 0)
    return apart - apart.mean(0) - apart.mean(1, keepdim=True) + apart.mean()
