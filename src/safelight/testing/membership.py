"""The contract of a membership attack and of its game. A test module names one, no more.

class TestLira(MembershipContract):
attack = Lira(shadows=8)
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
from safelight.attacks.membership.attack import MembershipAttack, MembershipScores
from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.data.roles import Roles, deal
from safelight.errors import AccessError
from safelight.metrics.membership import at_threshold, auc
from safelight.metrics.membership_null import p_values, shuffled, statistics
from safelight.plan.plan import DataPlan, FitPlan, RolePlan
from safelight.record.membership import ERROR, RATES, TESTS
from safelight.stats.seeds import Seeds
from safelight.targets.fit import fit
from safelight.targets.target import Normalized, Target
from safelight.threats.membership_game import GameObservation, GameSecret, MembershipGame, Sights

#: Trains the networks of these worlds until they know their pictures by heart.
RECIPE = FitPlan(epochs=40, batch_size=20, learning_rate=1e-2)


def network() -> nn.Module:
    """Return a small network, which memorizes a hundred digits in a tenth of a second."""
    return nn.Sequential(
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 48), nn.ReLU(), nn.Linear(48, 10)
    )


@functools.cache
def arbitrary(members: int = 100) -> Roles:
    """Return digits with random labels: who was not trained on them cannot know these."""
    plan = DataPlan(
        source="embedded",
        private=RolePlan(count=members),
        public=RolePlan(count=3 * members),
        victims=RolePlan(count=20),
        holdout=RolePlan(count=members),
    )
    roles = deal(plan)
    draw = torch.Generator().manual_seed(0)

    def relabeled(images: ImageSet) -> ImageSet:
        labels = torch.randint(len(images.classes), (len(images),), generator=draw)
        return dataclasses.replace(images, labels=labels)

    sets = {name: relabeled(images) for name, images in roles.items()}
    return Roles(**sets)


@functools.cache
def target(kind: str) -> Target:
    """Return a classifier that knows its members by heart, or one that never saw them.

    Args:
        kind: ``everything``: trained on the members; ``nothing``: trained on others.
    """
    roles = arbitrary()
    others = roles.public.rows(torch.arange(len(roles.public) - 100, len(roles.public)))
    shown = roles.private if kind == "everything" else others
    assert shown is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Normalized(network(), (0.0,), (1.0,))
    fit(model, shown, RECIPE)
    model.zero_grad()
    return Target(f"leaks {kind}", model, shown.source)


def play(
    kind: str, cache: Cache, game: MembershipGame | None = None
) -> tuple[GameObservation, GameSecret]:
    """Play a game against a target that leaks ``everything`` or ``nothing``."""
    return (game or MembershipGame()).meet(target(kind), arbitrary(), RECIPE, cache)


class MembershipContract:
    """What every membership attack keeps to, whatever its method."""

    attack: ClassVar[MembershipAttack]

    @pytest.fixture(scope="class")
    @classmethod
    def cache(cls, tmp_path_factory: pytest.TempPathFactory) -> Cache:
        """Return a cache that the tests of one attack share: shadows are trained once."""
        return Cache(tmp_path_factory.mktemp("cache"))

    def scores(self, kind: str, cache: Cache) -> tuple[MembershipScores, GameSecret]:
        """Attack a target and return the scores beside the truth."""
        seen, secret = play(kind, cache)
        claim = self.attack.run(seen.restricted(self.attack.needs), Seeds(0))
        assert claim.scores.shape == secret.member.shape
        return claim, secret

    def test_wins_on_a_target_that_knows_its_members_by_heart(self, cache: Cache) -> None:
        """The positive control: without it a clean result would mean nothing."""
        claim, secret = self.scores("everything", cache)
        members, others = claim.scores[secret.member], claim.scores[~secret.member]
        assert auc(members, others).value > 0.8
        if claim.threshold is not None:
            assert at_threshold(members, others, claim.threshold).accuracy.low > 0.6

    def test_is_at_chance_on_a_target_that_never_saw_them(self, cache: Cache) -> None:
        """The null: a win here would be a leak in the audit itself."""
        claim, secret = self.scores("nothing", cache)
        sides = claim.scores[secret.member], claim.scores[~secret.member]
        found, null = statistics(*sides, RATES), shuffled(*sides, RATES, 1000, 0)
        assert (p_values(found, null) > ERROR / TESTS).all()

    def test_same_seed_same_scores_and_the_target_stays_as_it_was(
        self, cache: Cache, tmp_path: Path
    ) -> None:
        """Two runs from scratch agree, and move no weight, keep no gradient, change no mode."""
        before = target("everything").weights_sha256()
        one, _ = self.scores("everything", cache)
        two, _ = self.scores("everything", Cache(tmp_path))
        assert (one.scores == two.scores).all()
        assert one.threshold == two.threshold
        assert target("everything").weights_sha256() == before
        assert not target("everything").model.training
        assert all(one.grad is None for one in target("everything").model.parameters())

    def test_needs_everything_that_it_declares(self, cache: Cache) -> None:
        """Taking any declared sight away is noticed; more is never given (see the audit)."""
        for need in self.attack.needs.names():
            seen, _ = play("everything", cache)
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
        assert self.attack.reference.bibtex().startswith("@")
        assert type(self.attack).__doc__
        assert self.attack.access


class GameContract:
    """What every membership game keeps to."""

    threat: ClassVar[MembershipGame]

    def test_refuses_what_it_does_not_offer(self, tmp_path: Path) -> None:
        """The error names the sight and the threat."""
        seen, _ = play("everything", Cache(tmp_path), self.threat)
        everything = Sights(scores=True, shadows=True, online=True, pool=True)
        for hidden in everything.missing_from(self.threat.offers):
            with pytest.raises(AccessError, match=hidden):
                seen.restricted(Sights(**{hidden: True}))

    def test_the_order_of_candidates_does_not_tell(self, tmp_path: Path) -> None:
        """Members and others stand mixed, and every position is true to its own set."""
        seen, secret = play("everything", Cache(tmp_path), self.threat)
        roles, half = arbitrary(), len(secret.member) // 2
        assert roles.private is not None
        assert 0.3 < secret.member[:half].mean() < 0.7
        for side, images in ((True, roles.private), (False, roles.holdout)):
            rows = torch.from_numpy(secret.position[secret.member == side])
            own = seen.candidates.images[torch.from_numpy(secret.member == side)]
            assert torch.equal(own, images.images[rows])

    def test_queries_are_counted(self, tmp_path: Path) -> None:
        """Each view of each picture counts once, however often it is read."""
        seen, _ = play("everything", Cache(tmp_path), self.threat)
        view = seen.restricted(Sights())
        view.labels()
        view.labels()
        asked = view.queries
        assert asked >= len(view.candidates)
        if self.threat.queries > 1:
            view.labels(2)
            assert view.queries == 2 * asked

    def test_options_survive_the_catalog(self) -> None:
        """What a plan says is what runs."""
        name = catalog.name_of(self.threat)
        given = {key: getattr(self.threat, key) for key in catalog.options(type(self.threat))}
        assert catalog.build("threat", name, given) == self.threat
