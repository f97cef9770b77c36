"""How much a noisy message tells about each pixel: Fisher information.

A picture x of d pixels leaves the device as z = f(x) + noise, where f is the edge with Jacobian
J [m, d]. For independent noise of each entry of z the Fisher information of x in z is
``c J'J``, where c is the information of one entry about its own mean.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safelight.stats.seeds import Seeds


@dataclass(frozen=True)
class Noise:
    """Independent noise on every entry of the message.

    ``scale`` is the standard deviation s of Gaussian noise or the b of Laplace noise, in the units
    of the message; 0 is a deterministic edge. The same message is sent ``sends`` times, each time
    with fresh noise. An adversary who reads only the mean of the sends knows no more.
    """

    kind: Literal["gaussian", "laplace"]
    scale: float
    sends: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.scale < float("inf"):
            raise ValueError(f"the scale of noise is 0 or positive, not {self.scale}")
        if self.sends < 1:
            raise ValueError(f"a message is sent at least once, not {self.sends} times")

    @property
    def information(self) -> float:
        """Fisher information c of one entry about its mean: infinite without noise.

        k / s^2 for Gaussian and k / b^2 for Laplace noise: that of independent sends adds up.
        """
        return self.sends / self.scale**2 if self.scale else float("inf")


def gram(edge: nn.Module, picture: Tensor, chunk: int = 256) -> Tensor:
    """Return J'J of the edge at one picture, exactly.

    Args:
        edge: pictures [n, c, h, w] -> messages [n, ...], in evaluation mode: each message must
            depend on its own picture alone. It need only be differentiable almost everywhere.
        picture: [c, h, w], in the dtype of the edge.
        chunk: rows or columns of J computed at once, which bounds the memory.

    Returns:
        [d, d], float64, symmetric; squared message units per squared pixel unit.
    """
    with torch.no_grad():
        size, pixels = edge(picture[None]).numel(), picture.numel()
    total = torch.zeros(pixels, pixels, dtype=torch.float64, device=picture.device)
    if size <= 2 * pixels:
        for rows in _jacobian_rows(edge, picture, size, chunk):  # J'J = sum over rows r of r r'
            total.addmm_(rows.T, rows)
    else:  # two passes a column, but J itself is never held
        for part in _parts(pixels, chunk):
            total[part.start : part.stop] = _gram_rows(edge, picture, part)
    return (total + total.T) / 2


def mean_gram(edge: nn.Module, pictures: Tensor, chunk: int = 256) -> Tensor:
    """Return the mean of ``gram`` over pictures [n, c, h, w]: [d, d], float64.

    It estimates E[J'J]; what it misses by is not in it, see ``cramer_rao``.
    """
    total = gram(edge, pictures[0], chunk)
    for picture in pictures[1:]:
        total += gram(edge, picture, chunk)
    return total / len(pictures)


@dataclass(frozen=True)
class Trace:
    """Estimates of tr(J'J), one a picture.

    ``high`` [n] is a one-sided confidence limit: each picture's trace is at most its ``high`` with
    probability ``level`` or more. The limits of n pictures hold together at
    ``stats.intervals.bonferroni``.
    """

    value: Tensor
    high: Tensor
    level: float
    probes: int


def trace(
    edge: nn.Module,
    pictures: Tensor,
    probes: int,
    seeds: Seeds,
    *,
    level: float = 0.95,
    norm: float = float("inf"),
    chunk: int = 256,
) -> Trace:
    """Estimate tr(J'J) of each picture by random probes (Hutchinson 1990).

    The limit is that of ``trace_limit``, which holds for any number of probes and any edge.

    Args:
        edge: as for ``gram``.
        pictures: [n, c, h, w], in the dtype of the edge.
        probes: Rademacher vectors a picture.
        seeds: of the probes.
        level: one-sided coverage, in (0, 1).
        norm: an upper bound on the Lipschitz constant of the edge (``lipschitz``); it sharpens the
            limit, from a factor to a few percent where many pixels share the trace.
        chunk: probes sent through the edge at once.
    """
    draw = torch.Generator().manual_seed(seeds.integer())
    count, pixels = len(pictures), pictures[0].numel()
    squares = torch.empty(count * probes, dtype=torch.float64)
    for part in _parts(count * probes, chunk):
        which = torch.tensor(part)
        signs = torch.randint(0, 2, (len(which), *pictures.shape[1:]), generator=draw) * 2 - 1
        at = pictures[(which // probes).to(pictures.device)]
        pushed, _ = _push(edge, at, signs.to(at))
        squares[which] = pushed.flatten(1).double().square().sum(1).cpu()  # v'J'Jv = |Jv|^2
    value = squares.reshape(count, probes).mean(1)
    high = trace_limit(value.numpy(), probes, pixels, level=level, norm=norm)
    return Trace(value, torch.from_numpy(high), level, probes)


def trace_limit(
    means: NDArray[np.float64],
    probes: int,
    pixels: int,
    *,
    level: float = 0.95,
    norm: float = float("inf"),
) -> NDArray[np.float64]:
    """Upper confidence limit of the trace T of a positive semidefinite matrix A.

    A probe X = v'Av is never negative, has mean T, and for Rademacher v

        E X^2 = T^2 + 2 (|A|_F^2 - sum_i A_ii^2) <= T c,  c = T + 2 (min(T, norm^2) - T / d),

    since |A|_F^2 <= T |A|_2. Of all such X, the one that is c with probability p = T / c and
    else 0 has the largest E exp(-l X) for every l > 0, so by Chernoff the mean of k probes is
    below q c with probability at most exp(-k KL(q || p)). The limit is the largest T at which
    that probability is not under 1 - level. No normality is assumed: the usual t limit covers too
    seldom where one direction carries the trace.

    Args:
        means: [n], each the mean of ``probes`` values of X.
        probes: k, at least 1.
        pixels: d.
        level: one-sided coverage, in (0, 1).
        norm: an upper bound on the square root of the largest eigenvalue of A.

    Returns:
        [n], at least ``means``; infinite where so few probes bound nothing: 7 or fewer at 95 %
        without a norm.
    """
    allowed = -np.log1p(-level) / probes
    start = norm**2 if np.isfinite(norm) else 1.0  # where every probe gave 0
    low, high = means, np.where(means > 0, means, start)
    inside = np.ones(means.shape, dtype=bool)
    for _ in range(100):
        inside = _divergence(means, high, pixels, norm) < allowed
        high = np.where(inside, 2 * high, high)
    unlimited = inside
    for _ in range(100):  # the divergence grows with T: bisect to the last digit of a double
        middle = (low + high) / 2
        inside = _divergence(means, middle, pixels, norm) < allowed
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(unlimited, np.inf, high)


def diagonal_leakage(traces: Tensor, pixels: int, noise: Noise) -> Tensor:
    """Return the diagonal Fisher information leakage, dFIL = c tr(J'J) / d: a metric, no bound.

    1 / dFIL bounds the mean squared error per pixel of *unbiased* attackers only (Maeng et al.
    2023). Every real attacker is biased: it knows what pictures look like. On a first convolution
    with a smooth Gaussian prior of variance 1 and Gaussian noise of 10, 1 / dFIL is 15.4 and
    the posterior mean errs by 0.46, which is 33 times below; even the prior mean errs by 1 only.
    Use it to compare edges or to calibrate noise, and ``cramer_rao`` to bound an attacker.

    Args:
        traces: tr(J'J) of each picture, [n]; ``Trace.high`` errs on the safe side.
        pixels: d.
        noise: of the message; without noise the leakage is infinite.

    Returns:
        [n], per squared pixel unit.
    """
    return noise.information * traces / pixels


def _parts(total: int, chunk: int) -> Iterator[range]:
    return (range(start, min(start + chunk, total)) for start in range(0, total, chunk))


def _unit_vectors(part: range, size: int, like: Tensor) -> Tensor:
    """Return the unit vectors ``part`` of ``size`` dimensions, [len(part), size]."""
    units = torch.zeros(len(part), size, dtype=like.dtype, device=like.device)
    units[torch.arange(len(part)), torch.tensor(part)] = 1
    return units


def _jacobian_rows(edge: nn.Module, picture: Tensor, size: int, chunk: int) -> Iterator[Tensor]:
    """Yield J in blocks of rows, [at most chunk, d], float64."""
    for part in _parts(size, chunk):
        copies = picture.repeat(len(part), *[1] * picture.ndim)
        message, pull = torch.func.vjp(edge, copies)[:2]
        rows = pull(_unit_vectors(part, size, message).reshape(message.shape))[0]
        yield rows.detach().flatten(1).double()


def _push(edge: nn.Module, at: Tensor, along: Tensor) -> tuple[Tensor, Callable[..., Any]]:
    """Return J ``along`` at each picture ``at`` [n, c, h, w], and the map u -> J'u.

    J v is the derivative of J'u by u, along v: what has a backward pass needs no forward mode.
    """
    message, pull = torch.func.vjp(edge, at)[:2]
    push = torch.func.vjp(lambda u: pull(u)[0], torch.zeros_like(message))[1]
    return push(along)[0].detach(), pull


def _gram_rows(edge: nn.Module, picture: Tensor, part: range) -> Tensor:
    """Return rows ``part`` of J'J: each is J' (J e) of a unit vector e."""
    units = _unit_vectors(part, picture.numel(), picture)
    copies = picture.repeat(len(units), *[1] * picture.ndim)
    pushed, pull = _push(edge, copies, units.reshape(copies.shape))
    rows: Tensor = pull(pushed)[0]
    return rows.detach().flatten(1).double()


def _divergence(
    means: NDArray[np.float64], traces: NDArray[np.float64], pixels: int, norm: float
) -> NDArray[np.float64]:
    """KL(q || p) of two coins, p = T / c and q = mean / c, where q < p; else 0."""
    top = traces + 2 * np.maximum(np.minimum(traces, norm**2) - traces / pixels, 0)
    p, q = traces / top, means / top
    with np.errstate(divide="ignore", invalid="ignore"):
        heads = np.where(q > 0, q * np.log(q / p), 0.0)
        tails = (1 - q) * np.log1p((p - q) / (1 - p))
    return np.where(q < p, heads + tails, 0.0)
