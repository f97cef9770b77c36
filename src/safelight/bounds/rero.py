"""What differential privacy of the training proves: trade-off functions and reconstruction."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from safelight.record.record import Bound

Curve = NDArray[np.float64]

#: From here on e^epsilon overflows a double, and the guarantee promises nothing.
LARGEST = 700


class Guarantee(Protocol):
    """A proved privacy guarantee of whatever was released, between neighboring training sets."""

    def tradeoff(self, fpr: Curve) -> Curve:
        """Return the least rate of misses of any test at each rate of false alarms, in [0, 1].

        A membership attack's ROC curve lies at or below 1 - tradeoff(fpr) (Wasserman and Zhou
        2010; Dong, Roth and Su 2022).
        """
        ...


@dataclass(frozen=True)
class ApproximateDP:
    """(epsilon, delta)-differential privacy (Dwork et al. 2006)."""

    epsilon: float
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < LARGEST or not 0 <= self.delta <= 1:
            raise ValueError(f"epsilon is in [0, {LARGEST}) and delta in [0, 1], not {self}")

    def tradeoff(self, fpr: Curve) -> Curve:
        """max(0, 1 - delta - e^epsilon a, e^-epsilon (1 - delta - a)), a = fpr."""
        low = 1 - self.delta - np.exp(self.epsilon) * fpr
        high = np.exp(-self.epsilon) * (1 - self.delta - fpr)
        return np.asarray(np.maximum(np.maximum(low, high), 0), dtype=np.float64)


@dataclass(frozen=True)
class GaussianDP:
    """mu-Gaussian differential privacy (Dong, Roth and Su 2022).

    Exact for one release of a sum under Gaussian noise, mu = sensitivity / deviation, and for full
    batches, where mu grows with the square root of the steps. For subsampled batches the central
    limit theorem gives only an approximate mu, which may promise too much.
    """

    mu: float

    def __post_init__(self) -> None:
        if not 0 <= self.mu < LARGEST:
            raise ValueError(f"mu is in [0, {LARGEST}), not {self}")

    def tradeoff(self, fpr: Curve) -> Curve:
        """Phi(Phi^-1(1 - a) - mu), a = fpr."""
        return np.asarray(norm.cdf(norm.isf(fpr) - self.mu), dtype=np.float64)


@dataclass(frozen=True)
class RenyiDP:
    """Renyi differential privacy: D_alpha(P || Q) <= epsilon both ways (Mironov 2017)."""

    alpha: float
    epsilon: float

    def __post_init__(self) -> None:
        if not 1 < self.alpha < float("inf") or not 0 <= self.epsilon < LARGEST:
            raise ValueError(f"alpha is above 1 and epsilon in [0, {LARGEST}), not {self}")

    def tradeoff(self, fpr: Curve) -> Curve:
        """Return 1 - p, p the largest hit rate whose coin diverges from that of ``fpr`` by epsilon.

        A test turns each output into a coin, and by data processing

            p^alpha a^(1-alpha) + (1-p)^alpha (1-a)^(1-alpha) <= e^((alpha-1) epsilon),  a = fpr,

        and the same with p and a exchanged. Never above p = (a e^epsilon)^((alpha-1)/alpha), the
        closed form of Balle, Cherubin and Hayes (2022), which drops the second term.
        """
        low, high = np.array(fpr, dtype=np.float64), np.ones_like(fpr, dtype=np.float64)
        for _ in range(60):  # both divergences grow with p above a
            middle = (low + high) / 2
            near = np.maximum(self._divergence(middle, fpr), self._divergence(fpr, middle))
            low = np.where(near <= self.epsilon, middle, low)
            high = np.where(near <= self.epsilon, high, middle)
        return 1 - high

    def _divergence(self, p: Curve, q: Curve) -> Curve:
        """D_alpha of two coins, in nats; infinite where q forbids what p allows."""
        power = self.alpha - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            heads = np.where(p > 0, self.alpha * np.log(p) - power * np.log(q), -np.inf)
            tails = np.where(p < 1, self.alpha * np.log1p(-p) - power * np.log1p(-q), -np.inf)
        return np.asarray(np.logaddexp(heads, tails) / power, dtype=np.float64)


def reconstruction_bound(guarantee: Guarantee | None, prior_hit_rate: float) -> Bound:
    """Bound the probability that any attack reconstructs a training image: 1 - f(kappa).

    A guess that does not depend on the image hits it with probability kappa at most; the attack is
    a test between the training set with the image and its neighbor without it, and its hits are
    the test's power at level kappa (Balle, Cherubin and Hayes 2022; Hayes, Mahloujifar and Balle
    2023). That gives min(e^epsilon kappa + delta, 1 - e^-epsilon (1 - delta - kappa)) for
    (epsilon, delta), and Phi(Phi^-1(kappa) + mu) for mu-GDP (Kaissis et al. 2023).

    Args:
        guarantee: of the training; None where it was not differentially private.
        prior_hit_rate: kappa, the largest probability over guesses that one guess, made without
            the model, comes close enough to an image of the prior: 1 / n for n equal candidates.
            What counts as close enough is the same in kappa and in the attack. An estimate must
            enter as its upper confidence limit.

    Returns:
        a ``Bound`` whose value is that probability, for one image whose attacker may know all
        others; None, and ``holds`` no, without a guarantee.
    """
    if not 0 <= prior_hit_rate <= 1:
        raise ValueError(f"the prior hit rate is a probability, not {prior_hit_rate}")
    assumptions = [
        "the training has the stated privacy, for a change of one image",
        "the image is drawn from the prior of the hit rate, independently of all others",
    ]
    if guarantee is None:
        return Bound(
            name="reconstruction robustness",
            value=None,
            holds="no",
            assumptions=assumptions,
            detail="The training was not differentially private: the model may hold an image "
            "whole, so nothing can be proved about what it gives away.",
        )
    rate = 1 - float(guarantee.tradeoff(np.array([prior_hit_rate]))[0])
    return Bound(
        name="reconstruction robustness",
        value=rate,
        holds="yes",
        assumptions=assumptions,
        detail=f"Under {guarantee} no attack reconstructs an image of the prior with a higher "
        f"probability; without the model, {prior_hit_rate:g} is possible.",
    )
