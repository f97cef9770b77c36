"""StyleGAN2 (Karras et al. 2020a, 2020b)."""

import math
from collections.abc import Mapping as Dictionary
from typing import Any, Literal

import torch
from torch import Tensor, nn

from safelight.targets.generators.activation import GAINS, activate
from safelight.targets.generators.convolution import Convolution, convolved, demodulation
from safelight.targets.generators.dense import Dense
from safelight.targets.generators.generator import Generator, Synthesis, widths
from safelight.targets.generators.mapping import Mapping
from safelight.targets.generators.noise import Noise, NoiseMode
from safelight.targets.generators.resampling import BINOMIAL, separable, upsample

Architecture = Literal["orig", "skip", "resnet"]


class StyledConvolution(nn.Module):
    """A convolution whose input channels the style scales, with noise: Karras et al. 2020a, 2d.

    x [n, in_channels, h, w], w [n, w_dim] -> [n, out_channels, h * up, w * up].
    """

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up: int = 1,
        use_noise: bool = True,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.use_noise = resolution, up, use_noise
        self.conv_clamp, self.activation, self.act_gain = conv_clamp, "lrelu", GAINS["lrelu"]
        self.affine = Dense(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", separable(BINOMIAL))
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros([]))

    def forward(self, x: Tensor, w: Tensor, noise: Noise, gain: float = 1.0) -> Tensor:
        """Return the result, scaled by ``gain``, as are its bounds."""
        styles = self.affine(w)
        # Scaling the input and the output of one shared convolution equals a convolution with
        # weights of each sample's own: w'_oik = s_i w_oik / |s w_o|.
        x = convolved(x * styles[:, :, None, None], self.weight, self.resample_filter, self.up)
        x = x * demodulation(self.weight, styles)[:, :, None, None]
        image = noise.image(self.noise_const, len(x)) if self.use_noise else None
        if image is not None:
            x = x + image * self.noise_strength
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return activate(x, self.bias, "lrelu", self.act_gain * gain, clamp)


class ToRGB(nn.Module):
    """Features [n, in_channels, h, w], w [n, w_dim] -> image [n, channels, h, w].

    Modulated without demodulation, so that the style sets the contrast.
    """

    def __init__(
        self, in_channels: int, channels: int, w_dim: int, conv_clamp: float | None
    ) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = Dense(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the image."""
        styles = self.affine(w) * self.weight_gain
        x = nn.functional.conv2d(x * styles[:, :, None, None], self.weight)
        return activate(x, self.bias, "linear", 1.0, self.conv_clamp)


class Block(nn.Module):
    """All layers of one resolution: features and image of half of it in, of it out.

    Named as in the state dict: ``conv0`` doubles the resolution, ``conv1`` keeps it, ``skip`` is
    the shortcut of a residual block, ``torgb`` gives the image.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        img_channels: int,
        *,
        is_last: bool,
        architecture: Architecture,
        conv_clamp: float | None,
        use_noise: bool,
    ) -> None:
        super().__init__()
        self.in_channels, self.resolution = in_channels, resolution
        self.is_last, self.architecture = is_last, architecture
        self.register_buffer("resample_filter", separable(BINOMIAL))
        self.num_conv, self.num_torgb = 1, int(is_last or architecture == "skip")
        if not in_channels:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.num_conv = 2
            self.conv0 = StyledConvolution(
                in_channels,
                out_channels,
                w_dim,
                resolution,
                up=2,
                use_noise=use_noise,
                conv_clamp=conv_clamp,
            )
        self.conv1 = StyledConvolution(
            out_channels,
            out_channels,
            w_dim,
            resolution,
            use_noise=use_noise,
            conv_clamp=conv_clamp,
        )
        if self.num_torgb:
            self.torgb = ToRGB(out_channels, img_channels, w_dim, conv_clamp)
        if in_channels and architecture == "resnet":
            self.skip = Convolution(in_channels, out_channels, 1, bias=False, up=2)

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: Tensor, noise: Noise
    ) -> tuple[Tensor, Tensor | None]:
        """Return features and image, given w of each layer: ws [n, num_conv + num_torgb, w_dim]."""
        x = self._features(x, ws, noise)
        if image is not None:
            image = upsample(image, self.resample_filter, 2, (2, 1, 2, 1))
        if self.num_torgb:
            own = self.torgb(x, ws[:, self.num_conv])
            image = own if image is None else image + own
        return x, image

    def _features(self, x: Tensor | None, ws: Tensor, noise: Noise) -> Tensor:
        if x is None:
            first: Tensor = self.conv1(self.const.expand(len(ws), -1, -1, -1), ws[:, 0], noise)
            return first
        residual = self.architecture == "resnet"
        # At sqrt(1/2) each, the sum of two branches of unit variance has unit variance again.
        gain = math.sqrt(0.5) if residual else 1.0
        out: Tensor = self.conv1(self.conv0(x, ws[:, 0], noise), ws[:, 1], noise, gain)
        return out + self.skip(x, gain) if residual else out


class StyleGAN2Synthesis(Synthesis):
    """ws [n, num_ws, w_dim] -> images [n, img_channels, resolution, resolution].

    ``channels`` gives the width at each resolution: 4, 8, ... up to the image's. The image is the
    sum of one per resolution (skip) or comes from the last alone (resnet, orig).
    """

    def __init__(
        self,
        w_dim: int,
        channels: Dictionary[int, int],
        img_channels: int,
        architecture: Architecture = "skip",
        conv_clamp: float | None = None,
        use_noise: bool = True,
    ) -> None:
        resolution = max(channels)
        super().__init__(w_dim, 2 * len(channels), resolution, img_channels)
        self.block_resolutions = sorted(channels)
        for size in self.block_resolutions:
            block = Block(
                channels.get(size // 2, 0),
                channels[size],
                w_dim,
                size,
                img_channels,
                is_last=size == resolution,
                architecture=architecture,
                conv_clamp=conv_clamp,
                use_noise=use_noise,
            )
            self.add_module(f"b{size}", block)

    def forward(
        self, ws: Tensor, noise_mode: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Tensor:
        """Return the images. ``rng`` draws the noise of mode "random"."""
        noise = Noise(noise_mode, rng)
        x: Tensor | None = None
        image: Any = None
        first = 0
        for size in self.block_resolutions:
            block = self.get_submodule(f"b{size}")
            # A block's image layer shares its w with the first convolution of the next block.
            x, image = block(x, image, ws[:, first:], noise)
            first += 1 if size == 4 else 2
        out: Tensor = image
        return out


def stylegan2(
    resolution: int,
    *,
    z_dim: int = 512,
    c_dim: int = 0,
    w_dim: int = 512,
    img_channels: int = 3,
    channel_base: int = 32768,
    channel_max: int = 512,
    mapping_layers: int = 8,
    architecture: Architecture = "skip",
) -> Generator:
    """Return an untrained StyleGAN2 with the paper's defaults; ``resolution`` is a power of 2."""
    channels = widths(resolution, channel_base, channel_max)
    synthesis = StyleGAN2Synthesis(w_dim, channels, img_channels, architecture)
    mapping = Mapping(z_dim, c_dim, w_dim, synthesis.num_ws, mapping_layers, w_avg_beta=0.995)
    return Generator(mapping, synthesis, z_dim, c_dim)
