"""The span of the training pictures, as the first dense layer gives it away."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """Pictures x = offset + basis c in [0, 1], among them every training picture.

    ``basis``: [pixels, rank]. ``affine``: [rank], with affine . c = 1 for every training picture
    where the layer has a bias; None where it has none. ``gap``: how many times the last singular
    value that counts exceeds the next one. ``rows``: the layer's rows in the span's coordinates,
    [units, rank], where they are known.
    """

    offset: Array
    basis: Array
    affine: Array | None
    gap: float
    rows: Array | None = None

    @property
    def rank(self) -> int:
        """Dimensions of the span."""
        return int(self.basis.shape[1])


def first_dense(network: nn.Module) -> tuple[str, nn.Linear] | None:
    """Return the layer that the flattened picture enters, with its name, or None."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            return name, module
        if not isinstance(module, (nn.Sequential, nn.Flatten, nn.Identity)) and name:
            return None
    return None


def rank_of(values: Tensor, most: int) -> tuple[int, float]:
    """Return how many singular values [k], falling, stand above the rest, and by what factor.

    The factor is the largest between neighbors: what training wrote ends there, and what is left of
    the initialization, or rounding, begins.
    """
    last = min(most, len(values) - 1)
    ratios = values[:last] / values[1 : last + 1].clamp_min(1e-30)
    place = int(ratios.argmax())
    return place + 1, float(ratios[place])


def span_of(
    network: nn.Module,
    normalization: tuple[Tensor, Tensor],
    shape: tuple[int, int, int],
    most: int,
    initial: tuple[Tensor, Tensor | None] | None = None,
) -> Span:
    """Read the span of the training pictures out of the first dense layer.

    The gradient of its weights is sum_i d_i [z_i; 1]' with z_i the normalized picture, whatever
    stands behind the layer, dropout included. Plain gradient descent, with momentum or weight
    decay, therefore leaves [W b] = r [W0 b0] + sum_i c_i [z_i; 1]': its rows lie in the span of the
    pictures once the initialization is known (r is fitted) or has decayed. Batch normalization
    right behind the layer makes sum_i d_i = 0: only differences of pictures are written, and where
    among all pictures those differences lie stays hidden.

    Args:
        network: begins with a dense layer.
        normalization: mean and standard deviation of its input, broadcast over [n, c, h, w].
        shape: (channels, height, width) of the pictures.
        most: dimensions at most; the number of training pictures if it is known.
        initial: weight [out, in] and bias [out] before training, if known.
    """
    found = first_dense(network)
    if found is None:
        raise ValueError("the network does not begin with a dense layer")
    layer = found[1]
    rows = _rows(layer.weight, layer.bias)
    if initial is not None:
        start = _rows(*initial)
        rows = rows - _kept(rows, start) * start
    _, values, axes = torch.linalg.svd(rows, full_matrices=False)
    rank, gap = rank_of(values, most)
    pixels = layer.weight.shape[1]
    mean, std = (one.double().cpu().expand(1, *shape).flatten().numpy() for one in normalization)
    own = (rows @ axes[:rank].T).numpy()
    axes = axes[:rank].T.numpy()
    affine = axes[pixels] if layer.bias is not None else None
    return Span(mean, std[:, None] * axes[:pixels], affine, gap, own)


def _rows(weight: Tensor, bias: Tensor | None) -> Tensor:
    columns = [weight] if bias is None else [weight, bias[:, None]]
    return torch.cat(columns, 1).detach().double().cpu()


def _kept(rows: Tensor, start: Tensor) -> float:
    """How much of the initialization weight decay has left: robust to what training added.

    Training adds few directions, the initialization is in all: rows' components outside the strong
    directions are the initialization's, and give the ratio.
    """
    axes = torch.linalg.svd(rows - start, full_matrices=False)[2]
    quiet = axes[len(axes) // 2 :].T
    kept, whole = rows @ quiet, start @ quiet
    return float((kept * whole).sum() / whole.square().sum())


def moving(span: Span) -> NDArray[np.bool_]:
    """Say which pixels differ within the span, [pixels].

    Those that are black in every training picture are so in the whole span, and tell nothing.
    """
    free = span.basis
    if span.affine is not None:
        along = span.affine / (span.affine @ span.affine)
        free = free - np.outer(free @ along, span.affine)
    length = np.linalg.norm(free, axis=1)
    return np.asarray(length > 1e-2 * length.max())


def excess(span: Span, pictures: Array, tolerance: float) -> NDArray[np.int64]:
    """Count how many more pixels than a corner needs are black or white, for pictures [m, pixels].

    A corner of the polytope {c : 0 <= offset + basis c <= 1, affine . c = 1} has as many pixels at
    an end of the range as it has free dimensions: excess 0. A picture of the world with a black
    background has far more.
    """
    ends = (pictures < tolerance) | (pictures > 1 - tolerance)
    dimensions = span.rank - (span.affine is not None)
    return np.asarray((ends & moving(span)).sum(1) - dimensions, dtype=np.int64)
