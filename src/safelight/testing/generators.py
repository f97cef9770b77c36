"""The contract of an attack on a generator and of its threat. A test module names one, no more.

class TestDensityRatio(GeneratorContract):
attack = DensityRatio(samples=1000)
"""

import dataclasses
import functools
import gc
import tomllib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import tomli_w
import torch

from safelight import catalog
from safelight.attacks.generator_attack import CandidateAttack, GeneratorAttack, MemoryAttack
from safelight.auditing.generator_measures import Outcome, outcome_of, state
from safelight.controls.planted_generator import RecitingDiscriminator, reciting
from safelight.data.images import ImageSet
from safelight.data.roles import deal
from safelight.errors import AccessError
from safelight.metrics.membership import auc
from safelight.metrics.membership_null import p_values, shuffled, statistics
from safelight.plan.plan import DataPlan, RolePlan
from safelight.record.membership import ERROR, RATES, TESTS
from safelight.stats.seeds import Seeds
from safelight.targets.generators.released import ReleasedGenerator as Released
from safelight.threats.released_generator import (
    GeneratorNeeds,
    GeneratorObservation,
    GeneratorSecret,
    ReleasedGenerator,
)

#: Pictures of a side, their size, and numbers of a latent: enough to tell, few enough for seconds.
PICTURES, SIZE, LATENT = 60, 16, 24

#: The adversary who has everything.
OPEN = ReleasedGenerator(discriminator=True, twin=True)


@dataclass(frozen=True)
class World:
    """A generator, whom it was trained on, who else there is, and a twin."""

    networks: Released
    members: ImageSet
    others: ImageSet
    reference: ImageSet
    twin: Released


@functools.cache
def world(kind: str) -> World:
    """Return a generator that recites its members, or one that recites strangers.

    Args:
        kind: ``everything``: its members come out of it; ``nothing``: others do, of the same
            source, whom nobody asks about.
    """
    roles = deal(
        DataPlan(
            source="embedded",
            size=SIZE,
            private=RolePlan(count=2 * PICTURES),
            holdout=RolePlan(count=2 * PICTURES),
            public=RolePlan(count=10 * PICTURES),
        )
    )
    assert roles.private is not None
    sides = [one.rows(torch.arange(PICTURES)) for one in (roles.private, roles.holdout)]
    rest = [
        one.rows(torch.arange(PICTURES, 2 * PICTURES)) for one in (roles.private, roles.holdout)
    ]
    known = sides[0] if kind == "everything" else rest[0]
    return World(knowing(known), sides[0], sides[1], roles.public, knowing(rest[1]))


def knowing(pictures: ImageSet) -> Released:
    """Return networks that know pictures by heart, and no others."""
    judge = RecitingDiscriminator(pictures.images)
    return Released(reciting(pictures.images, LATENT), judge)


def watch(
    kind: str, threat: ReleasedGenerator | None = None
) -> tuple[GeneratorObservation, GeneratorSecret]:
    """Let an adversary have a generator that leaks ``everything`` or ``nothing``."""
    here = world(kind)
    given = (here.networks, here.members, here.others, here.reference, here.twin)
    return (threat or OPEN).meet(*given)


@functools.cache
def attacked(attack: GeneratorAttack, kind: str) -> tuple[Outcome, GeneratorSecret]:
    """Attack a world once, and score its candidates."""
    seen, secret = watch(kind)
    assert attack.unfit(seen) == ""
    view = seen.restricted(attack.needs)
    return outcome_of(attack, view, seen, world(kind).reference, Seeds(0)), secret


class GeneratorContract:
    """What every attack on a generator keeps to, whatever its method."""

    attack: ClassVar[GeneratorAttack]

    def test_wins_on_a_generator_that_recites_its_members(self) -> None:
        """The positive control: without it a clean result would mean nothing."""
        outcome, secret = attacked(self.attack, "everything")
        sides = outcome.scores[secret.member], outcome.scores[~secret.member]
        assert auc(*sides).value > 0.8
        if isinstance(self.attack, MemoryAttack):
            assert outcome.claims

    def test_is_at_chance_on_a_generator_that_recites_strangers(self) -> None:
        """The null: a win here would be a leak in the audit itself."""
        outcome, secret = attacked(self.attack, "nothing")
        sides = outcome.scores[secret.member], outcome.scores[~secret.member]
        found, null = statistics(*sides, RATES), shuffled(*sides, RATES, 1000, 0)
        assert (p_values(found, null) > ERROR / TESTS).all()

    def test_same_seed_same_claim_and_the_networks_stay_as_they_were(self) -> None:
        """Two runs agree, and move no weight, keep no gradient, change no mode."""
        networks = world("everything").networks
        before = state(networks)
        one, _ = attacked(self.attack, "everything")
        seen, _ = watch("everything")
        view = seen.restricted(self.attack.needs)
        two = outcome_of(self.attack, view, seen, world("everything").reference, Seeds(0))
        assert (one.scores == two.scores).all()
        assert state(networks) == before
        assert not networks.generator.training
        assert all(each.grad is None for each in networks.generator.parameters())

    def test_needs_everything_that_it_declares(self) -> None:
        """Taking any declared sight away is noticed; more is never given."""
        assert isinstance(self.attack, CandidateAttack | MemoryAttack)
        for need in self.attack.needs.names():
            less = dataclasses.replace(self.attack.needs, **{need: False})
            with pytest.raises(AccessError, match=need):
                self.attack.run(watch("everything")[0].restricted(less), Seeds(0))

    def test_an_attack_that_does_not_ask_for_candidates_sees_none(self) -> None:
        """What extracts pictures must not be shown them."""
        assert self.attack.needs.candidates == isinstance(self.attack, CandidateAttack)

    def test_options_survive_toml(self) -> None:
        """What a plan says is what runs."""
        name = catalog.name_of(self.attack)
        text = tomli_w.dumps(dataclasses.asdict(self.attack))
        assert catalog.build("attack", name, tomllib.loads(text)) == self.attack

    def test_has_a_reference_and_says_what_it_does(self) -> None:
        """``explain`` and ``cite`` have something to print."""
        assert self.attack.reference.bibtex().startswith("@")
        assert type(self.attack).__doc__
        assert self.attack.access


class ReleasedGeneratorContract:
    """What every threat keeps to that exposes a generator."""

    threat: ClassVar[ReleasedGenerator]

    def test_refuses_what_it_does_not_offer(self) -> None:
        """The error names the sight and the threat."""
        everything = GeneratorNeeds(
            **{one.name: True for one in dataclasses.fields(GeneratorNeeds)}
        )
        for hidden in everything.missing_from(self.threat.offers):
            with pytest.raises(AccessError, match=rf"{hidden} (is|are) hidden.*released_generator"):
                watch("everything", self.threat)[0].restricted(GeneratorNeeds(**{hidden: True}))

    def test_the_order_of_candidates_does_not_tell(self) -> None:
        """Members and others stand mixed, and every position is true to its own set."""
        seen, secret = watch("everything", self.threat)
        here, half = world("everything"), PICTURES
        assert 0.3 < secret.member[:half].mean() < 0.7
        for side, images in ((True, here.members), (False, here.others)):
            rows = torch.from_numpy(secret.position[secret.member == side])
            own = seen.candidates.images[torch.from_numpy(secret.member == side)]
            assert torch.equal(own, images.images[rows])

    def test_membership_is_not_reachable_from_the_observation(self) -> None:
        """Nothing that hangs on the observation says who is a member."""
        seen, secret = watch("everything", self.threat)
        reached: set[int] = set()
        todo: list[object] = [seen]
        while todo:
            one = todo.pop()
            if id(one) in reached or isinstance(one, type):
                continue
            reached.add(id(one))
            assert not isinstance(one, GeneratorSecret | np.ndarray)
            if isinstance(one, torch.Tensor):
                shape = tuple(one.shape)
                assert shape != secret.member.shape or one.dtype == torch.int64
            elif type(one).__module__.startswith("safelight") or isinstance(
                one, (dict, list, tuple)
            ):
                todo += gc.get_referents(one)
        assert len(reached) > 5

    def test_pictures_that_were_made_are_counted(self) -> None:
        """Every picture made is a query, whoever chose its latent."""
        seen, _ = watch("everything", self.threat)
        seen.samples(30, Seeds(0))
        assert seen.queries == 30
        if self.threat.offers.latents:
            z, classes = seen.latents(12, Seeds(0))
            seen.pictures(z, classes)
            assert seen.queries == 42

    def test_options_survive_the_catalog(self) -> None:
        """What a plan says is what runs."""
        name = catalog.name_of(self.threat)
        given = {key: getattr(self.threat, key) for key in catalog.options(type(self.threat))}
        assert catalog.build("threat", name, given) == self.threat
