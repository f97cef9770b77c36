"""StyleGAN2's layers against a direct computation of the paper's equations, image by image."""

import math

import numpy as np
import pytest
import scipy.signal
import torch

from safelight.targets.generators.convolution import Convolution
from safelight.targets.generators.mapping import Mapping
from safelight.targets.generators.noise import Noise
from safelight.targets.generators.stylegan2 import StyledConvolution, ToRGB


def convolved(x, weight):
    """Correlate one image [in, h, w] with [out, in, 3, 3], borders being zero, by scipy."""
    rows = [
        sum(scipy.signal.correlate2d(one, k, mode="same") for one, k in zip(x, w, strict=True))
        for w in weight.numpy()
    ]
    return torch.tensor(np.array(rows))


def low_passed(x):
    row = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64) / 8
    fir = row.outer(row).numpy()
    return torch.tensor(np.array([scipy.signal.convolve2d(one, fir) for one in x.numpy()]))


def leaky(x):
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


@pytest.mark.parametrize("up", [1, 2])
def test_a_styled_convolution_has_the_weights_of_equation_3(up):
    layer = StyledConvolution(3, 4, 5, 6 * up, up=up, conv_clamp=1.5).double()
    with torch.no_grad():
        layer.noise_strength.fill_(0.3)
        layer.bias.normal_()
        x, w = torch.randn(2, 3, 6, 6).double(), torch.randn(2, 5).double()
        styles = w @ layer.affine.weight.t() / math.sqrt(5) + layer.affine.bias
        out = layer(x, w, Noise())
        for one, style, given in zip(x, styles, out, strict=True):
            weight = layer.weight * style[None, :, None, None]
            weight = weight / weight.square().sum((1, 2, 3), keepdim=True).sqrt()
            if up == 2:
                sparse = torch.zeros(3, 12, 12).double()
                sparse[:, ::2, ::2] = one
                padded = torch.nn.functional.pad(sparse, (2, 2, 2, 2))
                # The filter's center is between its second tap and its third: taken as the second.
                y = 4 * low_passed(convolved(padded, weight.flip((2, 3))))[:, 3:15, 3:15]
            else:
                y = convolved(one, weight)
            y = leaky(y + 0.3 * layer.noise_const + layer.bias[:, None, None])
            assert torch.allclose(given, y.clamp(-1.5, 1.5), atol=1e-6)


def test_the_image_layer_is_not_demodulated():
    layer = ToRGB(4, 3, 5, None).double()
    with torch.no_grad():
        x, w = torch.randn(2, 4, 3, 3).double(), torch.randn(2, 5).double()
        styles = w @ layer.affine.weight.t() / math.sqrt(5) + 1
        expected = torch.einsum("oi,ni,nihw->nohw", layer.weight[:, :, 0, 0], styles / 2, x)
        assert torch.allclose(layer(x, w), expected)


def test_convolutions_change_the_resolution():
    x = torch.randn(1, 3, 8, 8)
    for kernel in (1, 3):
        for up, down, size in ((1, 1, 8), (2, 1, 16), (1, 2, 4)):
            layer = Convolution(3, 2, kernel, up=up, down=down)
            assert layer(x).shape == (1, 2, size, size)


def test_resampling_is_centered():
    """A constant weight commutes with mirroring, up and down."""
    for up, down in ((2, 1), (1, 2)):
        layer = Convolution(1, 1, 3, bias=False, up=up, down=down)
        with torch.no_grad():
            layer.weight.fill_(1.0)
        x = torch.randn(1, 1, 8, 8)
        assert torch.allclose(layer(x.flip(3)), layer(x).flip(3), atol=1e-6)


def test_the_mapping_network_is_that_of_the_paper():
    mapping = Mapping(3, 2, 4, 5, num_layers=2).double()
    with torch.no_grad():
        mapping.fc0.bias.normal_()
        z, labels = torch.randn(2, 3).double(), torch.eye(2).double()
        embedded = labels @ mapping.embed.weight.t() / math.sqrt(2) + mapping.embed.bias
        parts = [one / one.square().mean(1, keepdim=True).sqrt() for one in (z, embedded)]
        x = torch.cat(parts, 1)
        for layer in (mapping.fc0, mapping.fc1):
            x = leaky(0.01 * (x @ layer.weight.t() / math.sqrt(x.shape[1]) + layer.bias))
        ws = mapping.eval()(z, labels)
        assert torch.allclose(ws, x[:, None].expand(-1, 5, -1))
