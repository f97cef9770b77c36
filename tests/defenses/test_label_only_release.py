import torch

from safelight.defenses.label_only import LabelOnly
from safelight.testing.releases import ReleaseDefenseContract, probabilities, sent


class TestLabelOnly(ReleaseDefenseContract):
    defense = LabelOnly()
    computed = probabilities()


def test_says_the_class_and_nothing_else():
    computed = probabilities()
    out = sent(LabelOnly(), computed)
    assert torch.equal(out.argmax(1), computed.argmax(1))
    assert out.sum(1).eq(1).all()
    assert set(out.unique().tolist()) == {0.0, 1.0}
