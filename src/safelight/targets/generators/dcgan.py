"""DCGAN (Radford et al. 2016): transposed convolutions up, strided ones down."""

import itertools

import torch
from torch import Tensor, nn

from safelight.targets.generators.activation import SLOPE
from safelight.targets.generators.generator import Generator, Synthesis, widths
from safelight.targets.generators.mapping import truncated
from safelight.targets.generators.noise import NoiseMode

#: Weights start from N(0, 0.02^2), section 4.
DEVIATION = 0.02


class Direct(nn.Module):
    """No mapping: w is z beside its label, ws [n, 1, z_dim + c_dim]; truncation shortens z."""

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Return ws. The mean of z is 0."""
        near = truncated(z[:, None], torch.zeros_like(z[0]), truncation_psi, truncation_cutoff)
        return near if labels is None else torch.cat([near, labels[:, None]], 2)


class DCGANSynthesis(Synthesis):
    """ws [n, 1, w_dim] -> images [n, img_channels, resolution, resolution] in (-1, 1).

    Each layer but the last is a transposed convolution, batch normalization and a ReLU.
    ``channels`` gives the width at 4, 8, ... up to the image's size, of which the last is not used.
    """

    def __init__(self, w_dim: int, channels: dict[int, int], img_channels: int) -> None:
        super().__init__(w_dim, 1, max(channels), img_channels)
        inner = [channels[size] for size in sorted(channels)[:-1]]
        layers: list[nn.Module] = [nn.ConvTranspose2d(w_dim, inner[0], 4, bias=False)]
        for before, after in itertools.pairwise(inner):
            layers += [nn.BatchNorm2d(before), nn.ReLU()]
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(inner[-1]), nn.ReLU()]
        layers += [nn.ConvTranspose2d(inner[-1], img_channels, 4, stride=2, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        _start(self)

    def forward(
        self, ws: Tensor, noise_mode: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Tensor:
        """Return the images; both other arguments are those of networks with noise."""
        del noise_mode, rng
        images: Tensor = self.layers(ws[:, 0, :, None, None])
        return images


class DCGANDiscriminator(nn.Module):
    """Images [n, img_channels, resolution, resolution], labels [n, c_dim] -> logits [n, 1].

    Labels enter by projection (Miyato and Koyama 2018). ``batch_norm`` must be off for training
    with differential privacy: it makes the output for one image depend on the others.
    """

    def __init__(
        self, channels: dict[int, int], img_channels: int, c_dim: int = 0, batch_norm: bool = True
    ) -> None:
        super().__init__()
        self.c_dim, self.img_resolution, self.img_channels = c_dim, max(channels), img_channels
        layers: list[nn.Module] = []
        before = img_channels
        inner = [channels[size] for size in sorted(channels, reverse=True)[1:]]
        for index, after in enumerate(inner):
            normalize = batch_norm and index > 0  # the first layer sees pixels as they are
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=not normalize)]
            layers += [nn.BatchNorm2d(after)] if normalize else []
            layers += [nn.LeakyReLU(SLOPE)]
            before = after
        self.layers = nn.Sequential(*layers)
        self.out = nn.Conv2d(before, 1, 4)
        self.embed = nn.Linear(c_dim, before * 4**2, bias=False) if c_dim else None
        _start(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the logits."""
        x = self.layers(images)
        logits: Tensor = self.out(x).flatten(1)
        if self.embed is None:
            return logits
        projected: Tensor = (x.flatten(1) * self.embed(labels)).sum(1, keepdim=True)
        return logits + projected


def _start(network: nn.Module) -> None:
    for one in network.modules():
        if isinstance(one, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(one.weight, std=DEVIATION)
        elif isinstance(one, nn.BatchNorm2d):
            nn.init.normal_(one.weight, 1.0, DEVIATION)


def dcgan(
    resolution: int,
    *,
    z_dim: int = 100,
    c_dim: int = 0,
    img_channels: int = 3,
    channel_base: int = 4096,
    channel_max: int = 1024,
) -> Generator:
    """Return an untrained generator with the paper's widths; ``resolution`` is 8, 16, 32, ..."""
    channels = widths(resolution, channel_base, channel_max, smallest=8)
    synthesis = DCGANSynthesis(z_dim + c_dim, channels, img_channels)
    return Generator(Direct(), synthesis, z_dim, c_dim)


def dcgan_discriminator(
    resolution: int,
    *,
    c_dim: int = 0,
    img_channels: int = 3,
    channel_base: int = 4096,
    channel_max: int = 1024,
    batch_norm: bool = True,
) -> DCGANDiscriminator:
    """Return an untrained discriminator with the paper's widths."""
    channels = widths(resolution, channel_base, channel_max, smallest=8)
    return DCGANDiscriminator(channels, img_channels, c_dim, batch_norm)
