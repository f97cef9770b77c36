"""How useful and how lifelike generated pictures are. Higher accuracy, lower distance: better."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.data.images import ImageSet
from safelight.errors import DataError
from safelight.stats.intervals import clopper_pearson

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """A share of real pictures that were classified right, with its interval.

    ``low`` and ``high``: exact, for the pictures that were tested, given this one classifier.
    """

    value: float
    low: float
    high: float
    n: int


def downstream_accuracy(
    generated: ImageSet, real: ImageSet, *, steps: int = 1000, seed: int = 0, level: float = 0.95
) -> Accuracy:
    """Train a small network on generated pictures and test it on real ones, in [0, 1].

    Chance is 1 / classes. Nothing is chosen by the real pictures: network, rate and steps are
    fixed, and the last state counts. It is the accuracy of this small network: a better one, or
    the best of several, as some tables have it, comes out higher.

    Args:
        generated: labeled pictures, as from a conditional generator.
        real: pictures that the generator was not trained on, of the same shape and classes.
        steps: of training, each on 100 generated pictures.
        seed: of first weights and order.
        level: of the interval.

    Raises:
        DataError: the sets differ in shape or classes, or one is empty.
    """
    if generated.shape != real.shape or generated.classes != real.classes:
        raise DataError(
            f"generated pictures are {list(generated.shape)} in {len(generated.classes)} classes, "
            f"real ones {list(real.shape)} in {len(real.classes)}; give sets of the same kind"
        )
    if not len(generated) or not len(real):
        raise DataError("there are no pictures to train on or to test; give at least one of each")
    network = _taught(generated, steps, seed)
    with torch.no_grad():
        said = torch.cat([network(part).argmax(1) for part in real.images.split(1000)])
    right = int((said == real.labels).sum())
    low, high = clopper_pearson(right, len(real), level)
    return Accuracy(right / len(real), low, high, len(real))


def frechet_distance(one: Array, other: Array) -> float:
    """Fréchet distance of two Gaussians fitted to features, squared; 0 for equal moments.

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` (Dowson and Landau 1982). With the features of
    an Inception network it is called FID (Heusel et al. 2017); with any others it is not, and
    values compare only among the same features, and the same number of pictures: it is biased
    upward where there are few.

    Args:
        one: features [n, d] of one set, n at least 2.
        other: features [m, d] of the other.
    """
    means = one.mean(0), other.mean(0)
    roots = [_root(np.atleast_2d(np.cov(each, rowvar=False))) for each in (one, other)]
    # tr (S1 S2)^(1/2) is the sum of the singular values of S1^(1/2) S2^(1/2).
    shared = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    spread = sum(float(np.square(root).sum()) for root in roots)
    return float(np.square(means[0] - means[1]).sum() + spread - 2 * shared)


@torch.no_grad()
def feature_distance(
    generated: Tensor, real: Tensor, features: Callable[[Tensor], Tensor]
) -> float:
    """Return ``frechet_distance`` of pictures by the features of a network; lower is better.

    It is no FID: the features are not Inception's. Say whose they are beside every value.

    Args:
        generated: pictures [n, c, h, w] in [0, 1].
        real: pictures [m, c, h, w] in [0, 1], best as many.
        features: pictures to features [n, ...], such as a classifier up to its last layer.
    """
    one, other = (
        torch.cat([features(part).flatten(1) for part in each.split(500)]).double().cpu().numpy()
        for each in (generated, real)
    )
    return frechet_distance(one, other)


def _root(covariance: Array) -> Array:
    """Return the symmetric square root."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def _taught(data: ImageSet, steps: int, seed: int, size: int = 100) -> nn.Module:
    """Return a small convolutional network trained on a set, on its device."""
    channels, side, device = data.shape[0], min(data.shape[1:]), data.images.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2 if side >= 16 else 1, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.LazyLinear(128),
            nn.ReLU(),
            nn.Linear(128, len(data.classes)),
        )
        network(data.images[:1].cpu())
    network.to(device)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    left: list[Tensor] = []
    for _ in range(steps):
        left = left or list(torch.randperm(len(data), generator=order).to(device).split(size))
        rows = left.pop()
        loss = F.cross_entropy(network(data.images[rows]), data.labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()
