"""StyleGAN3's filters against scipy's, and the equivariance that they are there for."""

import itertools
import math

import numpy as np
import pytest
import scipy.signal
import torch

from safelight.errors import LoadError
from safelight.targets.generators.stylegan3 import stylegan3
from safelight.targets.generators.stylegan3_filters import bands, low_pass


@pytest.mark.parametrize(
    ("taps", "cutoff", "half_width", "rate"),
    [(12, 2, 6, 32), (24, 3.4, 4.6, 64), (13, 16, 3.7, 64), (6, 4, 0.5, 32)],
)
def test_a_filter_is_that_of_kaiser(taps, cutoff, half_width, rate):
    own = low_pass(taps, cutoff, 2 * half_width, rate, radial=False).numpy()
    expected = scipy.signal.firwin(taps, cutoff, width=2 * half_width, fs=rate)
    assert np.allclose(own, expected, atol=1e-7)


def test_a_radial_filter_passes_low_frequencies_in_every_direction():
    fir = low_pass(24, 8, 8, 64, radial=True)
    assert torch.allclose(fir, fir.t())
    assert torch.allclose(fir, fir.flip(0))
    assert fir.sum() == pytest.approx(1)
    spectrum = torch.fft.fftshift(torch.fft.fft2(fir, (64, 64))).abs()  # one bin per cycle
    away = torch.hypot(*torch.meshgrid(*[torch.arange(-32.0, 32)] * 2, indexing="ij"))
    assert (spectrum[away < 3] - 1).abs().max() < 0.05
    assert spectrum[away > 14].max() < 0.02
    ring = spectrum[(away > 7.9) & (away < 8.1)]
    assert ring.std() < 0.03


def test_one_tap_is_no_filter_and_thousands_are_refused():
    assert low_pass(1, 2, 4, 32, radial=False) is None
    with pytest.raises(LoadError, match="100000 taps"):
        low_pass(100000, 2, 4, 32, radial=True)


def test_the_layers_are_those_of_the_published_1024_network():
    with torch.device("meta"):
        generator = stylegan3(1024)
    assert generator.num_ws == 16
    assert generator.synthesis.layer_names == [
        *("L0_36_512", "L1_36_512", "L2_52_512", "L3_52_512", "L4_84_512"),
        *("L5_148_512", "L6_148_512", "L7_276_323", "L8_276_203", "L9_532_128"),
        *("L10_1044_81", "L11_1044_51", "L12_1044_32", "L13_1024_32", "L14_1024_3"),
    ]


def test_cutoffs_grow_geometrically_up_to_the_critical_layers():
    found = bands(1024, 14)
    steps = [math.log(b.cutoff / a.cutoff) for a, b in itertools.pairwise(found)]
    assert np.allclose(steps, [math.log(256) / 12] * 12 + [0, 0])
    assert found[0].half_width == 8 - 2
    assert found[-1].half_width == pytest.approx(512 * (2**0.3 - 1))
    with pytest.raises(LoadError, match="no spectrum of StyleGAN3"):
        bands(1024, 14, first_stopband=1e-300)


def moved(generator, w, transform):
    generator.synthesis.input.transform.copy_(torch.tensor(transform))
    return generator.synthesis(w)


IDENTITY = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]


@torch.no_grad()
@pytest.mark.parametrize("configuration", ["T", "R"])
def test_moving_the_input_moves_the_image(configuration):
    generator = stylegan3(
        32, configuration=configuration, z_dim=8, w_dim=8, channel_max=8, num_layers=6
    ).eval()
    ws = generator.mapping(torch.randn(2, 8))
    still = moved(generator, ws, IDENTITY)
    # The transform says where the image samples the input: 4 pixels are an eighth of it.
    shifted = moved(generator, ws, [[1.0, 0, 0.125], [0, 1, 0], [0, 0, 1]])
    error = (shifted[:, :, :, 4:-8] - still[:, :, :, 8:-4]).square().mean()
    assert error < 0.001 * still.var()


@torch.no_grad()
def test_turning_the_input_turns_the_image_in_configuration_r():
    generator = stylegan3(
        32, configuration="R", z_dim=8, w_dim=8, channel_max=8, num_layers=6
    ).eval()
    ws = generator.mapping(torch.randn(2, 8))
    still = moved(generator, ws, IDENTITY)
    turned = moved(generator, ws, [[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    errors = [(turned - still.rot90(k, (2, 3))).square().mean() / still.var() for k in range(4)]
    assert errors[1] < 1e-6 or errors[3] < 1e-6
    assert min(errors[0], errors[2]) > 0.1


def test_no_image_depends_on_the_others():
    generator = stylegan3(16, z_dim=8, w_dim=8, channel_max=8, num_layers=4).eval()
    z = torch.randn(3, 8)
    assert torch.allclose(generator(z)[:1], generator(z[:1]), atol=1e-6)


def test_the_magnitude_follows_training_and_not_use():
    generator = stylegan3(16, z_dim=8, w_dim=8, channel_max=8, num_layers=4)
    layer = generator.synthesis.get_submodule(generator.synthesis.layer_names[1])
    generator.eval()(torch.randn(2, 8))
    assert layer.magnitude_ema == 1
    generator.train()(torch.randn(2, 8))
    assert layer.magnitude_ema != 1
