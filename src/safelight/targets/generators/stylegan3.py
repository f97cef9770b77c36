"""StyleGAN3 (Karras et al. 2021): configurations T, translation, and R, rotation equivariant."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from safelight.errors import PlanError
from safelight.targets.generators.activation import GAINS, activate
from safelight.targets.generators.convolution import demodulation
from safelight.targets.generators.dense import Dense
from safelight.targets.generators.fourier import FourierFeatures
from safelight.targets.generators.generator import Generator, Synthesis
from safelight.targets.generators.mapping import Mapping
from safelight.targets.generators.noise import NoiseMode
from safelight.targets.generators.resampling import downsample, upsample
from safelight.targets.generators.stylegan3_filters import Band, bands, low_pass

EPSILON = 1e-8


class AliasFreeLayer(nn.Module):
    """Modulated convolution and a nonlinearity that makes no frequency the rate cannot hold.

    x [n, in_channels, in, in], w [n, w_dim] -> [n, out_channels, out, out]. The rate is raised
    before the nonlinearity, to ``tmp_sampling_rate``, and lowered after it (section 3, figure 4).
    The layer that gives the image has neither, nor demodulation.
    """

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(
        self,
        w_dim: int,
        in_channels: int,
        out_channels: int,
        source: Band,
        target: Band,
        *,
        is_torgb: bool,
        is_critically_sampled: bool,
        conv_kernel: int = 3,
        use_radial_filters: bool = False,
        filter_size: int = 6,
        lrelu_upsampling: int = 2,
        conv_clamp: float | None = 256,
        magnitude_ema_beta: float = 0.999,
    ) -> None:
        super().__init__()
        self.is_torgb, self.is_critically_sampled = is_torgb, is_critically_sampled
        self.in_channels, self.out_channels = in_channels, out_channels
        self.in_size, self.out_size = source.size, target.size
        self.in_sampling_rate, self.out_sampling_rate = source.sampling_rate, target.sampling_rate
        self.in_cutoff, self.out_cutoff = source.cutoff, target.cutoff
        self.in_half_width, self.out_half_width = source.half_width, target.half_width
        self.conv_kernel, self.conv_clamp = 1 if is_torgb else conv_kernel, conv_clamp
        self.magnitude_ema_beta = magnitude_ema_beta
        self._choose_rates(1 if is_torgb else lrelu_upsampling, filter_size)
        self.down_radial = use_radial_filters and not is_critically_sampled
        self.affine = Dense(w_dim, in_channels, bias=1.0)
        shape = (out_channels, in_channels, self.conv_kernel, self.conv_kernel)
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        rate = self.tmp_sampling_rate
        self.register_buffer(
            "up_filter",
            low_pass(self.up_taps, source.cutoff, 2 * source.half_width, rate, radial=False),
        )
        self.register_buffer(
            "down_filter",
            low_pass(self.down_taps, target.cutoff, 2 * target.half_width, rate, self.down_radial),
        )

    def _choose_rates(self, oversampling: int, filter_size: int) -> None:
        """Set rates, filter lengths and padding.

        Of the samples at the raised rate, the padding leaves those that the down filter needs for
        ``out_size``, with the image's center in the middle.
        """
        up_to = max(self.in_sampling_rate, self.out_sampling_rate) * oversampling
        self.tmp_sampling_rate = up_to
        self.up_factor = up_to // self.in_sampling_rate
        self.down_factor = up_to // self.out_sampling_rate
        self.up_taps = filter_size * self.up_factor if self.up_factor > 1 else 1
        self.down_taps = filter_size * self.down_factor if self.down_factor > 1 else 1
        needed = (self.out_size - 1) * self.down_factor + 1 + self.down_taps - 1
        # The convolution keeps its whole support, which adds kernel - 1 samples.
        given = (self.in_size + self.conv_kernel - 1) * self.up_factor - (self.up_taps - 1)
        # The zeros behind the last sample are no part of the signal: they shift the middle.
        before = (needed - given + self.up_factor) // 2
        after = needed - given - before
        self.padding = (before, after, before, after)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the features or, of the last layer, the image."""
        if self.training:
            magnitude = x.detach().square().mean()
            self.magnitude_ema.lerp_(magnitude, 1 - self.magnitude_ema_beta)
        x = self._convolve(x, self.affine(w)) * self.magnitude_ema.rsqrt()
        if self.is_torgb:
            return activate(x, self.bias, "linear", 1.0, self.conv_clamp)
        x = x + self.bias[:, None, None]
        if self.up_filter is not None:
            x = upsample(x, self.up_filter, self.up_factor, self.padding)
        x = activate(x, None, "lrelu", GAINS["lrelu"], self.conv_clamp)
        if self.down_filter is not None:
            x = downsample(x, self.down_filter, self.down_factor, (0, 0, 0, 0))
        return x

    def _convolve(self, x: Tensor, styles: Tensor) -> Tensor:
        """Return x [n, in, h, w], each channel scaled by styles [n, in], after the convolution."""
        weight: Tensor = self.weight
        pad = self.conv_kernel - 1
        if self.is_torgb:
            styles = styles / math.sqrt(self.in_channels * self.conv_kernel**2)
            return F.conv2d(x * styles[:, :, None, None], weight, padding=pad)
        # Demodulation undoes any scale of weights and styles; at unit mean square, its epsilon
        # does not matter.
        weight = weight * (weight.square().mean((1, 2, 3), keepdim=True)).rsqrt()
        styles = styles * (styles.square().mean(1, keepdim=True)).rsqrt()
        x = F.conv2d(x * styles[:, :, None, None], weight, padding=pad)
        return x * demodulation(weight, styles)[:, :, None, None]


class StyleGAN3Synthesis(Synthesis):
    """ws [n, num_layers + 2, w_dim] -> images [n, img_channels, resolution, resolution].

    ``layers`` are the bands that the layers put out and ``channels`` their widths, the image's own
    last; a layer is named as in the state dict, ``L<index>_<size>_<channels>``. There is no noise.
    """

    def __init__(
        self,
        w_dim: int,
        layers: Sequence[Band],
        channels: Sequence[int],
        *,
        num_critical: int = 2,
        output_scale: float = 0.25,
        conv_kernel: int = 3,
        use_radial_filters: bool = False,
        filter_size: int = 6,
        lrelu_upsampling: int = 2,
        conv_clamp: float | None = 256,
        magnitude_ema_beta: float = 0.999,
    ) -> None:
        last = len(layers) - 1
        super().__init__(w_dim, last + 2, layers[last].size, channels[last])
        self.num_layers, self.num_critical, self.output_scale = last, num_critical, output_scale
        self.input = FourierFeatures(w_dim, channels[0], layers[0])
        self.layer_names = []
        for index, (band, width) in enumerate(zip(layers, channels, strict=True)):
            before = max(index - 1, 0)
            layer = AliasFreeLayer(
                w_dim,
                channels[before],
                width,
                layers[before],
                band,
                is_torgb=index == last,
                is_critically_sampled=index >= last - num_critical,
                conv_kernel=conv_kernel,
                use_radial_filters=use_radial_filters,
                filter_size=filter_size,
                lrelu_upsampling=lrelu_upsampling,
                conv_clamp=conv_clamp,
                magnitude_ema_beta=magnitude_ema_beta,
            )
            self.layer_names.append(f"L{index}_{band.size}_{width}")
            self.add_module(self.layer_names[-1], layer)

    def forward(
        self, ws: Tensor, noise_mode: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Tensor:
        """Return the images; both other arguments are those of networks with noise."""
        del noise_mode, rng
        first, *rest = ws.unbind(1)
        x: Tensor = self.input(first)
        for name, w in zip(self.layer_names, rest, strict=True):
            x = self.get_submodule(name)(x, w)
        return x * self.output_scale


def stylegan3(
    resolution: int,
    *,
    configuration: Literal["T", "R"] = "T",
    z_dim: int = 512,
    c_dim: int = 0,
    w_dim: int = 512,
    img_channels: int = 3,
    channel_base: int = 32768,
    channel_max: int = 512,
    mapping_layers: int = 2,
    num_layers: int = 14,
) -> Generator:
    """Return an untrained StyleGAN3 with the paper's defaults.

    R has 1 x 1 convolutions, radial filters and, at the same options, twice the channels.

    Raises:
        PlanError: the sizes admit no such network.
    """
    if num_layers < 3 or resolution < 16 or resolution % 2:
        raise PlanError(
            "StyleGAN3 has 3 layers and 16 x 16 pixels or more; raise num_layers or resolution"
        )
    rotation = configuration == "R"
    if rotation:
        channel_base, channel_max = 2 * channel_base, 2 * channel_max
    layers = bands(resolution, num_layers)
    channels = [
        max(1, round(min(channel_base / 2 / band.cutoff, channel_max))) for band in layers[:-1]
    ]
    synthesis = StyleGAN3Synthesis(
        w_dim,
        layers,
        [*channels, img_channels],
        conv_kernel=1 if rotation else 3,
        use_radial_filters=rotation,
    )
    mapping = Mapping(z_dim, c_dim, w_dim, synthesis.num_ws, mapping_layers)
    return Generator(mapping, synthesis, z_dim, c_dim)
