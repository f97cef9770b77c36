import dataclasses
import zlib

import pytest
import torch

from safelight.auditing.deployment import SIZED, deployments
from safelight.auditing.setting import prepare
from safelight.defenses.temperature import Temperature
from safelight.plan.plan import load_plan
from safelight.targets.release import Scale
from safelight.threats.prediction_api import PredictionApi


def test_the_size_and_use_of_what_leaves_are_measured_and_not_what_can_be_made_of_it():
    defense = Temperature(temperature=10.0, decimals=2)
    plan = load_plan("demo", ["data.victims.count=20", "data.holdout.count=1000"])
    setting = prepare(plan)
    target = dataclasses.replace(setting.target, release=defense)
    threat = PredictionApi()
    setting = dataclasses.replace(setting, target=target, threats=[threat])
    (found,) = deployments(setting)
    edge, cloud = threat.parts(target, setting.roles.victims.shape)
    images = torch.cat([setting.roles.victims.images, setting.roles.holdout.images])
    labels = torch.cat([setting.roles.victims.labels, setting.roles.holdout.labels])
    with torch.no_grad():
        left = defense.release(edge(images), Scale.of(edge(images)), torch.Generator())
        right = cloud(left).argmax(1) == labels
    sizes = [len(zlib.compress(one.numpy().tobytes())) for one in left[:SIZED]]
    assert found.sent_bytes == pytest.approx(sum(sizes) / SIZED, abs=0.1)
    assert found.right == "".join("1" if one else "0" for one in right.tolist())
