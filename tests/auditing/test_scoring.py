"""The positive control behind a defense."""

import dataclasses

import pytest

from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.gauss_newton import GaussNewton
from safelight.auditing.scoring import planted
from safelight.auditing.setting import prepare
from safelight.defenses.label_only import LabelOnly
from safelight.plan.plan import load_plan
from safelight.threats.split_inference import SplitInference

SMALL = ["data.victims.count=30", "data.public.count=600"]


@pytest.mark.parametrize(
    ("attack", "passed"),
    [(Decoder(steps=300, width=8, blocks=1), True), (GaussNewton(steps=5), False)],
    ids=["learns from what leaves", "only searches"],
)
def test_only_who_learns_from_what_leaves_is_excused_where_a_defense_destroys_all(attack, passed):
    setting = prepare(load_plan("demo", SMALL))
    target = dataclasses.replace(setting.target, release=LabelOnly())
    setting = dataclasses.replace(setting, target=target)
    threat = SplitInference(cut="relu2")
    seen, _ = threat.meet(target, setting.roles, setting.device, setting.cache)
    control = planted(setting, threat, attack, seen, 0)
    assert control.passed == passed
    assert ("through the defense" in control.detail) != passed
