"""Gauss-Newton: solve for the pictures with second-order steps; exact where the cut is linear."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation

MARQUARDT_1963 = Reference(
    key="marquardt1963",
    authors="Marquardt, Donald W.",
    title="An Algorithm for Least-Squares Estimation of Nonlinear Parameters",
    year=1963,
    venue="Journal of the Society for Industrial and Applied Mathematics 11(2), 431-441",
    doi="10.1137/0111030",
)

#: Differences between neighbors well below this are noise to total variation, above it edges.
EDGE = 3e-3

#: A search that leaves more than this share of the message's variance unexplained has got stuck
#: (a rectifier that is off has no gradient); it is begun again.
STUCK = 1e-2

#: The systems are solved to this relative residual: what is left is less than what the linear
#: model misses.
PRECISION = 1e-2


@dataclass(frozen=True, kw_only=True)
class GaussNewton(InversionAttack):
    """Fit the message by damped Gauss-Newton steps, while total variation fades out; no pictures.

    Minimizes, per victim and inside the box [0, 1],
    ``sum((f(x) - z)^2) / (2 var(z)) + t TV(x)`` with t falling to nothing: where the message
    determines the picture, it decides alone, and what it leaves open is filled in piecewise
    flat. Every step solves, with the Jacobian J of f at x,

    ``(J'J + t L + m I) d = -(J'(f(x) - z) + t L x)``

    (Marquardt 1963; L is the operator of total variation with lagged weights, Vogel and Oman
    1996) by conjugate gradients over the pixels that are not held at an end of [0, 1] (More and
    Toraldo 1991). No matrix is ever formed. Each victim has its own damping m, moved by how well
    the step was predicted, and its own t, which falls fast where f proves to be linear and
    injective: such a cut is solved to the precision of float32 in a few steps.

    Attributes:
        steps: linear systems, at most.
        inner_steps: of conjugate gradients, for each system at most.
        smoothness: t at the start, as a share of the curvature of the misfit.
        fading: factor on t after a step; as low as a tenth instead where the message determines
            the picture and the linear model predicted the step.
        damping: m at the start, as a share of the same curvature.
        misfit: the search ends at this mean squared error, as a share of var(z). Take the square
            of the noise where the device is known to add some.
        restarts: searches for a victim whose message stays unexplained; the first is from gray.
        batch_size: victims at once.
    """

    reference: ClassVar[Reference] = MARQUARDT_1963
    needs: ClassVar[Needs] = Needs(messages=True, weights=True)

    steps: Count = 50
    inner_steps: Count = 40
    smoothness: Positive = 0.03
    fading: Positive = 0.8
    damping: Positive = 0.03
    misfit: Positive = 1e-12
    restarts: Count = 3
    batch_size: Count = 100

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of one search per victim: J v and J'u take about a step's three."""
        gray = torch.full((1, *seen.image_shape), 0.5, device=seen.messages.device)
        products = self.steps * (self.inner_steps + 2)
        return 3 * products * len(seen.messages) * forward_flops(seen.edge, gray)

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim."""
        spread = seen.messages.var().clamp_min(1e-12)
        claims, left = [], []
        for messages in seen.messages.split(self.batch_size):
            heard = seen.informative(messages)
            problem = _Problem(seen.edge, messages, heard, spread)
            gray = torch.full((len(messages), *seen.image_shape), 0.5, device=messages.device)
            images = self._solve(problem, gray, rng)
            claims.append(images)
            left.append(problem.unexplained(images))
        return Reconstruction(torch.cat(claims), {"unexplained": float(torch.cat(left).mean())})

    def _solve(self, problem: "_Problem", gray: Tensor, rng: Seeds) -> Tensor:
        """Search from gray; where that gets stuck, from noise, and keep what explains more."""
        draw = torch.Generator().manual_seed(rng.child("gauss newton").integer())
        probe = torch.randn(gray.shape[1:], generator=draw).to(gray)
        best = self._search(problem, gray, probe)
        for _ in range(1, self.restarts):
            left = problem.unexplained(best)
            stuck = (left > max(STUCK, 2 * self.misfit)).nonzero()[:, 0]
            if not len(stuck):
                break
            noise = torch.rand(gray.shape[1:], generator=draw).to(gray)
            again = problem.only(stuck)
            found = self._search(again, noise.expand(len(stuck), *noise.shape), probe)
            better = again.unexplained(found) < left[stuck]
            best[stuck] = torch.where(_each(better), found, best[stuck])
        return best

    def _search(self, problem: "_Problem", begun: Tensor, probe: Tensor) -> Tensor:
        """Take steps until every message is explained to ``misfit``, or all steps are taken."""
        x, top = begun.clone(), problem.curvature(begun)
        smooth, damp = self.smoothness * top, self.damping * top
        loose = problem.left_open(begun, probe, self.inner_steps)
        for _ in range(self.steps):
            going = problem.unexplained(x) > self.misfit
            if not going.any():
                break
            model = _Linear(problem, x)
            flat = _Flatness(x)
            slope = model.back(model.error) + _each(smooth) * flat(x)
            held = ((x <= 0) & (slope > 0)) | ((x >= 1) & (slope < 0))
            free = (~held & _each(going)).to(x)
            move = _conjugate_gradients(
                _system(model, flat, smooth, damp, free), -slope * free, self.inner_steps
            )
            trial = (x + move).clamp(0, 1)
            step = trial - x
            foreseen, error = model.forth(step), problem.error(trial)
            gain = _energy(model.error) - _energy(error)
            gain = gain + smooth * (_variation(x) - _variation(trial))
            bent = _energy(foreseen) + smooth * _dot(step, flat(step)) / 2
            promised = -_dot(slope, step) - bent
            better = (gain > 0) & going
            good = better & (gain > 0.5 * promised)
            x = torch.where(_each(better), trial, x)
            damp = torch.where(good, damp / 2, torch.where(better, damp, damp * 4))
            damp = damp.maximum(1e-10 * top)
            # What share of the message's change did the linear model miss? Below 1 % it is exact.
            missed = _energy(error - model.error - foreseen) / _energy(foreseen).clamp_min(1e-30)
            fading = 10 * missed.sqrt().maximum(loose)
            fading = fading.clamp(min(0.1, self.fading), self.fading)
            smooth = smooth * torch.where(better, fading, torch.ones_like(fading))
        return x


@dataclass(frozen=True)
class _Problem:
    """Messages to explain, in units of their standard deviation, where they say something."""

    edge: nn.Module
    messages: Tensor
    heard: Tensor
    spread: Tensor

    def only(self, rows: Tensor) -> "_Problem":
        """Return the problem of some victims."""
        return _Problem(self.edge, self.messages[rows], self.heard[rows], self.spread)

    def map(self, x: Tensor) -> Tensor:
        """Return f(x) / deviation."""
        out: Tensor = self.heard * self.edge(x) / self.spread.sqrt()
        return out

    def error(self, x: Tensor) -> Tensor:
        """Return (f(x) - z) / deviation."""
        with torch.no_grad():
            out: Tensor = self.heard * (self.edge(x) - self.messages) / self.spread.sqrt()
        return out

    def unexplained(self, x: Tensor) -> Tensor:
        """Return the mean squared error per victim as a share of the variance, [n]."""
        return self.error(x).square().flatten(1).mean(1)

    def left_open(self, x: Tensor, probe: Tensor, steps: int) -> Tensor:
        """Return what share of a picture the messages around x do not determine, [n].

        A random picture v is solved for from J v: what does not come back is left open.
        """
        model = _Linear(self, x)
        v = probe.expand_as(x)
        image = model.back(model.forth(v))
        found = _conjugate_gradients(lambda d: model.back(model.forth(d)), image, steps)
        return _energy(v - found) / _energy(v)

    def curvature(self, x: Tensor) -> Tensor:
        """Return |J g|^2 / |g|^2 along the slope g of the misfit, [n]; 0 where that is 0."""
        model = _Linear(self, x)
        slope = model.back(model.error)
        return 2 * _energy(model.forth(slope)) / _dot(slope, slope).clamp_min(1e-30)


class _Linear:
    """The edge around x, to first order: products with its Jacobian J and with J', matrix-free.

    J v is the derivative of J'u, which is linear in u, with respect to u: two backward passes
    that share one forward pass.
    """

    def __init__(self, problem: _Problem, x: Tensor) -> None:
        self.error = problem.error(x)
        with torch.enable_grad():
            self.x = x.detach().requires_grad_()
            # Zeros that depend on x and u: an edge may ignore its input, or be a staircase.
            self.out = problem.map(self.x) + 0 * self.x.sum()
            self.u = torch.zeros_like(self.out).requires_grad_()
            (back,) = torch.autograd.grad(self.out, self.x, self.u, create_graph=True)
            self.of_u = back + 0 * self.u.sum()

    def forth(self, v: Tensor) -> Tensor:
        """Return J v, shaped like the messages."""
        return torch.autograd.grad(self.of_u, self.u, v, retain_graph=True)[0].detach()

    def back(self, u: Tensor) -> Tensor:
        """Return J'u, shaped like the pictures."""
        return torch.autograd.grad(self.out, self.x, u, retain_graph=True)[0].detach()


class _Flatness:
    """The operator L of total variation at x: L y = D'(D y / |D x|), D the differences."""

    def __init__(self, x: Tensor) -> None:
        self.weight = 1 / _steepness(x)

    def __call__(self, y: Tensor) -> Tensor:
        """Apply it to pictures [n, c, h, w]."""
        down, right = (self.weight * one for one in _differences(y))
        out = -(down + right)
        out[..., 1:, :] += down[..., :-1, :]
        out[..., :, 1:] += right[..., :, :-1]
        return out


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next pixel below minus this one, and to the right; 0 at the border."""
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    down[..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    right[..., :, :-1] = x[..., :, 1:] - x[..., :, :-1]
    return down, right


def _steepness(x: Tensor) -> Tensor:
    """Return |D x| per pixel, over all channels together and never 0, [n, 1, h, w]."""
    down, right = _differences(x)
    return ((down.square() + right.square()).sum(1, keepdim=True) + EDGE**2).sqrt()


def _variation(x: Tensor) -> Tensor:
    """Return the total variation of every picture, [n]."""
    return _steepness(x).flatten(1).sum(1)


def _system(
    model: _Linear, flat: _Flatness, smooth: Tensor, damp: Tensor, free: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return v -> (J'J + t L + m I) v among the free pixels."""

    def apply(v: Tensor) -> Tensor:
        curved = model.back(model.forth(v)) + _each(smooth) * flat(v) + _each(damp) * v
        return free * curved

    return apply


def _conjugate_gradients(system: Callable[[Tensor], Tensor], right: Tensor, steps: int) -> Tensor:
    """Solve ``system(d) = right`` for every victim at once, each with its own step lengths.

    One whose residual is small enough, or along whose direction nothing curves, stands still.
    """
    found, residual, direction = torch.zeros_like(right), right, right
    size = enough = _dot(right, right)
    for _ in range(steps):
        curved = system(direction)
        curvature = _dot(direction, curved)
        active = (size > PRECISION**2 * enough) & (curvature > 0)
        if not active.any():
            break
        length = torch.where(active, size / curvature.clamp_min(1e-38), torch.zeros_like(size))
        found = found + _each(length) * direction
        residual = residual - _each(length) * curved
        new = torch.where(active, _dot(residual, residual), size)
        direction = residual + _each(new / size.clamp_min(1e-38)) * direction
        size = new
    return found


def _each(value: Tensor) -> Tensor:
    """Shape one number per victim [n] like pictures [n, 1, 1, 1]."""
    return value[:, None, None, None]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product per victim, [n]."""
    return (a * b).flatten(1).sum(1)


def _energy(error: Tensor) -> Tensor:
    """Return half the squared norm per victim, [n]."""
    return error.square().flatten(1).sum(1) / 2
