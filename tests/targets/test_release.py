import pytest
import torch

from safelight.targets.release import UNIT, Scale
from safelight.testing.releases import messages, probabilities


def test_a_scale_is_measured_over_all_numbers():
    computed = messages()
    scale = Scale.of(computed)
    assert scale.deviation == pytest.approx(float(computed.numpy().std(ddof=1)))
    assert (scale.low, scale.high) == (float(computed.min()), float(computed.max()))


@pytest.mark.parametrize(
    ("computed", "simplex"),
    [
        (probabilities(), True),
        (probabilities()[:1], True),
        (probabilities().log(), False),
        (probabilities() * torch.tensor([1.01] + 63 * [1.0])[:, None], False),
        (probabilities().reshape(-1, 1, 2, 5), False),
        (torch.tensor([[1.5, -0.5]]), False),
        (torch.zeros(5, 10), False),
        (messages(), False),
    ],
)
def test_probabilities_are_told_from_other_vectors(computed, simplex):
    assert Scale.of(computed).simplex == simplex


def test_the_unit_is_no_probability():
    assert not UNIT.simplex
