import pytest
import torch
from torch import nn

from safelight.attacks.attack import forward_flops
from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.likelihood import Likelihood


def test_operations_are_counted_as_two_per_multiply_and_add():
    layer = nn.Conv2d(3, 8, 5)
    assert forward_flops(layer, torch.zeros(1, 3, 12, 12)) == 2 * 8 * 8 * 8 * 3 * 25


@pytest.mark.parametrize(
    ("attack", "access"), [(Decoder(), "black-box queries"), (Likelihood(), "white-box")]
)
def test_access_is_told_in_the_words_of_the_field(attack, access):
    assert attack.access == access
