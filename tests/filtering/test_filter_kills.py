"""SIGKILL under load: what was answered is recorded, and nothing is recorded in part.

The harness is the benchmark's, which kills 20 times; see docs/defenses/output-filter.md.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
from serving import packed

from safelight.filtering.tokens import Tokens

BENCHMARK = Path(__file__).parents[2] / "benchmarks/filter_speed.py"


@pytest.fixture(scope="module")
def speed():
    spec = importlib.util.spec_from_file_location("filter_speed", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules["filter_speed"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["filter_speed"]


def test_three_kills_under_load_lose_nothing(speed, folder, digits):
    token = Tokens(folder).add("load", "client")
    service = speed.Service(folder.path, ("--rate", "1e9", "--burst", "1000000000"))
    service.start()
    try:
        bodies = [packed(digits.fresh[at : at + 6]) for at in range(0, 120, 6)]
        load = speed.Load(service, token, bodies, "application/x-npz", clients=3)
        lost, half, recorded = speed.kills(service, load, times=3, batch=6)
        assert len(load.answered) >= 15
        assert (lost, half) == (0, 0)
        assert recorded >= 6 * 15
        # The counting itself can fail: an answer that nobody recorded, a request of another size.
        assert speed.losses(folder.path, {"r": ["nobody"]}, 6)[0] == 1
        assert speed.losses(folder.path, {}, 5)[1] >= recorded // 6
    finally:
        service.stop()
