"""How far an output is from a protected picture: four distances.

Each is 0 for the same picture. All take pictures [n, channels, height, width] with pixels in
[0, 1], at least 7x7.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.data.inspection.signature import signatures
from safelight.metrics import image

#: The distances, in the order of every row of them.
NAMES = ("ssim", "patched", "embedding", "coarse")

#: Tiles a side of the patched distance: 16 in all, as Carlini et al. (2023) cut theirs.
TILES = 4

#: Most numbers of a coarse picture. 192 (8 x 8 in color) for pictures of 32x32, and one matrix
#: product of 64 outputs with 10,000 of them takes 3 ms on one core.
COARSE = 256

#: Variance per coarse pixel, added so that the correlation of flat pictures is 0, not 0 / 0.
_FLAT = 1e-5

#: Weight of a color in the embedding: a quarter of the range, on average over the quarters of a
#: picture, counts like the least distance of two different pictures of CIFAR-10 (about 3).
_COLOR = 4.0

#: Light of red, green and blue (ITU-R BT.601).
_LIGHT = torch.tensor([0.299, 0.587, 0.114])

#: Pairs scored together: their window moments stay in a core's cache.
_PAIRS = 64


def coarse(images: Tensor) -> Tensor:
    """Return block means, [n, d] with d at most 256 (or one number a channel).

    Rows and columns beyond the last whole block are left out.
    """
    channels, height, width = images.shape[1:]
    side = block(channels, height, width)
    return F.avg_pool2d(images, side).flatten(1)


def block(channels: int, height: int, width: int) -> int:
    """Return the side of the blocks that ``coarse`` averages, in pixels."""
    side = 1
    while channels * (height // side) * (width // side) > COARSE and side < min(height, width):
        side += 1
    return side


def standardized(points: Tensor) -> Tensor:
    """Center coarse pictures and scale each to length 1: a product of two is their correlation.

    The coarse distance is that of two such points, sqrt(2 (1 - correlation)), in [0, 2]: noise
    averages out of it.
    """
    centered = points - points.mean(1, keepdim=True)
    floor = _FLAT * points.shape[1]
    return centered / (centered.square().sum(1, keepdim=True) + floor).sqrt()


def embedding(images: Tensor) -> Tensor:
    """Return points whose distance is the embedding distance, [n, d].

    The log magnitudes of the low frequencies of the light, which a shift, a recompression or a
    change of contrast leaves nearly as they are (``data.inspection.signature``), and the mean
    colors of the quarters. It needs no trained network, so it knows nothing of what is shown.
    """
    light = images[:, 0]
    if images.shape[1] == 3:
        light = (images * _LIGHT[:, None, None]).sum(1)
    levels = (light.clamp(0, 1) * 255).round().byte()
    points = signatures(levels)
    if images.shape[1] == 1:
        return points
    return torch.cat([points, _COLOR * F.adaptive_avg_pool2d(images, 2).flatten(1)], dim=1)


def in_pixels(outputs: Tensor, protected: Tensor) -> Tensor:
    """Return ssim and patched of pair after pair, [m, 2].

    ssim: 1 - SSIM, in [0, 2]. patched: the largest root mean squared difference of 16 tiles, in
    [0, 1] (Carlini et al. 2023, section 4.2, there not divided by the number of pixels): a
    background that any two pictures share does not make them alike.
    """
    found = [
        _in_pixels(one, other)
        for one, other in zip(outputs.split(_PAIRS), protected.split(_PAIRS), strict=True)
    ]
    return torch.cat(found)


def _in_pixels(one: Tensor, other: Tensor) -> Tensor:
    squares = (one - other).square().mean(1, keepdim=True)
    patched = F.adaptive_avg_pool2d(squares, TILES).flatten(1).amax(1).sqrt()
    return torch.stack([1 - image.ssim(one, other), patched], dim=1)
