"""The contract of an attack. A test module subclasses it and names the attack, no more.

class TestDecoder(AttackContract):
attack = Decoder(steps=150)
"""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tomli_w
import torch

from safelight import catalog
from safelight.attacks.attack import InversionAttack
from safelight.cache import Cache
from safelight.errors import AccessError
from safelight.metrics.identity import line_up, rank
from safelight.record.verdict import LINE_UP, negative_control, positive_control
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.threats.observation import Needs

#: Steps that show what an attack touches, not how good it is, and the options that count steps.
FEW = 8
STEPS = ("steps", "inner_steps", "learning")


def brief(attack: InversionAttack) -> InversionAttack:
    """Return the attack with few steps, its parts' too: what it reads and draws is the same."""
    short: InversionAttack = _shortened(attack)
    return short


def _shortened(part: Any) -> Any:
    values = {one.name: getattr(part, one.name) for one in dataclasses.fields(part) if one.init}
    short = {
        name: _shortened(value) if dataclasses.is_dataclass(value) else min(value, FEW)
        for name, value in values.items()
        if dataclasses.is_dataclass(value) or name in STEPS
    }
    return dataclasses.replace(part, **short)


class AttackContract:
    """What every inversion attack keeps to, whatever its method."""

    attack: ClassVar[InversionAttack]

    @pytest.fixture
    def cache(self, tmp_path: Path) -> Cache:
        """Return an empty cache, so that nothing is remembered between tests."""
        return Cache(tmp_path / "cache")

    def named(self, kind: str, cache: Cache) -> list[float]:
        """Attack a test edge and return which victims are named (1.0) or not (0.0)."""
        seen, secret = worlds.watch(kind, cache)
        claim = self.attack.run(seen.restricted(self.attack.needs), Seeds(0))
        victims = secret.victims
        assert claim.images.shape == victims.images.shape
        assert 0 <= claim.images.min() <= claim.images.max() <= 1
        suspects = line_up(worlds.digits().holdout, victims, LINE_UP)
        ranks = rank(claim.images, victims.images, victims.labels, suspects)
        return (ranks == 1).float().tolist()

    def test_wins_on_a_target_that_leaks_everything(self, cache: Cache) -> None:
        """The positive control: without it a clean result would mean nothing."""
        control = positive_control(self.named("everything", cache))
        assert control.passed, control.detail

    def test_is_at_chance_on_a_target_that_leaks_nothing(self, cache: Cache) -> None:
        """The null: a win here would be a leak in the audit itself."""
        control = negative_control(self.named("nothing", cache))
        assert control.passed, control.detail

    def test_same_seed_same_claim_and_the_target_stays_as_it_was(
        self, cache: Cache, tmp_path: Path
    ) -> None:
        """Two runs from scratch agree, and move no weight, keep no gradient, change no mode."""
        attack, target = brief(self.attack), worlds.lenet()
        before = target.weights_sha256()
        claims = []
        for store in (cache, Cache(tmp_path / "another")):
            seen, _ = worlds.watch("lenet", store)
            claims.append(attack.run(seen.restricted(attack.needs), Seeds(1)).images)
        assert torch.equal(*claims)
        assert target.weights_sha256() == before
        assert not target.model.training
        assert all(one.grad is None for one in target.model.parameters())

    def test_needs_everything_that_it_declares(self, tmp_path: Path) -> None:
        """Taking any declared sight away is noticed; more is never given (see the audit)."""
        for need in self.attack.needs.names():
            seen, _ = worlds.watch("lenet", Cache(tmp_path / need))
            less = dataclasses.replace(self.attack.needs, **{need: False})
            with pytest.raises(AccessError, match=need):
                brief(self.attack).run(seen.restricted(less), Seeds(0))

    def test_options_survive_toml(self) -> None:
        """What a plan says is what runs."""
        name = catalog.name_of(self.attack)
        text = tomli_w.dumps(dataclasses.asdict(self.attack))
        assert catalog.build("attack", name, tomllib.loads(text)) == self.attack

    def test_has_a_reference_and_says_what_it_does(self) -> None:
        """``explain`` and ``cite`` have something to print."""
        kind = type(self.attack)
        assert self.attack.reference.bibtex().startswith("@")
        assert kind.__doc__
        assert isinstance(self.attack.needs, Needs)
        assert self.attack.needs.messages
