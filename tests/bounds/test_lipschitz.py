import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import norm
from torch import nn

from safelight.bounds.fisher import Noise, gram
from safelight.bounds.lipschitz import convolution_norm, lipschitz, metric_privacy
from safelight.bounds.rero import GaussianDP

DOUBLE = torch.float64


def exact_norm(layer, shape):
    """The largest singular value of a layer's Jacobian at 0, which is the norm if it is linear."""
    matrix = torch.func.jacrev(layer)(torch.zeros(1, *shape, dtype=DOUBLE))
    return float(torch.linalg.matrix_norm(matrix.reshape(-1, math.prod(shape)), 2))


def convolution(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = nn.Conv2d(options.pop("channels", 2), options.pop("out", 4), **options)
    return layer.double().requires_grad_(False)


OPTIONS = {
    "valid": {"kernel_size": 3},
    "zeros": {"kernel_size": 3, "padding": 1},
    "same": {"kernel_size": 4, "padding": "same"},
    "stride": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dilation": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "oblong": {"kernel_size": (1, 5), "padding": (0, 2)},
    "much padding": {"kernel_size": 2, "padding": 5},
    "groups": {"kernel_size": 3, "padding": 1, "groups": 2},
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    "circular, oblong": {"kernel_size": (3, 5), "padding": (1, 2), "padding_mode": "circular"},
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("channels", [(2, 4), (4, 2)])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_norm_of_a_convolution_is_bounded_closely(name, channels):
    layer = convolution(channels=channels[0], out=channels[1], **OPTIONS[name])
    bound, exact = convolution_norm(layer, 8, 9), exact_norm(layer, (channels[0], 8, 9))
    assert bound >= exact
    loose = 2.5 if name == "stride" else 1.25
    assert bound <= loose * exact
    if "circular" in name:
        assert bound == pytest.approx(exact, rel=1e-8)


def test_the_norm_of_an_averaging_kernel_is_reached_where_the_picture_is_large():
    """A kernel of ones has norm 9 on an endless picture; with zeros outside it comes near."""
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=DOUBLE).requires_grad_(False)
    layer.weight.fill_(1)
    assert convolution_norm(layer, 30, 30) == pytest.approx(9)
    assert exact_norm(layer, (1, 30, 30)) > 8.9


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
        {"kernel_size": 3, "padding": 2, "padding_mode": "circular"},  # repeats a border
        {"kernel_size": 9, "padding": 4, "padding_mode": "circular"},  # wraps onto itself
    ],
)
def test_padding_that_repeats_pixels_is_refused(options):
    found = lipschitz(nn.Sequential(convolution(**options)), (2, 8, 9))
    assert found.value is None
    assert "padding" in found.reason


def test_the_bound_of_a_linear_layer_is_tight():
    layer = nn.Linear(12, 7, dtype=DOUBLE).requires_grad_(False)
    found = lipschitz(nn.Sequential(nn.Flatten(), layer), (3, 2, 2))
    assert found.value == pytest.approx(float(torch.linalg.svdvals(layer.weight)[0]))
    assert found.factors[0] == 1


def test_normalization_is_a_depthwise_convolution():
    scale = nn.Conv2d(3, 3, 1, groups=3, dtype=DOUBLE).requires_grad_(False)
    scale.weight.copy_(1 / torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1, 1))
    assert lipschitz(nn.Sequential(scale), (3, 4, 4)).value == pytest.approx(1 / 0.224)


@pytest.mark.parametrize(
    ("pool", "factor"),
    [
        (nn.MaxPool2d(2), 1),
        (nn.MaxPool2d(3, stride=3, ceil_mode=True), 1),
        (nn.MaxPool2d(3, stride=2), 2),
        (nn.MaxPool2d((3, 2), stride=1), math.sqrt(6)),
    ],
)
def test_a_pixel_counts_once_for_each_window_of_a_max_pool(pool, factor):
    assert lipschitz(nn.Sequential(pool), (1, 9, 9)).value == pytest.approx(factor)
    apart = torch.zeros(1, 1, 9, 9, dtype=DOUBLE)
    apart[0, 0, 4, 4] = 1  # the center of the windows: it is the maximum of as many as possible
    assert max(
        float(pool(apart.roll((down, right), (2, 3))).norm()) for down in (0, 1) for right in (0, 1)
    ) == pytest.approx(factor)


def steepest_ratio(edge, picture, step=1e-5):
    """The difference quotient along the direction in which the message changes most."""
    along = torch.linalg.eigh(gram(edge, picture))[1][:, -1].reshape(picture.shape)
    return float((edge((picture + step * along)[None]) - edge(picture[None])).norm()) / step


@st.composite
def edges(draw):
    """Small sequential edges of every certified layer, on 8x8 pictures."""
    seed, channels, side, layers = draw(st.integers(0, 10**6)), 2, 8, []
    for _ in range(draw(st.integers(1, 3))):
        size, step = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        out = draw(st.integers(1, 3))
        mode = draw(st.sampled_from(["zeros", "circular"])) if size == 3 else "zeros"
        layers.append(
            convolution(
                seed,
                channels=channels,
                out=out,
                kernel_size=size,
                stride=step,
                padding=size // 2,
                padding_mode=mode if side > 2 else "zeros",
            )
        )
        channels, side = out, (side + 2 * (size // 2) - size) // step + 1
        layers.append(draw(st.sampled_from([nn.ReLU(), nn.Sigmoid(), nn.Identity()])))
        if side >= 3 and draw(st.booleans()):
            layers.append(nn.MaxPool2d(draw(st.integers(2, 3)), stride=draw(st.integers(1, 2))))
            side = (side - layers[-1].kernel_size) // layers[-1].stride + 1
    if draw(st.booleans()):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            head = nn.Linear(channels * side**2, 5).double().requires_grad_(False)
        layers += [nn.Sequential(nn.Flatten(), head)]
    return nn.Sequential(*layers)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(edge=edges(), seed=st.integers(0, 10**6))
def test_no_pair_of_pictures_beats_the_bound(edge, seed):
    source = torch.Generator().manual_seed(seed)
    bound = lipschitz(edge, (2, 8, 8))
    assert bound.value == pytest.approx(math.prod(bound.factors))
    first, second = torch.randn(2, 200, 2, 8, 8, dtype=DOUBLE, generator=source)
    scale = 10 ** (4 * torch.rand(200, 1, 1, 1, dtype=DOUBLE, generator=source) - 3)
    second = first + scale * second
    gaps = (edge(first) - edge(second)).flatten(1).norm(dim=1)
    assert float((gaps / (first - second).flatten(1).norm(dim=1)).max()) <= bound.value
    assert steepest_ratio(edge, first[0]) <= bound.value * (1 + 1e-6)


def test_half_the_bound_is_beaten():
    """The property above can fail: on one convolution the steepest pair comes within 10 %."""
    edge = nn.Sequential(convolution(kernel_size=3, padding=1))
    ratio = steepest_ratio(edge, torch.rand(2, 8, 8, dtype=DOUBLE))
    assert 0.9 < ratio / lipschitz(edge, (2, 8, 8)).value <= 1


class Louder(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(2), nn.GELU(), Louder(), nn.MaxPool2d(2, dilation=2)]
)
def test_what_is_not_certified_is_refused_by_name(layer):
    found = lipschitz(nn.Sequential(nn.ReLU(), layer), (2, 8, 8))
    assert found.value is None
    assert type(layer).__name__ in found.reason
    assert found.factors == (1.0,)
    privacy = metric_privacy(found, 1.0, Noise("gaussian", 1.0))
    assert (privacy.mu, privacy.holds) == (None, "unknown")
    assert privacy.renyi(2) is privacy.delta(1) is None
    assert type(layer).__name__ in privacy.record().detail


def linear_privacy(noise, distance=0.4):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        edge = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, dtype=DOUBLE))
    constant = lipschitz(edge, (1, 2, 2))
    return metric_privacy(constant, distance, noise), constant.value


def test_worked_numbers_of_metric_privacy():
    """Alpha L^2 D^2 / (2 s^2) between two messages, against the integral of its definition."""
    privacy, constant = linear_privacy(Noise("gaussian", 0.5))
    shift, alpha = constant * 0.4, 3.0
    assert privacy.holds == "yes"
    assert privacy.renyi(alpha) == pytest.approx(alpha * shift**2 / (2 * 0.5**2))
    value, _ = integrate.quad(
        lambda z: norm.pdf(z, shift, 0.5) ** alpha * norm.pdf(z, 0, 0.5) ** (1 - alpha), -9, 9
    )
    assert privacy.renyi(alpha) == pytest.approx(math.log(value) / (alpha - 1), rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_delta_is_the_mass_beyond_epsilon(epsilon):
    privacy, constant = linear_privacy(Noise("gaussian", 0.5), distance=1.0)
    z = np.linspace(-12, 12, 400_001)
    beyond = norm.pdf(z, constant, 0.5) - math.exp(epsilon) * norm.pdf(z, 0, 0.5)
    mass = integrate.trapezoid(np.maximum(beyond, 0), z)
    assert privacy.delta(epsilon) == pytest.approx(mass, abs=1e-6)


def test_the_best_test_between_two_messages_attains_mu():
    """Two pictures apart along the steepest direction of a linear edge, by simulation."""
    privacy, constant = linear_privacy(Noise("gaussian", 0.5, sends=4))
    shift, count = constant * 0.4, 200_000
    draw = np.random.default_rng(0).normal(size=(2, count, 4)).mean(2) * 0.5
    threshold = norm.isf(0.1) * 0.25
    missed = (draw[0] + shift <= threshold).mean()
    promised = GaussianDP(privacy.mu).tradeoff(np.array([(draw[1] > threshold).mean()]))[0]
    assert missed == pytest.approx(promised, abs=0.01)


def test_privacy_falls_with_distance_and_sends_and_grows_with_noise():
    constant = lipschitz(nn.Sequential(nn.Identity()), (1, 2, 2))

    def mu(distance, scale, sends):
        return metric_privacy(constant, distance, Noise("gaussian", scale, sends)).mu

    assert mu(1, 1, 1) == 1
    assert mu(3, 1, 1) == 3
    assert mu(1, 2, 1) == 0.5
    assert mu(1, 1, 9) == 3
    assert metric_privacy(constant, 0, Noise("gaussian", 1.0)).delta(0.1) == 0


def test_a_deterministic_edge_proves_nothing_and_laplace_noise_nothing_yet():
    privacy, _ = linear_privacy(Noise("gaussian", 0.0))
    assert (privacy.mu, privacy.holds) == (None, "no")
    assert "without randomness" in privacy.detail
    privacy, _ = linear_privacy(Noise("laplace", 1.0))
    assert (privacy.mu, privacy.holds) == (None, "unknown")
    assert "laplace" in privacy.detail
