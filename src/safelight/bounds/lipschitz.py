"""How far apart two pictures' messages can lie, and what noise then hides: metric privacy."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.stats import norm
from torch import Tensor, nn

from safelight.bounds.fisher import Noise
from safelight.record.record import Bound

#: Norms are computed in float64, whose relative error is near 1e-13 at these sizes. Raised by
#: this, a computed norm is an upper bound on the exact one.
ROUNDING = 1 + 1e-9


@dataclass(frozen=True)
class Lipschitz:
    """A certified constant: |f(x) - f(y)| <= ``value`` |x - y| for all pictures, Euclidean.

    ``value`` is None where the edge cannot be certified, and ``reason`` says which layer stands in
    the way. ``factors`` holds the bound of each certified layer, in order.
    """

    value: float | None
    factors: tuple[float, ...]
    reason: str = ""


def lipschitz(edge: nn.Sequential, image_shape: tuple[int, int, int]) -> Lipschitz:
    """Multiply upper bounds on the Lipschitz constants of an edge's layers (Szegedy et al. 2014).

    Sound and, from the second layer on, loose: the layers' worst directions rarely agree. A fixed
    normalization (x - mean) / std is a depthwise 1x1 convolution with weights 1 / std.

    Args:
        edge: layers in the order of the call; ``Conv2d``, ``Linear``, ``ReLU``, ``Sigmoid``,
            ``MaxPool2d``, ``Flatten``, ``Identity`` and ``Sequential`` of these, without hooks.
        image_shape: (c, h, w).
    """
    some = next(edge.parameters(), torch.empty(0))
    picture = torch.zeros(1, *image_shape, dtype=some.dtype, device=some.device)
    factors: list[float] = []
    for layer in _layers(edge):
        certify = _CERTIFIED.get(type(layer))  # a subclass may compute something else
        factor = certify(layer, picture.shape) if certify else f"no bound is known for {layer}"
        if isinstance(factor, str):
            return Lipschitz(None, tuple(factors), factor)
        factors.append(factor)
        with torch.no_grad():
            picture = layer(picture)
    return Lipschitz(math.prod(factors), tuple(factors))


@dataclass(frozen=True)
class MetricPrivacy:
    """How well noise hides which of two pictures at most ``distance`` apart was sent.

    The messages are ``mu``-Gaussian differentially private between such pictures (Dong, Roth and
    Su 2022); None where nothing is proved. ``distance`` is Euclidean, over all pixels. No prior is
    assumed. Pictures in [0, 1]^d are at most sqrt(d) apart: at that distance it is local privacy.
    """

    mu: float | None
    distance: float
    holds: Literal["yes", "no", "unknown"]
    assumptions: tuple[str, ...]
    detail: str

    def renyi(self, alpha: float) -> float | None:
        """Return the Renyi divergence of order ``alpha`` > 1, in nats (Mironov 2017, Prop. 7).

        alpha mu^2 / 2 = alpha k L^2 D^2 / (2 s^2).
        """
        return None if self.mu is None else alpha * self.mu**2 / 2

    def delta(self, epsilon: float) -> float | None:
        """Return the smallest delta of (epsilon, delta) privacy (Balle and Wang 2018, Thm. 8).

        Phi(mu / 2 - epsilon / mu) - e^epsilon Phi(-mu / 2 - epsilon / mu).
        """
        if self.mu is None:
            return None
        if self.mu == 0:
            return 0.0
        near, far = self.mu / 2 - epsilon / self.mu, -self.mu / 2 - epsilon / self.mu
        return float(norm.cdf(near) - math.exp(epsilon + norm.logcdf(far)))

    def record(self) -> Bound:
        """Return it as the record keeps it; the value is mu."""
        return Bound(
            name=f"metric privacy at distance {self.distance:g}",
            value=self.mu,
            holds=self.holds,
            assumptions=list(self.assumptions),
            detail=self.detail,
        )


ASSUMPTIONS = (
    "the edge's Lipschitz constant is certified",
    "the noise is Gaussian as stated, and fresh for every send",
)


def metric_privacy(constant: Lipschitz, distance: float, noise: Noise) -> MetricPrivacy:
    """Bound what any test learns of which of two pictures ``distance`` apart was sent.

    Two messages are at most L D apart, so that k sends with noise s are mu-GDP with
    mu = sqrt(k) L D / s.

    Args:
        constant: L of the edge, from ``lipschitz``.
        distance: D, Euclidean over all pixels, in pixel units.
        noise: of the message. Laplace noise would need the constant in the sum of absolute
            differences, which is not computed: nothing is claimed.
    """
    if not noise.scale:
        return _unproved(
            distance,
            "no",
            "The message is computed without randomness: where two messages differ at all, they "
            "tell the pictures apart. Noise would allow a bound.",
        )
    if constant.value is None:
        return _unproved(distance, "unknown", f"No constant is certified: {constant.reason}.")
    if noise.kind != "gaussian":
        return _unproved(distance, "unknown", f"No bound was computed for {noise.kind} noise.")
    mu = constant.value * distance * math.sqrt(noise.information)
    detail = f"Any two pictures at most {distance:g} apart, whatever the prior."
    return MetricPrivacy(mu, distance, "yes", ASSUMPTIONS, detail)


def convolution_norm(convolution: nn.Conv2d, height: int, width: int) -> float | str:
    """Bound the operator norm of a convolution on [c, height, width], or say why not.

    On a torus a convolution is a matrix [out, in] per frequency, and its norm their largest
    singular value (Sedghi, Gupta and Long 2019): exact for circular padding at stride 1. With
    zeros outside (or no padding) the picture is put on a torus so large that nothing wraps around,
    and what the convolution puts out is a part of what the torus does: an upper bound, which
    exceeds the exact norm slightly. A stride keeps part of that again, and loosens the bound.
    """
    weight = convolution.weight.detach().double()
    steps, sizes = convolution.dilation, weight.shape[2:]
    reach = [step * (size - 1) for step, size in zip(steps, sizes, strict=True)]
    if convolution.padding_mode == "zeros":
        torus = (height + reach[0], width + reach[1])
    elif convolution.padding_mode == "circular":
        torus = (height, width)
        if not _stays_on_the_torus(convolution, reach, torus):
            return f"circular padding repeats pixels in {convolution}"
    else:
        return f"padding by {convolution.padding_mode} is not certified in {convolution}"
    spread = weight.new_zeros(*weight.shape[:2], reach[0] + 1, reach[1] + 1)
    spread[:, :, :: steps[0], :: steps[1]] = weight
    frequencies = torch.fft.rfft2(spread, s=torus)  # the others are their conjugates
    matrices = frequencies.flatten(2).permute(2, 0, 1)  # [frequencies, out, in of a group]
    return ROUNDING * max(_largest(group) for group in matrices.chunk(convolution.groups, 1))


def _stays_on_the_torus(convolution: nn.Conv2d, reach: list[int], torus: tuple[int, int]) -> bool:
    """Whether no output pixel is put out twice, and the kernel does not overlap itself."""
    given = convolution.padding
    padding = (0, 0) if isinstance(given, str) else given  # "same" and "valid" never repeat
    return all(
        2 * pad <= extent < size for pad, extent, size in zip(padding, reach, torus, strict=True)
    )


def _largest(matrices: Tensor) -> float:
    """Return the largest singular value of many matrices [n, out, in], complex."""
    if matrices.shape[1] < matrices.shape[2]:
        matrices = matrices.mH
    return math.sqrt(max(float(torch.linalg.eigvalsh(matrices.mH @ matrices).max()), 0.0))


def _convolution(layer: nn.Conv2d, shape: torch.Size) -> float | str:
    return convolution_norm(layer, shape[-2], shape[-1])


def _linear(layer: nn.Linear, _shape: torch.Size) -> float:
    return ROUNDING * float(torch.linalg.matrix_norm(layer.weight.detach().double(), 2))


def _max_pool(layer: nn.MaxPool2d, _shape: torch.Size) -> float | str:
    """Bound it: each maximum moves no more than its window, and a pixel is in so many windows."""
    kernels, strides, steps = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.dilation)
    if steps != (1, 1) or layer.return_indices:
        return f"only plain max-pooling is certified, not {layer}"
    windows = math.prod(-(-kernel // step) for kernel, step in zip(kernels, strides, strict=True))
    return math.sqrt(windows)


def _one(_layer: nn.Module, _shape: torch.Size) -> float:
    return 1.0


def _sigmoid(_layer: nn.Module, _shape: torch.Size) -> float:
    return 0.25


#: How each layer is bounded: (layer, shape of its input) -> a bound, or why there is none.
_CERTIFIED: dict[type[nn.Module], Callable[[Any, torch.Size], float | str]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.ReLU: _one,
    nn.Flatten: _one,
    nn.Identity: _one,
    nn.Sigmoid: _sigmoid,
}


def _layers(edge: nn.Module) -> Iterator[nn.Module]:
    if type(edge) is nn.Sequential:
        for layer in edge:
            yield from _layers(layer)
    else:
        yield edge


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _unproved(distance: float, holds: Literal["no", "unknown"], detail: str) -> MetricPrivacy:
    return MetricPrivacy(None, distance, holds, ASSUMPTIONS, detail)
