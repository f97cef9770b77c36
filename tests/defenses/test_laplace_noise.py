import pytest

from safelight.defenses.laplace_noise import LaplaceNoise
from safelight.testing.releases import ReleaseDefenseContract, messages, sent


class TestLaplaceNoise(ReleaseDefenseContract):
    defense = LaplaceNoise(deviation=0.5)


def test_the_noise_is_as_large_as_stated_and_has_laplaces_tails():
    computed = messages(4000)
    noise = sent(LaplaceNoise(deviation=0.5), computed) - computed
    assert float(noise.std()) == pytest.approx(0.5 * float(computed.std()), rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float((noise / noise.std()).pow(4).mean()) == pytest.approx(6, rel=0.1)  # normal: 3
