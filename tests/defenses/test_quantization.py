import pytest
import torch

from safelight.defenses.quantization import Quantization
from safelight.targets.release import Scale
from safelight.testing.releases import ReleaseDefenseContract, messages, sent


class TestQuantization(ReleaseDefenseContract):
    defense = Quantization(bits=3)


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_no_more_levels_than_bits_allow_and_no_error_beyond_half_a_step(bits):
    computed = messages()
    out = sent(Quantization(bits=bits), computed)
    assert len(out.unique()) <= 2**bits
    step = float(computed.max()) / (2**bits - 1)
    assert float((out - computed).abs().max()) <= step / 2 + 1e-6


def test_what_lies_outside_the_public_range_is_clamped():
    narrow = Scale(1.0, 0.0, 1.0)
    out = Quantization(bits=2).release(torch.tensor([[-5.0, 0.4, 9.0]]), narrow, torch.Generator())
    assert out.tolist() == [[0.0, pytest.approx(1 / 3), 1.0]]
