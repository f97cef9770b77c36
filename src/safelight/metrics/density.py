"""How dense pictures lie around others, in few dimensions. Higher means denser."""

from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor

#: Pictures compared with all others at once.
ROWS = 500


@dataclass(frozen=True)
class Components:
    """Principal components of a set of pictures, each scaled to deviation 1 there."""

    mean: Tensor
    axes: Tensor

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return the coordinates [n, components] of pictures [n, c, h, w]."""
        return (pictures.flatten(1) - self.mean) @ self.axes


def components(pictures: Tensor, count: int, whiten: bool = True) -> Components:
    """Return the ``count`` components of pictures [n, c, h, w] with the most variance.

    Not whitened, distances in them are those of pixels, less what the other components hold.
    """
    flat = pictures.flatten(1)
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / max(len(flat) - 1, 1))
    count = min(count, len(values), max(len(flat) - 1, 1))
    axes = vectors[:, -count:]
    if whiten:
        axes = axes / values[-count:].clamp_min(1e-12).sqrt()
    return Components(mean, axes)


def neighbor_density(points: Tensor, among: Tensor, k: int) -> Tensor:
    """Return log density up to a constant by the k-th neighbor: log k/n - d log r_k, [n].

    Points [n, d], among [m, d] (Loftsgaarden and Quesenberry 1965).
    """
    k = min(k, len(among))
    radius = torch.cat(
        [torch.cdist(part, among).kthvalue(k, 1).values for part in points.split(ROWS)]
    )
    # Equal pictures are at distance 0; below 1e-4 float32 does not tell.
    density: Tensor = log(k / len(among)) - points.shape[1] * radius.clamp_min(1e-4).log()
    return density


def kernel_density(points: Tensor, among: Tensor) -> Tensor:
    """Return the log density of a Gaussian kernel estimate with Scott's bandwidth, [n].

    h = m^(-1 / (d + 4)) times the deviation of each coordinate (Scott 1992).
    """
    m, d = among.shape
    width = m ** (-1 / (d + 4)) * among.std(0).clamp_min(1e-6)
    scaled = among / width
    found = [
        (-torch.cdist(part / width, scaled).square() / 2).logsumexp(1)
        for part in points.split(ROWS)
    ]
    density: Tensor = torch.cat(found) - log(m) - d / 2 * log(2 * pi) - width.log().sum()
    return density
