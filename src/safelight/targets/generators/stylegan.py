"""StyleGAN (Karras et al. 2019): styles enter by adaptive instance normalization."""

import math
from collections.abc import Mapping as Dictionary

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from safelight.targets.generators.activation import SLOPE
from safelight.targets.generators.dense import Dense
from safelight.targets.generators.generator import Generator, Synthesis, widths
from safelight.targets.generators.mapping import Mapping
from safelight.targets.generators.noise import Noise, NoiseMode
from safelight.targets.generators.resampling import downsample, separable

EPSILON = 1e-8
#: The filter after each upsampling, section 2.
BLUR = (1.0, 2.0, 1.0)


class SmoothConvolution(nn.Module):
    """A convolution with equalized learning rate, before which ``up`` doubles the resolution.

    x [n, in_channels, h, w] -> [n, out_channels, h, w], or of twice the height and width.
    """

    def __init__(self, in_channels: int, out_channels: int, *, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.weight_gain = math.sqrt(2 / (in_channels * 3**2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = F.conv2d(x, self.weight * self.weight_gain, padding=1)
        return downsample(x, separable(BLUR).to(x), 1, (1, 1, 1, 1)) if self.up else x


class Epilogue(nn.Module):
    """What follows every convolution: noise, bias, nonlinearity, normalization, style.

    x [n, channels, h, w], w [n, w_dim] -> x of the same shape. Figure 1b and equation 1:
    ``AdaIN(x_i, y) = y_s,i (x_i - mean(x_i)) / std(x_i) + y_b,i``.
    """

    noise_const: Tensor

    def __init__(self, channels: int, w_dim: int, resolution: int) -> None:
        super().__init__()
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.noise_strength = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = Dense(w_dim, 2 * channels)

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        """Return the styled features."""
        image = noise.image(self.noise_const, len(x))
        if image is not None:
            x = x + image * self.noise_strength[:, None, None]
        x = F.leaky_relu(x + self.bias[:, None, None], SLOPE)
        x = x - x.mean((2, 3), keepdim=True)
        x = x * (x.square().mean((2, 3), keepdim=True) + EPSILON).rsqrt()
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, 1)
        styled: Tensor = x * (scale + 1) + shift
        return styled


class Block(nn.Module):
    """Two convolutions at one resolution; the first block has a learned constant for its first."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, resolution: int) -> None:
        super().__init__()
        if in_channels:
            self.conv0 = SmoothConvolution(in_channels, out_channels, up=True)
        else:
            self.const = nn.Parameter(torch.ones(out_channels, resolution, resolution))
        self.epilogue0 = Epilogue(out_channels, w_dim, resolution)
        self.conv1 = SmoothConvolution(out_channels, out_channels)
        self.epilogue1 = Epilogue(out_channels, w_dim, resolution)

    def forward(self, x: Tensor | None, ws: Tensor, noise: Noise) -> Tensor:
        """Return the features, given w of both layers: ws [n, 2, w_dim]."""
        x = self.const.expand(len(ws), -1, -1, -1) if x is None else self.conv0(x)
        x = self.epilogue0(x, ws[:, 0], noise)
        out: Tensor = self.epilogue1(self.conv1(x), ws[:, 1], noise)
        return out


class ImageConvolution(nn.Module):
    """The 1 x 1 convolution from features [n, in_channels, h, w] to the image."""

    def __init__(self, in_channels: int, img_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image."""
        return F.conv2d(x, self.weight * self.weight_gain, self.bias)


class StyleGANSynthesis(Synthesis):
    """ws [n, num_ws, w_dim] -> images [n, img_channels, resolution, resolution].

    ``channels`` gives the width at each resolution: 4, 8, ... up to the image's. This is the
    network as it is after growing: all resolutions are in use.
    """

    def __init__(self, w_dim: int, channels: Dictionary[int, int], img_channels: int) -> None:
        resolution = max(channels)
        super().__init__(w_dim, 2 * len(channels), resolution, img_channels)
        self.block_resolutions = sorted(channels)
        for size in self.block_resolutions:
            block = Block(channels.get(size // 2, 0), channels[size], w_dim, size)
            self.add_module(f"b{size}", block)
        self.torgb = ImageConvolution(channels[resolution], img_channels)

    def forward(
        self, ws: Tensor, noise_mode: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Tensor:
        """Return the images. ``rng`` draws the noise of mode "random"."""
        noise = Noise(noise_mode, rng)
        x: Tensor | None = None
        for index, size in enumerate(self.block_resolutions):
            x = self.get_submodule(f"b{size}")(x, ws[:, 2 * index :], noise)
        images: Tensor = self.torgb(x)
        return images


def stylegan(
    resolution: int,
    *,
    z_dim: int = 512,
    c_dim: int = 0,
    w_dim: int = 512,
    img_channels: int = 3,
    channel_base: int = 16384,
    channel_max: int = 512,
    mapping_layers: int = 8,
) -> Generator:
    """Return an untrained StyleGAN with the paper's defaults; ``resolution`` is a power of 2."""
    channels = widths(resolution, channel_base, channel_max)
    synthesis = StyleGANSynthesis(w_dim, channels, img_channels)
    mapping = Mapping(z_dim, c_dim, w_dim, synthesis.num_ws, mapping_layers, w_avg_beta=0.995)
    return Generator(mapping, synthesis, z_dim, c_dim)
