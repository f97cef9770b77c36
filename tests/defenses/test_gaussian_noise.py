import pytest
import torch

from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.testing.releases import ReleaseDefenseContract, messages, sent


class TestGaussianNoise(ReleaseDefenseContract):
    defense = GaussianNoise(deviation=0.5)


def test_the_noise_is_as_large_as_stated_independent_and_normal():
    computed = messages(2000)
    noise = sent(GaussianNoise(deviation=0.5), computed) - computed
    unit = float(computed.std())
    assert float(noise.std()) == pytest.approx(0.5 * unit, rel=0.02)
    assert float((noise / noise.std()).pow(4).mean()) == pytest.approx(3, rel=0.05)
    first, second = noise[:, 0].flatten(), noise[:, 1].flatten()
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.03
