"""Filters against scipy's."""

import numpy as np
import pytest
import scipy.signal
import torch

from safelight.targets.generators.resampling import BINOMIAL, downsample, separable, upsample


def by_scipy(x, taps, up, down, padding):
    """Rows, then columns: padded where the rate is high, only whole windows kept."""
    left, right, top, bottom = padding
    for axis, before, after in ((3, left, right), (2, top, bottom)):
        length = x.shape[axis] * up
        x = scipy.signal.upfirdn(taps * up, x, up=up, axis=axis)
        wanted = np.arange(len(taps) - 1 - before, length + after, down)
        inside = (wanted >= 0) & (wanted < x.shape[axis])
        taken = np.take(x, np.where(inside, wanted, 0), axis)
        x = taken * np.expand_dims(inside, tuple({0, 1, 2, 3} - {axis}))
    return x


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("taps", [[1, 3, 3, 1], [1, 2, 4, 3, 1, 5], [2, 1, 1, 1, 3, 1, 1, 4]])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (2, 1, 3, 2), (-2, 1, 2, -3)])
def test_both_directions_agree_with_scipy(factor, taps, padding):
    x = torch.randn(2, 3, 13, 11, dtype=torch.float64)
    row = torch.tensor(taps, dtype=torch.float64) / sum(taps)
    for fir in (row, row.outer(row)):
        raised, lowered = upsample(x, fir, factor, padding), downsample(x, fir, factor, padding)
        assert np.allclose(raised, by_scipy(x.numpy(), row.numpy(), factor, 1, padding))
        assert np.allclose(lowered, by_scipy(x.numpy(), row.numpy(), 1, factor, padding))


def test_the_shared_filter_keeps_the_level():
    fir = separable(BINOMIAL)
    assert fir.shape == (4, 4)
    assert fir.sum() == pytest.approx(1)
    level = torch.ones(1, 1, 8, 8)
    assert torch.allclose(upsample(level, fir, 2, (2, 1, 2, 1))[:, :, 2:-2, 2:-2], level.mean())
    assert torch.allclose(downsample(level, fir, 2, (1, 1, 1, 1))[:, :, 1:-1, 1:-1], level.mean())
