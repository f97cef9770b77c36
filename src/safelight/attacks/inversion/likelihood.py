"""Regularized likelihood: search for the picture whose message is the one that was seen."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
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

#: Weights of the prior that are tried on the attacker's own held-out pictures.
PRIOR_WEIGHTS = (1.0, 0.1, 0.03, 0.01, 0.0)

#: How many of its own pictures the attacker tries them on.
TUNED_ON = 40

#: Share of the mean variance added to every pixel's, so that no pixel is frozen.
FLOOR = 1e-3


@dataclass(frozen=True, kw_only=True)
class Likelihood(InversionAttack):
    """Minimize, per victim and inside the box [0, 1], the distance between its message and f(x).

    ``mean((f(x) - z)^2) / var(z) + weight * prior(x)``: the maximum a-posteriori estimate under
    Gaussian errors. Warm-started, the prior is a pull toward the inverse network's picture, each
    pixel held by the inverse of the variance that the attacker measured there on its own
    pictures; from gray, it is total variation. The weight is chosen on pictures that the attacker
    owns and did not train the inverse network on, never on a victim; staying at the start is one
    of the choices. (The same pictures fitted the variance, which favors the prior a little: that
    can weaken the attack, not flatter it.)

    The objective is a sum of per-picture terms and Adam's epsilon is far below any gradient, so
    a victim's result does not depend on its batch.

    Attributes:
        start: ``decoder`` (everything the black-box attack has, then more) or ``gray``.
        steps: optimizer steps.
        learning_rate: of Adam, cosine to zero; in units of each pixel's standard deviation.
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
        pictures = len(seen.messages) + TUNED_ON * len(PRIOR_WEIGHTS)
        step = 3 * forward_flops(seen.edge, seen.public.images[:1])
        begin = self.decoder.flops(seen) if self.start == "decoder" else 0.0
        return begin + self.restarts * self.steps * pictures * step

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim."""
        begin = self._beginning(seen, rng)
        _, own = held_out(seen)
        own = own[:TUNED_ON]
        spread = seen.query(own).var().clamp_min(1e-12)
        weight = self._tune(seen, begin, own, spread, rng)
        claims = []
        for messages in seen.messages.split(self.batch_size):
            origin, deviation = begin(messages)
            if math.isinf(weight):  # the prior alone: on its own pictures nothing beat the start
                claims.append(origin)
                continue
            weights = torch.full((len(messages),), weight, device=messages.device)
            problem = _Problem(seen.edge, messages, origin, deviation, weights, spread, self.start)
            claims.append(self._solve(problem, rng))
        return Reconstruction(torch.cat(claims), {"prior weight": weight})

    def _beginning(self, seen: SplitObservation, rng: Seeds) -> "_Beginning":
        """Return the map from messages to (start, standard deviation per pixel)."""
        if self.start == "gray":
            shape = seen.image_shape

            def gray(messages: Tensor) -> tuple[Tensor, Tensor]:
                middle = torch.full((len(messages), *shape), 0.5, device=messages.device)
                return middle, middle

            return gray
        network = train_inverse(self.decoder, seen, rng)
        uncertainty = train_uncertainty(network, seen, rng)

        def decoded(messages: Tensor) -> tuple[Tensor, Tensor]:
            origin = rebuild(network, messages)
            with torch.no_grad():
                variance = uncertainty(origin)
            return origin, (variance + FLOOR * variance.mean()).sqrt()

        return decoded

    def _tune(
        self,
        seen: SplitObservation,
        begin: "_Beginning",
        own: Tensor,
        spread: Tensor,
        rng: Seeds,
    ) -> float:
        """Return the prior weight with the best mean PSNR on the attacker's own pictures."""
        messages = seen.query(own)
        origin, deviation = begin(messages)
        tries = len(PRIOR_WEIGHTS)
        weights = torch.tensor(PRIOR_WEIGHTS, device=own.device).repeat_interleave(len(own))
        problem = _Problem(
            seen.edge,
            messages.repeat(tries, *(1 for _ in messages.shape[1:])),
            origin.repeat(tries, 1, 1, 1),
            deviation.repeat(tries, 1, 1, 1),
            weights,
            spread,
            self.start,
        )
        rebuilt = self._solve(problem, rng).unflatten(0, (tries, len(own)))
        candidates = torch.cat([rebuilt, origin[None]])  # staying at the start is one of them
        error = (candidates - own).square().flatten(2).mean(2).clamp_min(1e-12)
        return (*PRIOR_WEIGHTS, math.inf)[int(error.log().mean(1).argmin())]

    def _solve(self, problem: "_Problem", rng: Seeds) -> Tensor:
        """Return the best of all restarts, per picture, by the attacker's own objective."""
        best = problem.descend(problem.origin, self.steps, self.learning_rate)
        lowest = problem.objective(best)
        for attempt in range(1, self.restarts):
            noise = torch.Generator().manual_seed(rng.child("restart", str(attempt)).integer())
            jump = torch.randn(problem.origin.shape[1:], generator=noise).to(problem.origin)
            begun = (problem.origin + problem.deviation * jump).clamp(0, 1)
            found = problem.descend(begun, self.steps, self.learning_rate)
            value = problem.objective(found)
            better = value < lowest
            best = torch.where(better[:, None, None, None], found, best)
            lowest = torch.where(better, value, lowest)
        return best


#: Messages [n, ...] -> (start, standard deviation per pixel), both [n, c, h, w].
_Beginning = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Problem:
    """One batch of independent searches: ``weights`` [n] may differ from picture to picture."""

    edge: nn.Module
    messages: Tensor
    origin: Tensor
    deviation: Tensor
    weights: Tensor
    spread: Tensor
    start: Literal["decoder", "gray"]

    def objective(self, x: Tensor) -> Tensor:
        """Return mean((f(x) - z)^2) / var(z) + weight * prior(x), per picture, [n]."""
        error: Tensor = (self.edge(x) - self.messages).square().flatten(1).mean(1) / self.spread
        if self.start == "gray":
            down = (x[..., 1:, :] - x[..., :-1, :]).square().flatten(1).mean(1)
            right = (x[..., :, 1:] - x[..., :, :-1]).square().flatten(1).mean(1)
            return error + self.weights * (down + right)
        pull = ((x - self.origin) / self.deviation).square()
        # In units of the batch-independent mean variance, so that a weight means the same at
        # every cut: sum (x - d)^2 / v, scaled by the picture's own mean v.
        scale = self.deviation.square().flatten(1).mean(1)
        return error + self.weights * scale * pull.flatten(1).mean(1)

    def descend(self, begun: Tensor, steps: int, learning_rate: float) -> Tensor:
        """Run Adam in units of each pixel's deviation, back into the box after every step."""
        low, high = -self.origin / self.deviation, (1 - self.origin) / self.deviation
        move = ((begun - self.origin) / self.deviation).requires_grad_()
        # eps only guards against 0 / 0: in units of the deviation gradients get as small as 1e-9,
        # and an eps above them turns Adam into slow descent.
        optimizer = torch.optim.Adam([move], learning_rate, betas=(0.9, 0.99), eps=1e-12)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        with torch.enable_grad():
            for _ in range(steps):
                loss = self.objective(self.origin + self.deviation * move).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    move.clamp_(low, high)
        return (self.origin + self.deviation * move.detach()).clamp(0, 1)
