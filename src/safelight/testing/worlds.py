"""Small worlds for tests: real digits, and edges that leak everything, nothing, or as trained."""

import functools

import torch
from torch import nn

from safelight.cache import Cache
from safelight.controls.planted import PlantedCloud, PlantedLeak, Silence, SilentCloud
from safelight.data.roles import Roles, deal
from safelight.plan.plan import DataPlan, RolePlan, TargetPlan
from safelight.targets.cut import Cloud, Edge, cut
from safelight.targets.load import load_target
from safelight.targets.target import Normalized, Target
from safelight.threats.observation import Secret, SplitObservation
from safelight.threats.split_inference import SplitInference

#: The message that every test edge sends: that of LeNet's second activation.
MESSAGE_SHAPE = (16, 8, 8)


@functools.cache
def digits(victims: int = 40, public: int = 1000) -> Roles:
    """Return embedded digits in their roles, with 100 holdout pictures a class."""
    return deal(
        DataPlan(
            source="embedded",
            public=RolePlan(count=public),
            victims=RolePlan(count=victims),
            holdout=RolePlan(count=1000),
        )
    )


@functools.cache
def lenet() -> Target:
    """Return the LeNet that is shipped."""
    plan = TargetPlan(model="lenet", weights="shipped")
    return load_target(plan, digits(), torch.device("cpu"), Cache())


def edge(kind: str) -> nn.Module:
    """Return a test edge: ``everything``, ``nothing`` or ``lenet`` (its second activation)."""
    if kind == "everything":
        return PlantedLeak(MESSAGE_SHAPE, 1)
    if kind == "nothing":
        return Silence(MESSAGE_SHAPE)
    return cut(lenet().model, "relu2", digits().victims.shape)


def cloud(kind: str) -> nn.Module:
    """Return what belongs behind a test edge."""
    shape, front = digits().victims.shape, edge(kind)
    if isinstance(front, PlantedLeak):
        return PlantedCloud(front, lenet().model, shape)
    return Cloud(front, shape) if isinstance(front, Edge) else SilentCloud(10)


def watch(
    kind: str, cache: Cache, victims: int = 40, public: int = 1000
) -> tuple[SplitObservation, Secret]:
    """Let a white-box adversary watch the victims use a test edge."""
    threat = SplitInference(cut="relu2", knows="weights")
    roles = digits(victims, public)
    return threat.expose(edge(kind), cloud(kind), roles, torch.device("cpu"), cache)


def leaking(kind: str) -> Target:
    """Return a classifier whose layer ``message`` is a test edge."""
    network = nn.Sequential()
    network.add_module("message", edge(kind))
    network.add_module("flatten", nn.Flatten())
    network.add_module("head", nn.Linear(16 * 8 * 8, 10))
    return Target(f"leaks {kind}", Normalized(network, (0.0,), (1.0,)), "nothing")
