"""What no attacker beats on average over a Gaussian prior: the Bayesian Cramer-Rao bound.

For every attacker, biased or not (van Trees 1968; Gill and Levit 1995),

    E |x^ - x|^2 / d >= B(G) / d,  B(G) = tr((c G + P)^-1),  G = E[J'J],  P = covariance^-1,

with c the noise's information. It is the exact Bayes error of a linear edge, and by the inequality
of means never below the scalar bound 1 / (dFIL + tr(P) / d).

G is a mean over the *prior*. Over real pictures the theorem would need their own prior information,
which is at least P, so that B would come out too high.

G is estimated from draws of the prior. To put the mean of some J'J in its place overrates the bound
on average, as B is convex. But a tangent lies below a convex function wherever it touches, so with
G0 from half of the draws, M = (c G0 + P)^-1 and W = c M^2,

    B(G) >= tr(M) + tr(W G0) - tr(W G),

in which only tr(W G), the mean over pictures of a number, is unknown: the other half of the draws
gives its upper confidence limit.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from safelight.bounds.fisher import Noise, gram, mean_gram
from safelight.errors import DataError
from safelight.record.record import Bound
from safelight.stats.seeds import Seeds


@dataclass(frozen=True)
class GaussianPrior:
    """What the attacker knows of the pictures beforehand: x ~ N(mean, covariance).

    ``mean`` is [c, h, w], ``covariance`` [d, d] over the flattened pixels, positive definite, both
    float64. ``shrinkage`` is None for a prior that is stated, and the weight of the identity for
    one that was fitted: real pictures are not Gaussian, so a fitted prior is only a model of them.
    """

    mean: Tensor
    covariance: Tensor
    shrinkage: float | None = None

    def draw(self, count: int, seeds: Seeds) -> Tensor:
        """Return pictures [count, c, h, w] drawn from the prior, float32; they may leave [0, 1]."""
        source = torch.Generator().manual_seed(seeds.integer())
        normal = torch.randn(count, self.mean.numel(), dtype=torch.float64, generator=source)
        pictures = self.mean + (normal @ _root(self.covariance).T).reshape(-1, *self.mean.shape)
        return pictures.float()


def fit_prior(pictures: Tensor) -> GaussianPrior:
    """Fit a Gaussian to the attacker's own pictures [n, c, h, w].

    The covariance is (1 - w) S + w (tr(S) / d) I, with the sample covariance S and the weight w
    that minimizes the expected squared error (Ledoit and Wolf 2004, Lemma 3.4). Without it S has
    no inverse where pixels never change or n <= d. The identity adds variance where the sample
    has none, which raises the bound there: at most by ``shrinkage`` tr(S) / d per pixel.

    Raises:
        DataError: fewer than two pictures, or all alike.
    """
    x = pictures.double().flatten(1)
    count, pixels = x.shape
    x = x - x.mean(0)
    sample = x.T @ x / max(count, 1)
    size = sample.trace() / pixels
    if count < 2 or not size > 0:
        raise DataError(f"a prior needs two pictures that differ: {count} given; add pictures")
    off = sample.square().sum() - pixels * size**2  # |S - size I|^2
    spread = (x.square().sum(1).square().sum() / count - sample.square().sum()) / count
    weight = 1.0 if off <= 0 else float((spread / off).clamp(0, 1))
    covariance = (1 - weight) * sample + weight * size * torch.eye(pixels).to(sample)
    mean = pictures.double().mean(0)
    return GaussianPrior(mean, covariance, shrinkage=weight)


@dataclass(frozen=True)
class BayesBound:
    """A lower bound on the mean squared error per pixel, averaged over prior and noise.

    ``value`` is the bound less its Monte Carlo margin at one-sided ``level``, ``estimate`` the
    same before the margin; both None where there is no bound. Squared pixel units.
    """

    value: float | None
    estimate: float | None
    level: float
    holds: Literal["yes", "no", "unknown"]
    assumptions: tuple[str, ...]
    detail: str

    def record(self) -> Bound:
        """Return it as the record keeps it."""
        return Bound(
            name="Bayesian Cramer-Rao bound on the mean squared error per pixel",
            value=self.value,
            holds=self.holds,
            assumptions=list(self.assumptions),
            detail=self.detail,
        )


ASSUMPTIONS = (
    "the pictures are drawn from the stated Gaussian prior",
    "the noise is as stated, fresh for every send and independent of the picture",
    "the error is the mean squared error, averaged over pictures and noise",
    "the Monte Carlo margin covers to second order: close for tens of pictures, exact for a "
    "linear edge",
)

_STATED = "It holds for pictures of the stated prior."
_FITTED = (
    "It holds for pictures of the fitted Gaussian prior. Real pictures are not Gaussian: an "
    "attacker who knows them better may err less."
)


def bayes_bound(
    edge: nn.Module,
    prior: GaussianPrior,
    noise: Noise,
    pictures: Tensor,
    *,
    level: float = 0.95,
    chunk: int = 256,
) -> BayesBound:
    """Return the matrix Bayesian Cramer-Rao bound, with its Monte Carlo margin.

    Args:
        edge: as for ``fisher.gram``. Kinks, as of ReLU and max-pooling, do no harm: the theorem
            asks for an absolutely continuous density, not for a smooth one.
        prior: of the pictures.
        noise: of the message.
        pictures: independent draws of the prior, [n, c, h, w], n at least 4, in the dtype of the
            edge (float64 pays where the noise is far below the message).
        level: one-sided coverage of the margin, in (0, 1).
        chunk: as for ``fisher.gram``.

    Raises:
        DataError: too few pictures, or a covariance that is not positive definite.
    """
    if not noise.scale:
        return _no_bound(level)
    if len(pictures) < 4:
        raise DataError(f"a bound needs 4 draws of the prior or more, not {len(pictures)}")
    estimate, margin = _tangent(edge, prior.covariance, noise.information, pictures, level, chunk)
    pixels = prior.mean.numel()
    fitted = prior.shrinkage is not None
    return BayesBound(
        value=max(estimate - margin, 0.0) / pixels,
        estimate=estimate / pixels,
        level=level,
        holds="unknown" if fitted else "yes",
        assumptions=ASSUMPTIONS,
        detail=f"{_FITTED if fitted else _STATED} Its margin is one-sided at {level:.0%}.",
    )


def _no_bound(level: float) -> BayesBound:
    return BayesBound(
        value=None,
        estimate=None,
        level=level,
        holds="no",
        assumptions=ASSUMPTIONS,
        detail="The message is computed without randomness, so its Fisher information is "
        "infinite and nothing can be proved about what it hides. Noise would allow a bound.",
    )


def _tangent(
    edge: nn.Module, covariance: Tensor, scale: float, pictures: Tensor, level: float, chunk: int
) -> tuple[float, float]:
    """Return tr(M) + tr(W G0) - tr(W G) with G from the second half, and the margin of tr(W G)."""
    first, second = pictures.tensor_split(2)
    touch = mean_gram(edge, first, chunk)
    error = _posterior(covariance.to(touch), touch, scale)
    slope = scale * error @ error
    drops = torch.stack([(slope * gram(edge, one, chunk)).sum() for one in second])
    estimate = float(error.trace() + (slope * touch).sum() - drops.mean())
    return estimate, _margin(drops.cpu().numpy(), level)


def _margin(values: NDArray[np.float64], level: float) -> float:
    """Return how far a mean may lie above the sample's, with probability ``level``.

    s / sqrt(n) (t + g (2 t^2 + 1) / (6 sqrt(n))), with the skewness g (Hall 1983):
    a few pictures with much information make the plain t limit cover too seldom.
    """
    count, deviation = len(values), float(values.std(ddof=1))
    if deviation <= 1e-12 * abs(float(values.mean())):  # a linear edge: the rest is rounding
        return deviation
    t = float(stats.t.ppf(level, count - 1))
    skewness = max(float(stats.skew(values)), 0.0)
    root = math.sqrt(count)
    return deviation / root * (t + skewness * (2 * t**2 + 1) / (6 * root))


def _root(covariance: Tensor) -> Tensor:
    root, failed = torch.linalg.cholesky_ex(covariance.double())
    if failed:
        raise DataError("the prior's covariance is not positive definite: add variance to it")
    return torch.as_tensor(root)


def _posterior(covariance: Tensor, information: Tensor, scale: float) -> Tensor:
    """Return (scale information + covariance^-1)^-1, [d, d].

    With covariance = L L' it is L (I + scale L' information L)^-1 L': the inverse of a matrix whose
    eigenvalues are 1 or more, however small those of the covariance.
    """
    root = _root(covariance)
    inner = scale * root.T @ information @ root
    inner.diagonal().add_(1)
    factor, failed = torch.linalg.cholesky_ex(inner)
    if failed:
        raise DataError("rounding hides the smallest noise: give edge and pictures in float64")
    half = torch.linalg.solve_triangular(factor, root.T, upper=False)
    return torch.as_tensor(half.T @ half)
