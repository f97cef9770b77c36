"""Quadratics are the best there are, and folding them into matrices changes nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from safelight.encryption import circuit
from safelight.encryption.circuit import REACH, Matrix, Shift, Square, approximate, quadratics
from safelight.encryption.tail import Activation, Linear, Tail


def draws(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def linear(width, out, seed):
    return Linear(draws(out, width, seed=seed) / width**0.5, draws(out, seed=seed + 1))


RELU = Activation("relu", torch.relu)
SQUARE = Activation("square", torch.square)


def test_quadratics_are_least_squares():
    x = torch.rand(400, 5, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    y = torch.relu(x + torch.linspace(-0.6, 0.6, 5).double()) + 0.1 * draws(400, 5)
    factor, shift, constant = quadratics(x, y)
    for unit in range(5):
        best = np.polyfit(x[:, unit].numpy(), y[:, unit].numpy(), 2)
        c2, c1 = float(factor[unit]), float(2 * factor[unit] * shift[unit])
        found = [c2, c1, float(constant[unit] + factor[unit] * shift[unit] ** 2)]
        np.testing.assert_allclose(found, best, atol=1e-6)


def test_a_line_is_met_within_reach_and_a_dead_unit_exactly():
    x = torch.linspace(-1, 1, 101).double()[:, None].repeat(1, 3)
    y = torch.stack([3 * x[:, 0] + 1, torch.zeros(101).double(), -2 * x[:, 2]], 1)
    factor, shift, constant = quadratics(x, y)
    assert shift.abs().max() <= REACH + 1e-6
    error = (constant + factor * (x + shift) ** 2 - y).abs().amax(0)
    assert error[1] < 1e-9
    assert (error <= torch.tensor([3, 0, 2]) / (2 * REACH) + 1e-6).all()


@pytest.mark.parametrize("first", [True, False])
def test_a_tail_of_squares_is_computed_exactly(first):
    layers = [SQUARE, linear(12, 7, 1), SQUARE, linear(7, 3, 3)]
    tail = Tail(tuple(layers if first else [linear(12, 12, 5), *layers]), ())
    seen, unseen = draws(300, 12), draws(50, 12, seed=9)
    found = approximate(tail, seen)
    expected = tail.exact(unseen).numpy()
    np.testing.assert_allclose(found.plain(unseen.numpy()), expected, rtol=1e-5, atol=1e-5)
    assert [type(step) for step in found.steps][: 2 - first] == (
        [Shift] if first else [Matrix, Square]
    )
    assert found.levels == (4 if first else 5)
    assert found.classes == 3


def test_a_later_quadratic_makes_up_for_an_earlier_one():
    """Fitted by itself on what the network's own activations put out, it would not."""
    torch.manual_seed(0)
    tail = Tail((linear(20, 30, 1), RELU, linear(30, 30, 3), RELU, linear(30, 4, 5)), ())
    seen, unseen = draws(4000, 20), draws(2000, 20, seed=9)
    error = approximate(tail, seen).plain(unseen.numpy()) - tail.exact(unseen).numpy()
    null = tail.exact(seen).numpy().mean(0) - tail.exact(unseen).numpy()
    assert np.sqrt((error**2).mean()) < 0.35 * np.sqrt((null**2).mean())


def test_the_last_matrix_is_corrected_for_what_quadratics_leave_wrong(monkeypatch):
    """Units that see the same few causes, none of them Gaussian, err together."""
    tail = Tail((linear(20, 30, 1), RELU, linear(30, 4, 5)), ())
    mix = draws(3, 20, seed=7)
    seen, unseen = (draws(4000, 3, seed=one).abs() @ mix for one in (0, 9))
    expected = tail.exact(unseen).numpy()
    corrected = approximate(tail, seen).plain(unseen.numpy())
    monkeypatch.setattr(circuit, "_corrected", lambda found, *_: found)
    plain = approximate(tail, seen).plain(unseen.numpy())
    assert np.square(corrected - expected).mean() < 0.9 * np.square(plain - expected).mean()


def test_no_correction_is_made_from_noise():
    """Errors that no feature tells of: whatever is fitted to them is worse where it is picked."""
    step = Matrix(draws(3, 40).numpy(), draws(3).numpy())
    found = circuit._corrected(
        circuit.Circuit(40, (step,)),
        (x := draws(300, 40, seed=1).numpy()),
        x @ step.weight.T + step.bias + draws(300, 3, seed=2).numpy(),
    )
    assert np.abs(found.steps[0].weight - step.weight).max() < 0.15


def test_no_activation_is_no_quadratic():
    tail = Tail((linear(20, 4, 1),), ())
    x = draws(50, 20)
    np.testing.assert_allclose(approximate(tail, x).plain(x.numpy()), tail.exact(x).numpy())


@pytest.mark.parametrize("size", [1.0, 1e4, 1e9])
def test_sums_fit_the_modulus_whatever_the_size_of_the_weights(size):
    big = linear(12, 3, 1)
    tail = Tail((RELU, Linear(size * big.weight, size * big.bias)), ())
    x = draws(500, 12)
    found = approximate(tail, x)
    last = found.steps[-1]
    inside = (x.numpy() + found.steps[0].bias) ** 2
    assert (inside @ np.abs(last.weight).T).max() <= 2.0**10
    assert (found.gain > 1) == (size > 1)


def test_the_network_is_met_where_torch_trained_it():
    """The same by PyTorch's own modules, for a network that is not one of ours."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(10, 16), nn.SiLU(), nn.Linear(16, 2)).double().eval()
    with torch.no_grad():
        x, unseen = draws(3000, 10), draws(500, 10, seed=2)
        layers = (
            Linear(network[0].weight, network[0].bias),
            Activation("silu", nn.functional.silu),
            Linear(network[2].weight, network[2].bias),
        )
        found = approximate(Tail(layers, ()), x).plain(unseen.numpy())
        np.testing.assert_allclose(found, network(unseen).numpy(), atol=0.1)
