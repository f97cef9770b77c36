"""The discriminator of StyleGAN2 and StyleGAN3 (Karras et al. 2020a, 2020b, 2021)."""

import math
from collections.abc import Mapping as Dictionary

import torch
from torch import Tensor, nn

from safelight.targets.generators.convolution import Convolution
from safelight.targets.generators.dense import Dense
from safelight.targets.generators.generator import widths
from safelight.targets.generators.mapping import Mapping
from safelight.targets.generators.resampling import BINOMIAL, downsample, separable
from safelight.targets.generators.stylegan2 import Architecture

EPSILON = 1e-8


class MinibatchStd(nn.Module):
    """Appends how much the images of a group differ (Karras et al. 2018, section 3).

    x [n, c, h, w] -> [n, c + num_channels, h, w]: per appended channel, the standard deviation
    over the group, averaged over a share of the features and all pixels. Image i is grouped with
    i + n / g, i + 2 n / g, ...; g is ``group_size``, or the largest number below it that divides n.

    It makes the output for one image depend on the others: no discriminator that is trained
    with differential privacy may have it.
    """

    def __init__(self, group_size: int | None, num_channels: int = 1) -> None:
        super().__init__()
        self.group_size, self.num_channels = group_size, num_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return x with the channels appended."""
        n, c, h, w = x.shape
        group = min(self.group_size or n, n)
        while n % group:
            group -= 1
        y = x.reshape(group, n // group, self.num_channels, c // self.num_channels, h, w)
        deviation = (y.var(0, correction=0) + EPSILON).sqrt().mean((2, 3, 4))
        appended = deviation[:, :, None, None].repeat(group, 1, h, w)
        return torch.cat([x, appended], 1)


class DiscriminatorBlock(nn.Module):
    """All layers of one resolution: features and image of it in, of half of it out."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        resolution: int,
        img_channels: int,
        architecture: Architecture,
        conv_clamp: float | None,
    ) -> None:
        super().__init__()
        self.in_channels, self.resolution = in_channels, resolution
        self.img_channels, self.architecture = img_channels, architecture
        self.register_buffer("resample_filter", separable(BINOMIAL))
        self.takes_image = not in_channels or architecture == "skip"
        if self.takes_image:
            self.fromrgb = Convolution(
                img_channels, channels, 1, activation="lrelu", conv_clamp=conv_clamp
            )
        self.conv0 = Convolution(channels, channels, 3, activation="lrelu", conv_clamp=conv_clamp)
        self.conv1 = Convolution(
            channels, out_channels, 3, activation="lrelu", down=2, conv_clamp=conv_clamp
        )
        if architecture == "resnet":
            self.skip = Convolution(channels, out_channels, 1, bias=False, down=2)

    def forward(self, x: Tensor | None, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features and the image at half the resolution."""
        if self.takes_image:
            own: Tensor = self.fromrgb(image)
            x = own if x is None else x + own
            if self.architecture == "skip":
                image = downsample(image, self.resample_filter, 2, (1, 1, 1, 1))
        if self.architecture == "resnet":
            gain = math.sqrt(0.5)
            return self.skip(x, gain) + self.conv1(self.conv0(x), gain), image
        return self.conv1(self.conv0(x)), image


class Epilogue(nn.Module):
    """Features [n, in_channels, 4, 4] -> outputs [n, out], with the batch's own variation."""

    def __init__(
        self,
        in_channels: int,
        cmap_dim: int,
        img_channels: int,
        architecture: Architecture,
        conv_clamp: float | None,
        mbstd_group_size: int | None,
        mbstd_num_channels: int,
    ) -> None:
        super().__init__()
        self.in_channels, self.cmap_dim, self.resolution = in_channels, cmap_dim, 4
        self.img_channels, self.architecture = img_channels, architecture
        if architecture == "skip":
            self.fromrgb = Convolution(img_channels, in_channels, 1, activation="lrelu")
        self.mbstd = (
            MinibatchStd(mbstd_group_size, mbstd_num_channels) if mbstd_num_channels else None
        )
        self.conv = Convolution(
            in_channels + mbstd_num_channels,
            in_channels,
            3,
            activation="lrelu",
            conv_clamp=conv_clamp,
        )
        self.fc = Dense(in_channels * 4**2, in_channels, "lrelu")
        self.out = Dense(in_channels, cmap_dim or 1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Return the outputs."""
        if self.architecture == "skip":
            x = x + self.fromrgb(image)
        if self.mbstd is not None:
            x = self.mbstd(x)
        out: Tensor = self.out(self.fc(self.conv(x).flatten(1)))
        return out


class Discriminator(nn.Module):
    """Images [n, img_channels, resolution, resolution], labels [n, c_dim] -> logits [n, 1].

    ``channels`` gives the width at each resolution: 4, 8, ... up to the image's. Labels enter by
    projection (Miyato and Koyama 2018): the logit is the inner product of the image's features and
    the mapped label, over the root of their length.
    """

    def __init__(
        self,
        channels: Dictionary[int, int],
        img_channels: int,
        c_dim: int = 0,
        *,
        architecture: Architecture = "resnet",
        conv_clamp: float | None = None,
        cmap_dim: int | None = None,
        mapping_layers: int = 8,
        mbstd_group_size: int | None = 4,
        mbstd_num_channels: int = 1,
    ) -> None:
        super().__init__()
        self.c_dim, self.img_resolution, self.img_channels = c_dim, max(channels), img_channels
        self.block_resolutions = sorted(channels, reverse=True)[:-1]
        cmap_dim = (cmap_dim or channels[4]) if c_dim else 0
        for size in self.block_resolutions:
            block = DiscriminatorBlock(
                channels[size] if size < self.img_resolution else 0,
                channels[size],
                channels[size // 2],
                size,
                img_channels,
                architecture,
                conv_clamp,
            )
            self.add_module(f"b{size}", block)
        if c_dim:
            self.mapping = Mapping(0, c_dim, cmap_dim, None, mapping_layers, w_avg_beta=None)
        self.b4 = Epilogue(
            channels[4],
            cmap_dim,
            img_channels,
            architecture,
            conv_clamp,
            mbstd_group_size,
            mbstd_num_channels,
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the logits [n, 1]."""
        x, image = None, images
        for size in self.block_resolutions:
            x, image = self.get_submodule(f"b{size}")(x, image)
        out: Tensor = self.b4(x, image)
        if not self.c_dim:
            return out
        mapped = self.mapping.latent(None, labels)
        return (out * mapped).sum(1, keepdim=True) / math.sqrt(self.b4.cmap_dim)


def discriminator(
    resolution: int,
    *,
    c_dim: int = 0,
    img_channels: int = 3,
    channel_base: int = 32768,
    channel_max: int = 512,
    architecture: Architecture = "resnet",
    mbstd_group_size: int | None = 4,
    mbstd_num_channels: int = 1,
) -> Discriminator:
    """Return an untrained discriminator; ``mbstd_num_channels`` 0 keeps its images apart."""
    return Discriminator(
        widths(resolution, channel_base, channel_max),
        img_channels,
        c_dim,
        architecture=architecture,
        mbstd_group_size=mbstd_group_size,
        mbstd_num_channels=mbstd_num_channels,
    )
