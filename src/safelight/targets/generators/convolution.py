"""The convolutions of StyleGAN2: with equalized learning rate, resampled, and modulated.

Where a convolution doubles the size, its kernel is applied as a true convolution, elsewhere as a
cross-correlation: this is how the published weights are stored.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from safelight.targets.generators.activation import GAINS, Activation, activate
from safelight.targets.generators.resampling import BINOMIAL, downsample, separable

EPSILON = 1e-8


class Convolution(nn.Module):
    """``f(weight_gain * W * x + b)`` at twice, half or the same resolution, with a low-pass.

    x [n, in_channels, h, w] -> [n, out_channels, h * up / down, w * up / down].
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        bias: bool = True,
        activation: Activation = "linear",
        up: int = 1,
        down: int = 1,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.up, self.down, self.conv_clamp = up, down, conv_clamp
        self.padding = kernel // 2
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.register_buffer("resample_filter", separable(BINOMIAL))
        self.weight_gain = 1 / math.sqrt(in_channels * kernel**2)
        self.act_gain = GAINS[activation]

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """Return the result, scaled by ``gain``, as are its bounds."""
        weight = self.weight * self.weight_gain
        x = convolved(x, weight, self.resample_filter, self.up, self.down)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return activate(x, self.bias, self.activation, self.act_gain * gain, clamp)


def convolved(x: Tensor, weight: Tensor, fir: Tensor, up: int = 1, down: int = 1) -> Tensor:
    """Convolve x [n, in, h, w] with weight [out, in, k, k], k odd, and change its resolution.

    Only a factor of 2, either up or down, goes with a filter [4, 4].
    """
    half = weight.shape[-1] // 2
    if up > 1:
        # Row m of x reaches rows 2 m to 2 m + 2 half; the filter's center is its second tap.
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=up)
        return downsample(x, fir * up**2, 1, (2 - half,) * 4)
    if down > 1:
        return F.conv2d(downsample(x, fir, 1, (1 + half,) * 4), weight, stride=down)
    return F.conv2d(x, weight, padding=half)


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """Return ``1 / sqrt(sum_{i,k} (s_i w_oik)^2 + epsilon)`` [n, out] for styles [n, in].

    Brings every output channel back to unit variance (Karras et al. 2020a, equation 3).
    """
    energy = weight.square().sum((2, 3))
    return (styles.square() @ energy.t() + EPSILON).rsqrt()
