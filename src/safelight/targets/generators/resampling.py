"""Low-pass filtering with a change of the sampling rate, by torch's own convolutions.

A filter is a matrix [k, k], or a vector [k] that is applied to rows and columns in turn. Padding is
(left, right, top, bottom) in samples of the higher rate; a negative one crops. Both functions
compute a true convolution: upsampling puts ``factor - 1`` zeros behind every sample before it,
downsampling keeps every ``factor``-th sample after it.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

#: The binomial filter of StyleGAN2 (Zhang 2019), which all its layers share.
BINOMIAL = (1.0, 3.0, 3.0, 1.0)


def separable(taps: Sequence[float]) -> Tensor:
    """Return the filter [k, k] that is the outer product of the taps, its sum being 1."""
    row = torch.tensor(taps)
    matrix = row.outer(row)
    return matrix / matrix.sum()


def upsample(x: Tensor, fir: Tensor, factor: int, padding: Sequence[int]) -> Tensor:
    """Return x [n, c, h, w] at ``factor`` times its rate, its mean level kept.

    Columns come out ``h * factor + top + bottom - k + 1`` long, rows likewise.
    """
    for kernel, step in _passes(fir * factor**fir.ndim, factor):
        x = _each_channel(F.conv_transpose2d, x, kernel, step)
    # A transposed convolution begins k - 1 samples before the first whole window, and ends before
    # the zeros behind the last sample.
    before, after = fir.shape[0] - 1, fir.shape[0] - factor
    left, right, top, bottom = padding
    return F.pad(x, (left - before, right - after, top - before, bottom - after))


def downsample(x: Tensor, fir: Tensor, factor: int, padding: Sequence[int]) -> Tensor:
    """Return x [n, c, h, w] at the ``factor``-th part of its rate, low-passed.

    Columns come out ``(h + top + bottom - k) // factor + 1`` long, rows likewise.
    """
    x = F.pad(x, tuple(padding))
    for kernel, step in _passes(fir, factor):
        x = _each_channel(F.conv2d, x, kernel.flip((0, 1)), step)
    return x


def _passes(fir: Tensor, factor: int) -> list[tuple[Tensor, tuple[int, int]]]:
    """Return the kernels [rows, columns] to apply in turn, each with its steps."""
    if fir.ndim == 2:
        return [(fir, (factor, factor))]
    return [(fir[None, :], (1, factor)), (fir[:, None], (factor, 1))]


def _each_channel(
    convolve: Callable[..., Tensor], x: Tensor, kernel: Tensor, step: tuple[int, int]
) -> Tensor:
    channels = x.shape[1]
    return convolve(x, kernel.expand(channels, 1, -1, -1), stride=step, groups=channels)
