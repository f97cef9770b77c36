import pytest
import torch

from safelight.defenses.dropout import Dropout
from safelight.testing.releases import ReleaseDefenseContract, messages, sent


class TestDropout(ReleaseDefenseContract):
    defense = Dropout(rate=0.6)


class TestChannels(ReleaseDefenseContract):
    defense = Dropout(rate=0.6, of="channels")


def test_the_stated_share_is_removed():
    computed = messages(2000) + 1
    for of in ("numbers", "channels"):
        out = sent(Dropout(rate=0.6, of=of), computed)
        assert float((out == 0).float().mean()) == pytest.approx(0.6, abs=0.01)


def test_channels_come_and_go_whole():
    out = sent(Dropout(rate=0.5, of="channels"), messages() + 1)
    gone = (out == 0).float().mean((2, 3))
    assert set(gone.flatten().tolist()) == {0.0, 1.0}


def test_a_vector_has_single_numbers_for_channels():
    vector = torch.ones(500, 8)
    out = sent(Dropout(rate=0.5, of="channels"), vector)
    assert 0.4 < float(out.mean()) < 0.6
