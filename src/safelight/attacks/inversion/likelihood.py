"""Regularized likelihood: search for the picture whose message is the one that was seen."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy import fft
from torch import Tensor, nn

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.attacks.inversion.decoder import (
    Decoder,
    held_out,
    rebuild,
    train_inverse,
    train_uncertainty,
)
from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation
from safelight.threats.split_inference import HE_2019

#: Weights of the prior that are tried on the attacker's own held-out pictures, for errors that
#: are independent from pixel to pixel and for correlated ones. A weight of 1 is Bayes' rule if
#: the message's errors are as large as its own variance.
INDEPENDENT = (1.0, 0.1, 1e-2, 1e-3, 3e-4, 0.0)
CORRELATED = (3.0, 1.0, 0.3, 0.1, 0.03)

#: How many of its own pictures the attacker tries them on.
TUNED_ON = 24

#: Share of the mean variance added to every pixel's, so that no pixel is frozen.
FLOOR = 1e-3


@dataclass(frozen=True, kw_only=True)
class Likelihood(InversionAttack):
    """Minimize, per victim and inside the box [0, 1], the distance between its message and f(x).

    ``sum((f(x) - z)^2) / var(z) + weight * prior(x)``: the maximum a-posteriori estimate under
    Gaussian errors. Warm-started, the prior is a pull toward the inverse network's picture d,

    ``|u|^2 with x = d + s * C u``

    where s is the deviation that the attacker predicts for each pixel, from its own pictures, and
    C the square root of the correlation between pixels: the identity, or, as blurred natural
    pictures err in their fine structure, diagonal in the cosine basis of colors that do not
    covary. From gray, the prior is total variation. Which C and which weight is chosen on
    pictures that the attacker owns and did not train the inverse network on, never on a victim;
    staying at the start is one of the choices. (The same pictures fitted the deviation, which
    favors the prior a little: that can weaken the attack, not flatter it.)

    The objective is a sum of per-picture terms and Adam's epsilon is far below any gradient, so
    a victim's result does not depend on its batch.

    Attributes:
        start: ``decoder`` (everything the black-box attack has, then more) or ``gray``.
        steps: optimizer steps.
        learning_rate: of Adam, cosine to zero; in units of the expected deviation.
        restarts: tries per victim; the one with the lowest objective is claimed.
        batch_size: victims at once.
        decoder: the inverse network to start from.
    """

    reference: ClassVar[Reference] = HE_2019
    needs: ClassVar[Needs] = Needs(messages=True, queries=True, weights=True, public=True)

    start: Literal["decoder", "gray"] = "decoder"
    steps: Count = 300
    learning_rate: Positive = 0.3
    restarts: Count = 1
    batch_size: Count = 250
    decoder: Decoder = field(default_factory=Decoder)

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of the descents, and of the inverse network where one is used."""
        tried = len(INDEPENDENT) + (len(CORRELATED) if self.start == "decoder" else 0)
        pictures = len(seen.messages) + TUNED_ON * tried
        step = 3 * forward_flops(seen.edge, seen.public.images[:1])
        begin = self.decoder.flops(seen) if self.start == "decoder" else 0.0
        return begin + self.restarts * self.steps * pictures * step

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim."""
        begin, correlation = self._beginning(seen, rng)
        _, own = held_out(seen)
        own = own[:TUNED_ON]
        spread = seen.query(own).var().clamp_min(1e-12)
        chosen = self._tune(seen, begin, correlation, own, spread, rng)
        claims = []
        for messages in seen.messages.split(self.batch_size):
            origin, deviation = begin(messages)
            if chosen is None:  # the prior alone: on its own pictures nothing beat the start
                claims.append(origin)
                continue
            heard = seen.informative(messages)
            problem = _Problem(
                seen.edge, messages, heard, origin, deviation, spread, *chosen,
                self.start == "gray",
            )  # fmt: skip
            claims.append(self._solve(problem, rng))
        weight, correlated = (math.inf, False) if chosen is None else (chosen[0], bool(chosen[1]))
        told = {"prior weight": weight, "prior correlated": float(correlated)}
        return Reconstruction(torch.cat(claims), told)

    def _beginning(
        self, seen: SplitObservation, rng: Seeds
    ) -> "tuple[_Beginning, _Correlation | None]":
        """Return the map from messages to (start, deviation per pixel), and errors' correlation."""
        if self.start == "gray":
            shape = seen.image_shape

            def gray(messages: Tensor) -> tuple[Tensor, Tensor]:
                middle = torch.full((len(messages), *shape), 0.5, device=messages.device)
                return middle, middle

            return gray, None
        network = train_inverse(self.decoder, seen, rng)
        uncertainty = train_uncertainty(network, seen, rng)

        def decoded(messages: Tensor) -> tuple[Tensor, Tensor]:
            origin = rebuild(network, messages)
            with torch.no_grad():
                variance = uncertainty(origin)
            return origin, (variance + FLOOR * variance.mean()).sqrt()

        _, own = held_out(seen)
        origin, deviation = decoded(seen.query(own, again=True))
        return decoded, _Correlation.of((own - origin) / deviation)

    def _tune(
        self,
        seen: SplitObservation,
        begin: "_Beginning",
        correlation: "_Correlation | None",
        own: Tensor,
        spread: Tensor,
        rng: Seeds,
    ) -> "_Prior | None":
        """Return the prior with the best mean PSNR on the attacker's own pictures.

        None if staying at the start is best.
        """
        messages = seen.query(own, again=True)
        heard = seen.informative(messages)
        origin, deviation = begin(messages)
        tried: list[_Prior] = [(weight, None) for weight in INDEPENDENT]
        if correlation is not None:
            tried += [(weight, correlation) for weight in CORRELATED]
        candidates = [origin]
        for weight, correlated in tried:
            problem = _Problem(
                seen.edge, messages, heard, origin, deviation, spread, weight, correlated,
                self.start == "gray",
            )  # fmt: skip
            candidates.append(self._solve(problem, rng))
        error = (torch.stack(candidates) - own).square().flatten(2).mean(2).clamp_min(1e-12)
        return [None, *tried][int(error.log().mean(1).argmin())]

    def _solve(self, problem: "_Problem", rng: Seeds) -> Tensor:
        """Return the best of all restarts, per picture, by the attacker's own objective."""
        begun = torch.zeros_like(problem.origin)
        best = problem.descend(begun, self.steps, self.learning_rate)
        for attempt in range(1, self.restarts):
            noise = torch.Generator().manual_seed(rng.child("restart", str(attempt)).integer())
            jump = torch.randn(begun.shape[1:], generator=noise).to(begun)
            found = problem.descend(begun + jump, self.steps, self.learning_rate)
            with torch.no_grad():
                better = problem.objective(found) < problem.objective(best)
            best = torch.where(better[:, None, None, None], found, best)
        with torch.no_grad():
            return problem.picture(best).clamp(0, 1)


#: Messages [n, ...] -> (start, standard deviation per pixel), both [n, c, h, w].
_Beginning = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Correlation:
    """How errors go together: ``colors`` [c, c] and cosines are uncorrelated, ``bands`` deviate.

    The cosine basis is close to the eigenvectors of any covariance that depends on the distance
    between pixels alone (Ahmed, Natarajan and Rao 1974).
    """

    colors: Tensor
    down: Tensor
    right: Tensor
    bands: Tensor

    @classmethod
    def of(cls, errors: Tensor) -> "_Correlation":
        """Measure it on errors [n, c, h, w] in units of the deviation expected of them."""
        height, width = errors.shape[2:]
        flat = errors.transpose(0, 1).flatten(1)
        _, colors = torch.linalg.eigh(flat @ flat.T)
        down, right = _cosines(height).to(errors), _cosines(width).to(errors)
        rotated = (errors.transpose(1, 3) @ colors).transpose(1, 3)
        bands = (down @ rotated @ right.T).square().mean(0).sqrt()
        return cls(colors, down, right, bands)

    def __call__(self, u: Tensor) -> Tensor:
        """Return C u for u [n, c, h, w]."""
        rotated = self.down.T @ (self.bands * u) @ self.right
        return (rotated.transpose(1, 3) @ self.colors.T).transpose(1, 3)


#: Weight, and how errors go together.
_Prior = tuple[float, _Correlation | None]


def _cosines(n: int) -> Tensor:
    """Return the orthonormal cosine basis, one wave a row, [n, n]."""
    return torch.from_numpy(fft.dct(np.eye(n), norm="ortho", axis=0)).float()


@dataclass(frozen=True)
class _Problem:
    """One batch of independent searches, in units of the deviation that is expected."""

    edge: nn.Module
    messages: Tensor
    heard: Tensor
    origin: Tensor
    deviation: Tensor
    spread: Tensor
    weight: float
    correlation: _Correlation | None
    smooth: bool

    def picture(self, u: Tensor) -> Tensor:
        """Return x = d + s * C u; inside the box, where it is not u that is held there."""
        if self.correlation is None:
            return self.origin + self.deviation * u
        return (self.origin + self.deviation * self.correlation(u)).clamp(0, 1)

    def objective(self, u: Tensor) -> Tensor:
        """Return (sum((f(x) - z)^2) / var(z) + weight * prior(x)) / pixels, per picture, [n].

        The sum is over the numbers of z that say something.
        """
        x = self.picture(u)
        off = (self.heard * (self.edge(x) - self.messages)).square().flatten(1).sum(1) / self.spread
        error: Tensor = off / x[0].numel()
        if self.smooth:
            down = (x[..., 1:, :] - x[..., :-1, :]).square().flatten(1).mean(1)
            right = (x[..., :, 1:] - x[..., :, :-1]).square().flatten(1).mean(1)
            return error + self.weight * (down + right)
        return error + self.weight * u.square().flatten(1).mean(1)

    def descend(self, begun: Tensor, steps: int, learning_rate: float) -> Tensor:
        """Run Adam on u; where pixels are independent, back into the box after every step."""
        u = begun.clone().requires_grad_()
        low, high = -self.origin / self.deviation, (1 - self.origin) / self.deviation
        # eps only guards against 0 / 0: in units of the deviation gradients get as small as 1e-9,
        # and an eps above them turns Adam into slow descent.
        optimizer = torch.optim.Adam([u], learning_rate, betas=(0.9, 0.99), eps=1e-12)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        with torch.enable_grad():
            for _ in range(steps):
                if self.correlation is None:
                    with torch.no_grad():
                        u.clamp_(low, high)
                loss = self.objective(u).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return u.detach()
