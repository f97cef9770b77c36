"""The input of StyleGAN3: Fourier features, which the style can rotate and shift."""

import math

import torch
from torch import Tensor, nn

from safelight.targets.generators.dense import Dense
from safelight.targets.generators.stylegan3_filters import Band


class FourierFeatures(nn.Module):
    """w [n, w_dim] -> features [n, channels, size, size] (Karras et al. 2021, section 3.1).

    Each is a wave ``sin(2 pi (f . x + phi))`` over x in image units, f uniform in the disc of the
    band's cutoff; a trained matrix mixes them. The style gives a rotation and a translation, and
    ``transform`` [3, 3], the identity in training, moves the image further on request.
    """

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, w_dim: int, channels: int, band: Band) -> None:
        super().__init__()
        self.w_dim, self.channels, self.size = w_dim, channels, band.size
        self.sampling_rate, self.bandwidth = band.sampling_rate, band.cutoff
        # A square root makes radii uniform over the area of the disc.
        radius = band.cutoff * torch.rand(channels).sqrt()
        angle = 2 * torch.pi * torch.rand(channels)
        self.register_buffer("freqs", torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None])
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = Dense(w_dim, 4)
        self.affine.weight.data.zero_()
        self.affine.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, w: Tensor) -> Tensor:
        """Return the features."""
        moved = _placement(self.affine(w)) @ self.transform
        # f . (R x + t) + phi = (f R) . x + (phi + f . t)
        freqs = self.freqs @ moved[:, :2, :2]
        phases = self.phases + (self.freqs @ moved[:, :2, 2:]).squeeze(2)
        # A wave that the transform takes beyond the band fades out toward the sampling limit.
        limit = self.sampling_rate / 2
        amplitude = (limit - freqs.norm(dim=2)) / (limit - self.bandwidth)
        x = self._positions() @ freqs[:, None].transpose(2, 3) + phases[:, None, None]
        waves = torch.sin(2 * torch.pi * x) * amplitude.clamp(0, 1)[:, None, None]
        features: Tensor = waves @ self.weight.t() / math.sqrt(self.channels)
        return features.permute(0, 3, 1, 2)

    def _positions(self) -> Tensor:
        """Return the sample positions (across, down) [size, size, 2]: the image is 1 wide."""
        steps = torch.arange(self.size, device=self.freqs.device, dtype=self.freqs.dtype)
        line = (steps - (self.size - 1) / 2) / self.sampling_rate
        return torch.stack(torch.meshgrid(line, line, indexing="xy"), 2)


def _placement(t: Tensor) -> Tensor:
    """Return the maps [n, 3, 3] of (r_c, r_s, t_x, t_y) [n, 4]: a shift back, then a rotation.

    ``[[c, -s], [s, c]] (x - t)`` with ``(c, s) = (r_c, r_s) / |(r_c, r_s)|``, so that the scale of
    the style does not matter.
    """
    t = t / t[:, :2].norm(dim=1, keepdim=True)
    cosine, sine, across, down = t.unbind(1)
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    rotation = [[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]]
    shift = [[one, zero, -across], [zero, one, -down], [zero, zero, one]]
    return _matrix(rotation) @ _matrix(shift)


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, 1) for row in rows], 1)
