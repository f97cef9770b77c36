"""Small worlds of answers for tests: vectors that hold a picture, nothing, or a real model's."""

import functools

import pytest
import torch
from torch import nn

from safelight.cache import Cache
from safelight.controls.planted import Silence, SilentCloud, Thumbnail, ThumbnailCloud
from safelight.testing import worlds
from safelight.testing.attacks import AttackContract
from safelight.threats.observation import Secret, SplitObservation
from safelight.threats.prediction_api import PredictionApi


@functools.cache
def parts(kind: str) -> tuple[nn.Module, nn.Module]:
    """Return edge and cloud: of ``everything``, ``nothing`` or ``lenet`` (its ten logits)."""
    shape = worlds.digits().victims.shape
    if kind == "everything":
        return Thumbnail(shape[0]), ThumbnailCloud(worlds.lenet().model, shape)
    if kind == "nothing":
        return Silence((10,)), SilentCloud(10)
    return PredictionApi(returns="logits").parts(worlds.lenet(), shape)


def watch(
    kind: str, cache: Cache, victims: int = 40, public: int = 1000
) -> tuple[SplitObservation, Secret]:
    """Let an adversary with all sights watch the victims' answers."""
    threat = PredictionApi(returns="logits", knows="weights")
    edge, cloud = parts(kind)
    roles = worlds.digits(victims, public)
    return threat.expose(edge, cloud, roles, torch.device("cpu"), cache)


class AnswersContract(AttackContract):
    """The contract of an attack, kept in worlds of answers."""

    @pytest.fixture(autouse=True)
    def answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put these worlds where the contract looks for one."""
        monkeypatch.setattr(worlds, "watch", watch)
