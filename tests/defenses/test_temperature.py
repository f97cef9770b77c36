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
    for one in (0.5, 4.0):
        defense = Temperature(temperature=one)
        out = sent(defense, computed)
        known = out.double().pow(one)
        assert torch.allclose(defense.undone(out).double(), known / known.sum(1, keepdim=True))
        assert torch.allclose(defense.undone(out), computed, atol=1e-5)


def test_what_was_rounded_as_well_is_undone_in_part():
    computed = probabilities()
    defense = Temperature(temperature=4.0, decimals=2)
    out = sent(defense, computed)
    undone = defense.undone(out)
    assert torch.isfinite(undone).all()
    assert 0 < (undone - computed).abs().mean() < 0.2 * (out - computed).abs().mean()
    empty = torch.zeros(1, 10)  # all rounded away
    assert torch.allclose(defense.undone(empty), torch.full((1, 10), 0.1))


@pytest.mark.parametrize("computed", [messages(), torch.randn(5, 10)])
def test_refuses_what_is_no_probability(computed):
    with pytest.raises(PlanError, match="prediction_api"):
        sent(Temperature(), computed)
