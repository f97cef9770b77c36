"""A tail as additions, matrices and squares: what CKKS computes, and nothing else.

An activation between two matrices becomes a quadratic for each unit by itself, fitted by least
squares to what public pictures send through it:

    a(x) ~ c0 + c1 x + c2 x^2 = k + c2 (x + s)^2,   s = c1 / (2 c2),   k = c0 - c2 s^2

The shift s moves into the bias of the matrix before, k and c2 into the matrix behind, so that an
activation costs one multiplication of encrypted numbers and no other. The last matrix is then
corrected by ridge regression of what the quadratics leave wrong, on public pictures again.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.encryption.tail import Linear, Tail

Array = NDArray[np.float64]

#: Largest shift in units of the largest value seen. A unit that is all but linear would ask for an
#: infinite one, and (x + s)^2 - s^2 would cancel; at 20, a straight line is met to 2.5 % of the
#: range, and at most three digits are lost.
REACH = 20.0

#: Largest sum of a last matrix, over its entries' magnitudes and public messages. Before its
#: rescaling a sum has 80 of 100 bits after the point: beyond 2^19 it would wrap around.
_LARGEST_SUM = 2.0**10

#: Penalties of the correction, on features of variance 1, and the share of public pictures that
#: picks one of them, or none.
_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
_PICKING = 0.25

#: Added to the normal equations (of values in [-1, 1]): a unit that is constant on public pictures
#: has no unique quadratic.
_RIDGE = 1e-9


@dataclass(frozen=True)
class Shift:
    """``x -> x + bias``; costs no level."""

    bias: Array


@dataclass(frozen=True)
class Matrix:
    """``x -> weight x + bias``, weight [out, in]; costs one level."""

    weight: Array
    bias: Array


@dataclass(frozen=True)
class Square:
    """``x -> x * x``; costs one level."""


Step = Shift | Matrix | Square


@dataclass(frozen=True)
class Circuit:
    """What the cloud computes on one message of ``width`` numbers, in order.

    What comes out is the answer over ``gain``, by which the device multiplies.
    """

    width: int
    steps: tuple[Step, ...]
    gain: float = 1.0

    @property
    def levels(self) -> int:
        """Multiplications one after the other."""
        return sum(not isinstance(step, Shift) for step in self.steps)

    @property
    def classes(self) -> int:
        """Numbers in an answer."""
        return next(len(one.bias) for one in reversed(self.steps) if isinstance(one, Matrix))

    def plain(self, messages: Array) -> Array:
        """Compute in the clear: messages [n, width] -> answers [n, classes]."""
        for step in self.steps:
            if isinstance(step, Matrix):
                messages = messages @ step.weight.T + step.bias
            elif isinstance(step, Shift):
                messages = messages + step.bias
            else:
                messages = messages * messages
        return self.gain * messages


@torch.no_grad()
def approximate(tail: Tail, messages: Tensor) -> Circuit:
    """Return the circuit of a tail, its quadratics fitted on messages [n, ...] of public pictures.

    Later activations are fitted on what earlier quadratics put out, to what the network itself
    holds at that place of the same picture: the second makes up for errors of the first.
    """
    true = seen = messages.flatten(1).double().cpu()
    width = true.shape[1]
    steps: list[Step] = []
    factor: Tensor = torch.ones(width).double()
    constant: Tensor = torch.zeros(width).double()
    for layer in tail.layers:
        if isinstance(layer, Linear):
            weight = (layer.weight * factor).numpy()
            steps.append(Matrix(weight, (layer.bias + layer.weight @ constant).numpy()))
            true, seen = (one @ layer.weight.T + layer.bias for one in (true, seen))
            continue
        true = layer.apply(true)
        largest = seen.abs().amax(0).clamp_min(1e-12)
        factor, shift, constant = quadratics(seen / largest, true)
        seen = constant + factor * (seen / largest + shift) ** 2
        before = steps[-1] if steps else None
        if isinstance(before, Matrix):
            rows = 1 / largest.numpy()
            bias = rows * before.bias + shift.numpy()
            steps[-1] = Matrix(rows[:, None] * before.weight, bias)
        else:  # g (x / m + s)^2 = (g / m^2) (x + m s)^2: the message comes as it is
            steps.append(Shift((largest * shift).numpy()))
            factor = factor / largest**2
        steps.append(Square())
    given = messages.flatten(1).double().cpu().numpy()
    circuit = Circuit(width, tuple(steps))
    if any(isinstance(step, Square) for step in steps):
        circuit = _corrected(circuit, given, true.numpy())
    return _held(circuit, given)


def _corrected(circuit: Circuit, messages: Array, answers: Array) -> Circuit:
    """Add to the last matrix what predicts the errors of answers [n, classes] best, if anything."""
    features = _before(circuit).plain(messages)
    left = answers - circuit.plain(messages)
    center, spread = features.mean(0), features.std(0)
    features = (features - center) / np.where(spread > _RIDGE, spread, np.inf)
    kept = len(features) - round(_PICKING * len(features))
    if kept < 2 or kept == len(features):
        return circuit
    errors = [(np.square(left[kept:]).mean(), 0.0)]
    for penalty in _PENALTIES:
        slope, offset = _ridge(features[:kept], left[:kept], penalty)
        off = left[kept:] - features[kept:] @ slope - offset
        errors.append((np.square(off).mean(), penalty))
    best = min(errors)[1]
    if not best:
        return circuit
    slope, offset = _ridge(features, left, best)
    turn = slope.T / np.where(spread > _RIDGE, spread, np.inf)
    last = _last(circuit)
    corrected = Matrix(last.weight + turn, last.bias + offset - turn @ center)
    return Circuit(circuit.width, (*circuit.steps[:-1], corrected))


def _ridge(x: Array, y: Array, penalty: float) -> tuple[Array, Array]:
    """Return slope [d, classes] and offset [classes] of ``y ~ x slope + offset``."""
    center, offset = x.mean(0), y.mean(0)
    normal = (x - center).T @ (x - center) / len(x) + penalty * np.eye(x.shape[1])
    slope = np.linalg.solve(normal, (x - center).T @ (y - offset) / len(x))
    return slope, offset - center @ slope


def _before(circuit: Circuit) -> Circuit:
    """Return a circuit without its last matrix."""
    return Circuit(circuit.width, circuit.steps[:-1])


def _last(circuit: Circuit) -> Matrix:
    last = circuit.steps[-1]
    if not isinstance(last, Matrix):
        raise TypeError("a tail ends with a linear layer")
    return last


def _held(circuit: Circuit, messages: Array) -> Circuit:
    """Divide the last matrix by a power of two if its sums would not fit the modulus."""
    last, seen = _last(circuit), _before(circuit).plain(messages)
    peak = float((np.abs(seen) @ np.abs(last.weight).T + np.abs(last.bias)).max())
    gain = 2.0 ** max(0, int(np.ceil(np.log2(max(peak, 1e-300) / _LARGEST_SUM))))
    return Circuit(
        circuit.width, (*circuit.steps[:-1], Matrix(last.weight / gain, last.bias / gain)), gain
    )


def quadratics(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit ``y ~ constant + factor (x + shift)^2`` for each column by least squares.

    Args:
        x: inputs [n, d] in [-1, 1], float64.
        y: values [n, d].

    Returns:
        (factor, shift, constant), each [d]; no shift is larger than ``REACH``.
    """
    powers = torch.stack([torch.ones_like(x), x, x * x], -1)
    normal = torch.einsum("ndi,ndj->dij", powers, powers) / len(x)
    right = torch.einsum("ndi,nd->di", powers, y) / len(x)
    c0, c1, c2 = torch.linalg.solve(normal + _RIDGE * torch.eye(3).double(), right).unbind(-1)
    # Where the best quadratic is all but a line: the one whose shift is as large as may be.
    straight = c1.abs() > 2 * REACH * c2.abs()
    side = torch.where(c2 < 0, -1.0, 1.0).double()
    bent = x + side * x * x / (2 * REACH)
    centered = bent - bent.mean(0)
    slope = (centered * y).sum(0) / centered.square().sum(0).clamp_min(1e-12)
    c1 = torch.where(straight, slope, c1)
    c0 = torch.where(straight, y.mean(0) - slope * bent.mean(0), c0)
    c2 = torch.where(straight, side * slope / (2 * REACH), c2)
    shift = torch.where(c2 == 0, torch.zeros_like(c1), c1 / (2 * torch.where(c2 == 0, 1.0, c2)))
    return c2, shift, c0 - c2 * shift**2
