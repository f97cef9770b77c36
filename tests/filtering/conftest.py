"""One filter of real digits for all tests, and services that run it."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn
from serving import Served
from torch import Tensor

from safelight.data.sources import embedded
from safelight.filtering.folder import FilterFolder
from safelight.filtering.index import Index
from safelight.filtering.making import Wish, make_policy
from safelight.filtering.running import running
from safelight.filtering.service import LOCAL, Limits
from safelight.filtering.tokens import Tokens

WISH = Wish(block_rate=0.01, held_rate=0.05)


@dataclass(frozen=True)
class Digits:
    """Real digits as bytes, [n, 1, 28, 28]: protected, calibrated on, spare, and never seen."""

    protected: Tensor
    reference: Tensor
    reserve: Tensor
    fresh: Tensor


@pytest.fixture(scope="session")
def digits() -> Digits:
    split = embedded.open_split("train")
    order = np.random.default_rng(0).permutation(5000)
    drawn = torch.from_numpy(split.pictures(order[:2200]))
    parts = (drawn * 255).round().byte().split([300, 1000, 200, 700])
    return Digits(*parts)


@pytest.fixture(scope="session")
def made(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> FilterFolder:
    """A calibrated filter. Tests that write to it take a copy: ``folder``."""
    folder = FilterFolder(tmp_path_factory.mktemp("made") / "filter")
    folder.create(replace=False)
    index = Index(digits.protected)
    policy = make_policy(index, digits.reference, WISH, ("digits", "other digits"))
    folder.save(index, policy, digits.reserve)
    return folder


@pytest.fixture
def folder(made: FilterFolder, tmp_path: Path) -> FilterFolder:
    shutil.copytree(made.path, tmp_path / "filter")
    (tmp_path / "filter").chmod(0o700)
    return FilterFolder(tmp_path / "filter")


Serve = Callable[..., Served]


@pytest.fixture
def serve(folder: FilterFolder) -> Iterator[Serve]:
    """Start services; all end with the test."""
    ends: list[Callable[[], None]] = []

    def start(silent: bool = False, hold: str = "none", limits: Limits | None = None) -> Served:
        tokens = Tokens(folder)
        known = {holder.name for holder, _ in tokens.names()}
        for name in known & {"generator", "ann"}:
            tokens.revoke(name)
        client, reviewer = tokens.add("generator", "client"), tokens.add("ann", "reviewer")
        opened = running(folder, folder.load(), silent, hold, limits or Limits(), LOCAL)  # type: ignore[arg-type]
        app = opened.__enter__()
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)

        def end() -> None:
            server.should_exit = True
            thread.join()
            opened.__exit__(None, None, None)

        ends.append(end)
        port = server.servers[0].sockets[0].getsockname()[1]
        return Served(port, client, reviewer, folder)

    yield start
    for end in reversed(ends):
        end()
