"""Pictures of nothing: what an adversary without any picture can still send as queries."""

import torch

from safelight.data.images import ImageSet
from safelight.stats.seeds import Seeds

#: Exponents of the amplitude spectrum: 0 is white noise, natural pictures fall off as 1 / f.
FALLOFF = (0.0, 2.0)

#: Contrast, as the standard deviation in units of the pixel range; high ones saturate to shapes.
CONTRAST = (0.1, 2.0)


def noise_pictures(like: ImageSet, count: int, seed: int) -> ImageSet:
    """Draw Gaussian random fields in the shape of other pictures, whose content is not used.

    Each has its own spectrum, f^-a with a uniform in ``FALLOFF``, its own mean level, and a
    contrast, log-uniform in ``CONTRAST``; pixels are clamped to [0, 1]. White noise, as in He et
    al. (2019), is one end of this family. Labels mean nothing and are all 0.

    Returns:
        ``count`` pictures of the shape and on the device of ``like``.
    """
    channels, height, width = like.shape
    draw = torch.Generator().manual_seed(Seeds(seed, ("noise pictures",)).integer())
    across = torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()
    frequency = across.sqrt().clamp_min(1 / max(height, width))
    a = FALLOFF[0] + (FALLOFF[1] - FALLOFF[0]) * torch.rand(count, 1, 1, 1, generator=draw)
    white = torch.fft.rfft2(torch.randn(count, channels, height, width, generator=draw))
    fields = torch.fft.irfft2(white * frequency**-a, s=(height, width))
    fields = (fields - fields.mean((2, 3), keepdim=True)) / fields.std((1, 2, 3), keepdim=True)
    # Real color channels agree for the most part: mix each with the mean of all.
    shared = torch.rand(count, 1, 1, 1, generator=draw)
    fields = shared * fields.mean(1, keepdim=True) * channels**0.5 + (1 - shared) * fields
    low, high = (torch.tensor(CONTRAST).log()).tolist()
    contrast = (low + (high - low) * torch.rand(count, 1, 1, 1, generator=draw)).exp()
    level = torch.rand(count, 1, 1, 1, generator=draw)
    pictures = (level + contrast * fields).clamp(0, 1).to(like.images)
    labels = torch.zeros(count, dtype=torch.int64, device=like.labels.device)
    return ImageSet(pictures, labels, like.classes, f"{count} random fields")
