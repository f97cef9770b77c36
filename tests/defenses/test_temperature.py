import pytest
import torch

from safelight.defenses.temperature import Temperature
from safelight.errors import PlanError
from safelight.testing.releases import ReleaseDefenseContract, messages, probabilities, sent


class TestTemperature(ReleaseDefenseContract):
    defense = Temperature(temperature=3.0)
    computed = probabilities()


class TestRounded(ReleaseDefenseContract):
    defense = Temperature(temperature=3.0, decimals=1)
    computed = probabilities()


def test_is_the_softmax_of_divided_logits():
    logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    out = sent(Temperature(temperature=4.0), logits.softmax(1))
    assert torch.allclose(out, (logits / 4).softmax(1), atol=1e-6)


def test_who_knows_the_temperature_undoes_it():
    computed = probabilities()
    out = sent(Temperature(temperature=4.0), computed)
    undone = out.pow(4) / out.pow(4).sum(1, keepdim=True)
    assert torch.allclose(undone, computed, atol=1e-5)


@pytest.mark.parametrize("computed", [messages(), torch.randn(5, 10)])
def test_refuses_what_is_no_probability(computed):
    with pytest.raises(PlanError, match="prediction_api"):
        sent(Temperature(), computed)
