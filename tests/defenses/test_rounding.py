import pytest
import torch

from safelight.defenses.rounding import Rounding
from safelight.testing.releases import ReleaseDefenseContract, probabilities, sent


class TestRounding(ReleaseDefenseContract):
    defense = Rounding(decimals=1)
    computed = probabilities()


@pytest.mark.parametrize("decimals", [-1, 0, 3])
def test_rounds_as_python_does(decimals):
    numbers = [[-12.3456, 0.0004999, 4.99951, 25.5001]]
    out = sent(Rounding(decimals=decimals), torch.tensor(numbers, dtype=torch.float64))
    assert out.tolist() == [pytest.approx([round(one, decimals) for one in numbers[0]])]
