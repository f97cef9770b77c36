"""The contract of an attack on classes. A test module subclasses it and names the attack, no more.

class TestClassConfidence(ClassLevelContract):
attack = ClassConfidence(steps=300)

Such an attack shows what a class looks like, so it cannot name a picture among those of its class,
as ``AttackContract`` asks. Here it has to show the right class.
"""

import dataclasses
import functools
import tomllib
from pathlib import Path
from typing import ClassVar

import pytest
import tomli_w
import torch
from torch import nn

from safelight import catalog
from safelight.attacks.attack import InversionAttack
from safelight.auditing.identities import Identified, Templates, identified, likeness
from safelight.cache import Cache
from safelight.controls.planted import Silence, SilentCloud
from safelight.errors import AccessError
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.threats.observation import Needs, SplitObservation
from safelight.threats.prediction_api import PredictionApi

#: Below it claims show the classes that they should; above, they may not be told from luck.
P = 0.001


@functools.cache
def parts(kind: str) -> tuple[nn.Module, nn.Module]:
    """Return edge and cloud: of ``everything``, ``nothing`` or ``lenet`` (its ten logits)."""
    if kind == "everything":
        return Templates(worlds.digits().public), nn.Identity()
    if kind == "nothing":
        return Silence((10,)), SilentCloud(10)
    return PredictionApi(returns="logits").parts(worlds.lenet(), worlds.digits().victims.shape)


def watch(kind: str, cache: Cache) -> SplitObservation:
    """Let an adversary with all sights watch the answers to 40 victims."""
    threat = PredictionApi(returns="logits", knows="weights")
    edge, cloud = parts(kind)
    seen, _ = threat.expose(edge, cloud, worlds.digits(), torch.device("cpu"), cache)
    return seen


def heard(seen: SplitObservation) -> torch.Tensor:
    """Return the class that each answer names, [n]."""
    return torch.as_tensor(seen.cloud(seen.messages).argmax(1))


class ClassLevelContract:
    """What every attack on classes keeps to, whatever its method."""

    attack: ClassVar[InversionAttack]

    @pytest.fixture
    def cache(self, tmp_path: Path) -> Cache:
        """Return an empty cache, so that nothing is remembered between tests."""
        return Cache(tmp_path / "cache")

    def shown(self, kind: str, cache: Cache) -> Identified:
        """Attack a world and return which classes its claims show, by other digits."""
        seen = watch(kind, cache)
        claim = self.attack.run(seen.restricted(self.attack.needs), Seeds(0)).images
        assert claim.shape == (len(seen.messages), *seen.image_shape)
        assert 0 <= claim.min() <= claim.max() <= 1
        said = heard(seen)
        each = torch.zeros(10, *seen.image_shape)  # black, like nobody, where nothing is claimed
        each[said] = claim
        assert torch.equal(each[said], claim), "claims for one class differ"
        return identified([likeness(each, worlds.digits().holdout)])

    def test_shows_classes_that_are_there(self, cache: Cache) -> None:
        """The positive control: a classifier whose weights are pictures of its classes."""
        found = self.shown("everything", cache)
        assert found.p <= P
        assert (found.share.low or 0.0) > 0.5

    def test_is_at_chance_on_a_classifier_that_knows_no_class(self, cache: Cache) -> None:
        """The null: a win here would be a leak in the score itself."""
        found = self.shown("nothing", cache)
        assert found.p > P
        assert (found.share.low or 0.0) <= 1 / 10

    def test_same_seed_same_claim_and_the_target_stays_as_it_was(
        self, cache: Cache, tmp_path: Path
    ) -> None:
        """Two runs from scratch agree, and move no weight, keep no gradient, change no mode."""
        target = worlds.lenet()
        before = target.weights_sha256()
        claims = []
        for store in (cache, Cache(tmp_path / "another")):
            seen = watch("lenet", store)
            claims.append(self.attack.run(seen.restricted(self.attack.needs), Seeds(1)).images)
        assert torch.equal(*claims)
        assert target.weights_sha256() == before
        assert not target.model.training
        assert all(one.grad is None for one in target.model.parameters())

    def test_needs_everything_that_it_declares(self, cache: Cache) -> None:
        """Taking any declared sight away is noticed; more is never given."""
        for need in self.attack.needs.names():
            seen = watch("lenet", cache)
            less = dataclasses.replace(self.attack.needs, **{need: False})
            with pytest.raises(AccessError, match=need):
                self.attack.run(seen.restricted(less), Seeds(0))

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
