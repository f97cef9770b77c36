"""The contract of an extraction attack. A test module subclasses it and names the attack, no more.

class TestRowSpace(ExtractionContract):
attack = RowSpace(directions=60)
"""

import dataclasses
import functools
import gc
import tomllib
from typing import ClassVar

import numpy as np
import pytest
import tomli_w
import torch

from safelight import catalog
from safelight.attacks.extraction.attack import Extraction, ExtractionAttack
from safelight.auditing.extraction_scoring import checked, compared, likeness_of
from safelight.controls.planted_training import Planted, planted
from safelight.errors import AccessError
from safelight.record.extraction import planted_control
from safelight.record.membership import Compared
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.target import Normalized, Target
from safelight.testing import worlds
from safelight.threats.released_model import ReleasedModel, ReleasedObservation, ReleaseNeeds


@functools.cache
def leaking() -> Planted:
    """Return a small dense network that knows 30 embedded digits by heart."""
    return planted(worlds.digits().public, 0)


@functools.cache
def silent() -> Planted:
    """Return the same world with a network that was never trained: it knows nobody."""
    made = leaking()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = MLP(10, made.public.shape, (256, 256))
    mean, std = made.target.model.mean, made.target.model.std
    model = Normalized(network, tuple(mean.flatten().tolist()), tuple(std.flatten().tolist()))
    return dataclasses.replace(made, target=Target("untrained", model, "nothing"))


def watch(world: Planted, threat: ReleasedModel | None = None) -> ReleasedObservation:
    """Let a downloader who knows the weights alone look at a world's model."""
    threat = threat or ReleasedModel()
    device = torch.device("cpu")
    return threat.meet(world.target, world.secret, world.public, world.initial, device)


def assess(world: Planted, claim: Extraction) -> tuple[Compared, Compared]:
    """Score a claim on a world's training set against as many other pictures."""
    center = world.public.images.mean(0)
    sides = (world.secret.members, world.secret.others)
    members, others = (likeness_of(one.images, claim.images, center).max(1) for one in sides)
    return compared(members, others, 1)


@functools.cache
def _claim(attack: ExtractionAttack, kind: str) -> Extraction:
    world = leaking() if kind == "leaking" else silent()
    seen = watch(world).restricted(attack.needs, attack.welcomes)
    assert attack.unfit(seen) == ""
    return checked(attack.run(seen, Seeds(0)), world.secret.members.shape)


def brief(attack: ExtractionAttack) -> ExtractionAttack:
    """Return an attack with less effort, for what does not depend on how well it works."""
    effort = {"steps": 5, "directions": 5}
    own = {one.name for one in dataclasses.fields(attack)}
    return dataclasses.replace(
        attack, **{name: value for name, value in effort.items() if name in own}
    )


class ExtractionContract:
    """What every extraction attack keeps to, whatever its method."""

    attack: ClassVar[ExtractionAttack]

    def claim(self, kind: str) -> Extraction:
        """Return the attack's claim on the ``leaking`` or the ``silent`` world, made once."""
        return _claim(self.attack, kind)

    def test_finds_a_training_set_that_is_there(self) -> None:
        """The positive control: without it a clean result would mean nothing."""
        control = planted_control(*assess(leaking(), self.claim("leaking")))
        assert control.passed, control.detail

    def test_is_at_chance_on_a_model_that_was_never_trained(self) -> None:
        """The null: a win here would be a leak in the audit itself."""
        try:
            claim = self.claim("silent")
        except ValueError:  # nothing to claim is the honest answer
            return
        auc, extracted = assess(silent(), claim)
        assert min(auc.p, extracted.p) > 0.001

    def test_same_seed_same_claim_and_the_target_stays_as_it_was(self) -> None:
        """Two runs agree, and move no weight, keep no gradient, change no mode."""
        target = leaking().target
        before = target.weights_sha256()
        seen = watch(leaking()).restricted(self.attack.needs, self.attack.welcomes)
        one, two = (brief(self.attack).run(seen, Seeds(1)) for _ in range(2))
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.confidence, two.confidence)
        assert target.weights_sha256() == before
        assert not target.model.training
        assert all(one.grad is None for one in target.model.parameters())

    def test_needs_everything_that_it_declares(self) -> None:
        """Taking any declared sight away is noticed; more is never given."""
        for need in self.attack.needs.names():
            less = dataclasses.replace(self.attack.needs, **{need: False})
            with pytest.raises(AccessError, match=need):
                self.attack.run(watch(leaking()).restricted(less), Seeds(0))

    def test_does_without_what_is_only_welcome(self) -> None:
        """What a threat may hide is not required to make a claim."""
        seen = watch(leaking(), ReleasedModel(count="unknown")).restricted(self.attack.needs)
        assert len(brief(self.attack).run(seen, Seeds(0)).images)

    def test_claims_differ_from_each_other_and_their_confidence_is_a_number(self) -> None:
        """A claim of one picture many times would have no coverage."""
        claim = self.claim("leaking")
        assert torch.isfinite(claim.confidence).all()
        assert len(np.unique(claim.images.flatten(1).numpy().round(2), axis=0)) > 1

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
        assert isinstance(self.attack.needs, ReleaseNeeds)


class ReleaseContract:
    """What every threat keeps to that exposes weights."""

    threat: ClassVar[ReleasedModel]

    def test_refuses_what_it_does_not_offer(self) -> None:
        """The error names the sight and the threat."""
        everything = ReleaseNeeds(initialization=True, count=True, public=True)
        for hidden in everything.missing_from(self.threat.offers):
            with pytest.raises(AccessError, match=rf"{hidden} is hidden.*released_model with"):
                watch(leaking(), self.threat).restricted(ReleaseNeeds(**{hidden: True}))

    def test_no_training_picture_is_reachable_from_the_observation(self) -> None:
        """Nothing that hangs on the observation shares memory with the secret."""
        world = leaking()
        seen = watch(world, self.threat)
        sides = (world.secret.members.images, world.secret.others.images)
        truth = {one.data_ptr() for one in sides}
        reached: set[int] = set()
        todo: list[object] = [seen]
        while todo:
            one = todo.pop()
            if id(one) in reached or isinstance(one, type):
                continue
            reached.add(id(one))
            if isinstance(one, torch.Tensor):
                assert one.data_ptr() not in truth
            elif type(one).__module__.startswith("safelight") or isinstance(
                one, (dict, list, tuple)
            ):
                todo += gc.get_referents(one)
        assert len(reached) > 5
        if self.threat.offers.public:
            members = set(world.secret.members.content_hashes())
            assert members.isdisjoint(seen.public.content_hashes())

    def test_options_survive_the_catalog(self) -> None:
        """What a plan says is what runs."""
        name = catalog.name_of(self.threat)
        given = {key: getattr(self.threat, key) for key in catalog.options(type(self.threat))}
        assert catalog.build("threat", name, given) == self.threat
