"""Small networks of every kind, alike on every machine."""

import pytest
import torch
from small_generators import KINDS


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(params=KINDS)
def kind(request):
    """How to make a small generator of one kind, by its resolution and options."""
    return KINDS[request.param]


@pytest.fixture(params=[one for one in KINDS if one != "dcgan"])
def styled(request):
    """How to make a small generator that takes a style at every layer."""
    return KINDS[request.param]


@pytest.fixture(params=[one for one in KINDS if one not in ("dcgan", "stylegan3-t", "stylegan3-r")])
def noisy(request):
    """How to make a small generator that adds noise."""
    return KINDS[request.param]
