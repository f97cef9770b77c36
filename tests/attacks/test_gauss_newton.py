import dataclasses

import pytest
import torch
from torch import nn

from safelight.attacks.inversion.gauss_newton import GaussNewton
from safelight.cache import Cache
from safelight.metrics.image import psnr
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.testing.attacks import AttackContract
from safelight.threats.split_inference import SplitInference


class TestGaussNewton(AttackContract):
    attack = GaussNewton(steps=15, inner_steps=20)


class Glimpse:
    """What the attack reads of an observation, for edges that no threat would make."""

    def __init__(self, edge: nn.Module, pictures: torch.Tensor) -> None:
        self.edge = edge.eval().requires_grad_(False)
        self.image_shape = tuple(pictures.shape[1:])
        with torch.no_grad():
            self.messages = self.edge(pictures)

    def informative(self, messages):
        return torch.ones_like(messages)


class Matrix(nn.Module):
    """A linear edge with a random matrix, [n, c, h, w] -> [n, numbers]."""

    def __init__(self, pixels: int, numbers: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(numbers, pixels, generator=draw) / pixels**0.5
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight.T


class Staircase(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (8 * x).round()


def _pictures(count=6, size=8, channels=1):
    draw = torch.Generator().manual_seed(1)
    return torch.rand(count, channels, size, size, generator=draw)


def _met(cut, cache, victims=40):
    threat = SplitInference(cut=cut)
    return threat.meet(worlds.lenet(), worlds.digits(victims), torch.device("cpu"), cache)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_linear_edge_is_solved_as_lapack_solves_it(channels):
    pictures = _pictures(channels=channels)
    edge = Matrix(pictures[0].numel(), 2 * pictures[0].numel())
    seen = Glimpse(edge, pictures)
    claim = GaussNewton().run(seen, Seeds(0)).images
    solved = torch.linalg.lstsq(edge.weight.double(), seen.messages.double().T).solution.T
    assert (claim.flatten(1) - solved).abs().max() < 1e-5


def test_with_noise_the_answer_is_the_least_squares_solution_in_the_box():
    """Karush-Kuhn-Tucker: no slope inside, at either end a slope that points outward."""
    pictures = _pictures().round()
    seen = Glimpse(Matrix(64, 128), pictures)
    draw = torch.Generator().manual_seed(2)
    seen.messages = seen.messages + 0.1 * torch.randn(seen.messages.shape, generator=draw)
    claim = GaussNewton(steps=80).run(seen, Seeds(0)).images
    error = seen.edge(claim) - seen.messages
    slope = (error @ seen.edge.weight).reshape(claim.shape)
    inside = (claim > 0) & (claim < 1)
    assert inside.any()
    assert (claim == 0).any()
    assert (claim == 1).any()
    assert slope[inside].abs().max() < 1e-3
    assert slope[claim == 0].min() > -1e-3
    assert slope[claim == 1].max() < 1e-3


def test_what_the_message_leaves_open_is_filled_in_flat():
    """Two halves, black and white, from a third as many numbers as pixels."""
    pictures = torch.zeros(3, 1, 12, 12)
    pictures[:, :, :, 6:] = 1
    seen = Glimpse(Matrix(144, 48), pictures)
    claim = GaussNewton().run(seen, Seeds(0)).images
    assert psnr(claim, pictures).min() > 40


def test_the_first_convolution_is_inverted_to_the_precision_of_float32(tmp_path):
    seen, secret = _met("conv1", Cache(tmp_path))
    claim = GaussNewton(steps=12).run(seen, Seeds(0)).images
    assert psnr(claim, secret.victims.images).mean() > 115


def test_the_second_activation_is_inverted_without_a_picture(tmp_path):
    seen, secret = _met("relu2", Cache(tmp_path), 20)
    claim = GaussNewton().run(seen.restricted(GaussNewton.needs), Seeds(0)).images
    assert psnr(claim, secret.victims.images).mean() > 28


def test_a_victim_does_not_depend_on_its_batch(tmp_path):
    seen, secret = _met("relu2", Cache(tmp_path), 20)
    attack = GaussNewton(steps=8)
    whole = attack.run(seen, Seeds(0)).images
    parts = dataclasses.replace(attack, batch_size=7).run(seen, Seeds(0)).images
    truth = secret.victims.images
    assert (psnr(whole, truth) - psnr(parts, truth)).abs().max() < 0.5


@pytest.mark.parametrize("edge", [nn.Sequential(Staircase()), nn.Sequential(nn.Threshold(2, 0.0))])
def test_an_edge_without_gradient_leaves_the_pictures_gray(edge):
    pictures = _pictures()
    seen = Glimpse(edge, pictures)
    claim = GaussNewton(restarts=1).run(seen, Seeds(0)).images
    assert (claim == 0.5).all()


def test_known_noise_ends_the_search_before_it_is_fitted(tmp_path):
    seen, secret = _met("conv1", Cache(tmp_path))
    noise = torch.randn(seen.messages.shape, generator=torch.Generator().manual_seed(3))
    noisy = Glimpse(seen.edge, secret.victims.images)
    noisy.messages = noisy.messages + 0.3 * noisy.messages.std() * noise
    attack = GaussNewton(steps=20, restarts=1)
    fitted = attack.run(noisy, Seeds(0)).images
    stopped = dataclasses.replace(attack, misfit=0.3**2).run(noisy, Seeds(0)).images
    truth = secret.victims.images
    assert psnr(stopped, truth).mean() > psnr(fitted, truth).mean() + 1
