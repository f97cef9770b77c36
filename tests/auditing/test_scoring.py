"""The positive control: behind a defense, and of who only listens."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.attack import InversionAttack, Reconstruction
from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.gauss_newton import GaussNewton
from safelight.auditing.scoring import CONTROL_VICTIMS, planted
from safelight.auditing.setting import prepare
from safelight.catalog import Reference
from safelight.defenses.label_only import LabelOnly
from safelight.plan.plan import load_plan
from safelight.threats.observation import Needs
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


@dataclass(frozen=True, kw_only=True)
class Listener(InversionAttack):
    """Unfolds a planted message as soon as it has overheard enough of them."""

    reference: ClassVar = Reference("nobody", "Nobody", "Nothing", 2000, "nowhere")
    needs: ClassVar = Needs(messages=True)
    enough: int = CONTROL_VICTIMS + 1

    def flops(self, seen):
        return 0.0

    def run(self, seen, rng):
        pictures = F.interpolate(F.pixel_shuffle(seen.messages, 4), 28, mode="bilinear")
        heard = len(seen.messages) >= self.enough
        return Reconstruction(pictures if heard else torch.full_like(pictures, 0.5))


@dataclass(frozen=True, kw_only=True)
class Asker(Listener):
    """The same, of one who could ask, and need not listen to as many."""

    needs: ClassVar = Needs(messages=True, queries=True)


@pytest.mark.parametrize(
    ("attack", "passed"),
    [(Listener(), True), (Listener(enough=200), False), (Asker(), False)],
    ids=["enough", "never enough", "asks"],
)
def test_who_only_listens_hears_as_many_messages_as_in_the_audit(attack, passed):
    setting = prepare(load_plan("demo", ["data.victims.count=100", "data.public.count=600"]))
    threat = SplitInference(cut="relu2")
    seen, _ = threat.meet(setting.target, setting.roles, setting.device, setting.cache)
    control = planted(setting, threat, attack, seen, 0)
    assert control.passed == passed
    assert f"of {CONTROL_VICTIMS} were named" in control.detail
