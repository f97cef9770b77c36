import pytest
import torch

from safelight.defenses.top_k import TopK
from safelight.errors import PlanError
from safelight.testing.releases import ReleaseDefenseContract, probabilities, sent


class TestTopK(ReleaseDefenseContract):
    defense = TopK(k=3)
    computed = probabilities()


def test_keeps_the_k_largest_exactly():
    computed = probabilities()
    out = sent(TopK(k=3), computed)
    assert (out != 0).sum(1).eq(3).all()
    smallest_kept = out.where(out != 0, torch.ones(())).amin(1)
    largest_left = (computed - out).amax(1)
    assert (smallest_kept >= largest_left).all()


def test_a_short_vector_stays_whole():
    computed = probabilities()
    assert torch.equal(sent(TopK(k=99), computed), computed)


def test_numbers_below_zero_cannot_be_kept_beside_zeros():
    with pytest.raises(PlanError, match="probabilities"):
        sent(TopK(k=1), probabilities().log())
