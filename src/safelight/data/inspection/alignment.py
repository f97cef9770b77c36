"""Are two pictures the same one? Aligned, and freed of brightness and contrast, what differs?

The difference is measured by its fourth-power mean, in standard deviations of the picture: noise
that is spread thin, as compression leaves it, counts little; a stroke that is elsewhere counts
much. (At thresholds that find 99 of 100 digits recompressed at quality 50, the plain correlation
passes 23 of 480,000 candidates that are different digits, this none.)
"""

import torch
from torch import Tensor

#: Shifts tried, in pixels along each axis.
REACH = 1

#: Correlation below which an alignment to a part of a pixel is not worth trying.
_PROMISING = 0.85

#: Standard deviation, of pixels in [0, 1], below which a picture has nothing to be aligned by.
_FLAT = 0.5 / 255

_SHIFTS = [(y, x) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1)]


def differences(first: Tensor, second: Tensor, part_pixels: bool) -> Tensor:
    """Return how much aligned pictures differ; swapping first and second changes nothing.

    Args:
        first: [m, height, width], float pixels in [0, 1]; pair i is first[i] and second[i].
        second: the same.
        part_pixels: align to a part of a pixel too, for pictures that were resampled.

    Returns:
        [m]: 0 for the same picture, about 0.1 after recompression at quality 75, above 0.3 for
        different ones; infinite where a picture is flat.
    """
    correlation = torch.stack([_correlation(first, second, shift) for shift in _SHIFTS])
    best, shifts = correlation.max(0)
    found = torch.full_like(best, torch.inf)
    for at, shift in enumerate(_SHIFTS):
        rows = ((shifts == at) & (best > (_PROMISING if part_pixels else 0))).nonzero()[:, 0]
        if not len(rows):
            continue
        one, other = _overlap(first[rows], second[rows], shift)
        found[rows] = (
            torch.minimum(_fitted(one, other), _fitted(other, one))
            if part_pixels
            else _standardized(one, other)
        )
    flat = (first.flatten(1).std(1) < _FLAT) | (second.flatten(1).std(1) < _FLAT)
    return found.masked_fill(flat, torch.inf)


def _overlap(first: Tensor, second: Tensor, shift: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cut the parts of both that show the same once the second is moved by the shift."""
    (y, x), (height, width) = shift, first.shape[1:]
    one = first[:, max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
    other = second[:, max(0, -y) : height + min(0, -y), max(0, -x) : width + min(0, -x)]
    return one, other


def _correlation(first: Tensor, second: Tensor, shift: tuple[int, int]) -> Tensor:
    one, other = (part.flatten(1) for part in _overlap(first, second, shift))
    count = one.shape[1]
    mean, other_mean = one.mean(1), other.mean(1)
    covariance = torch.linalg.vecdot(one, other) / count - mean * other_mean
    spread = torch.linalg.vecdot(one, one) / count - mean.square()
    other_spread = torch.linalg.vecdot(other, other) / count - other_mean.square()
    correlation: Tensor = covariance / (spread * other_spread).clamp_min(1e-12).sqrt()
    return correlation


def _standardized(one: Tensor, other: Tensor) -> Tensor:
    """Compare at equal mean and contrast."""
    scaled = []
    for part in (one.flatten(1), other.flatten(1)):
        centered = part - part.mean(1, keepdim=True)
        scaled.append(centered / centered.std(1, keepdim=True).clamp_min(_FLAT))
    return (scaled[0] - scaled[1]).pow(4).mean(1).pow(0.25)


def _fitted(one: Tensor, other: Tensor) -> Tensor:
    """Compare after fitting contrast, brightness and a shift by a part of a pixel.

    One step of Lucas and Kanade, "An iterative image registration technique", IJCAI 1981: the
    shift is linear in the picture's slopes.
    """
    down, right = torch.gradient(other, dim=(1, 2))
    parts = torch.stack([other, torch.ones_like(other), down, right], dim=-1)
    design = parts.flatten(1, 2).double()
    wanted = one.flatten(1)[..., None].double()
    normal = design.mT @ design + 1e-4 * torch.eye(4, dtype=torch.float64)
    rest = (wanted - design @ torch.linalg.solve(normal, design.mT @ wanted))[..., 0]
    spread = wanted[..., 0].std(1).clamp_min(_FLAT)
    left: Tensor = rest.pow(4).mean(1).pow(0.25) / spread
    return left.float()
