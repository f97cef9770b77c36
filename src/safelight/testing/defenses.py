"""The contracts of defenses that train: a classifier for a message, or a generator."""

from typing import Any, ClassVar

import pytest
import torch

from safelight import catalog
from safelight.auditing.target import Defense
from safelight.data.images import ImageSet
from safelight.errors import PlanError
from safelight.plan.plan import FitPlan
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.generators.defended import GeneratorDefense
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import ReleasedGenerator
from safelight.targets.release import Release
from safelight.targets.target import Normalized
from safelight.testing import worlds


class _Named:
    """What every component keeps to."""

    defense: ClassVar[Any]

    def test_options_survive_the_catalog(self) -> None:
        """What a plan says is what runs."""
        name = catalog.name_of(self.defense)
        given = {key: getattr(self.defense, key) for key in catalog.options(type(self.defense))}
        assert catalog.build("defense", name, given) == self.defense

    def test_names_its_source(self) -> None:
        """The paper can be cited."""
        assert self.defense.reference.bibtex().startswith("@misc{")


class TrainingDefenseContract(_Named):
    """What every defense keeps to that trains a classifier."""

    defense: ClassVar[Defense]

    def trained(self, seed: int) -> dict[str, torch.Tensor]:
        """Return the weights after an epoch on a few digits."""
        data = worlds.digits().public.rows(torch.arange(64))
        torch.manual_seed(1)
        model = self.defense.prepared(Normalized(LeNet(), (0.5,), (0.5,)), data.shape)
        recipe = FitPlan(epochs=1, batch_size=32, learning_rate=1e-2, seed=seed)
        told = self.defense.train(model, data, recipe)
        assert isinstance(told, dict)
        assert not model.training
        return {name: value.clone() for name, value in model.state_dict().items()}

    def test_same_seed_same_network(self) -> None:
        """A training can be repeated, and another seed is another training."""
        one, again, other = (self.trained(seed) for seed in (0, 0, 1))
        assert all(torch.equal(one[name], again[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)

    def test_says_what_it_does_to_messages(self) -> None:
        """What the model was trained for is what the audit does to every message."""
        assert self.defense.at_release is None or isinstance(self.defense.at_release, Release)


class GeneratorDefenseContract(_Named):
    """What every defense keeps to that trains a generator with a promise, by ``recipe``."""

    defense: ClassVar[GeneratorDefense]
    recipe: ClassVar[GeneratorRecipe]
    images: ClassVar[ImageSet]

    def trained(self) -> ReleasedGenerator:
        """Return a generator of a few steps."""
        return self.defense.train(self.images, self.recipe, torch.device("cpu"))

    def test_same_seed_same_network(self) -> None:
        """A training can be repeated by who knows the seed."""
        one, again = (self.trained().generator.state_dict() for _ in "ab")
        assert all(torch.equal(one[name], again[name]) for name in one)

    def test_promises_no_less_than_was_asked(self) -> None:
        """Epsilon is at most the one asked for, at the delta asked for."""
        promise = self.trained().facts["privacy"]
        asked: Any = self.defense
        assert 0 < promise["epsilon"] <= asked.epsilon
        assert promise["delta"] == asked.delta

    def test_gives_out_neither_seed_nor_hash_of_the_pictures(self) -> None:
        """The one redraws the noise, the other confirms a guess."""
        facts = self.trained().facts
        assert "seed" not in facts["recipe"]
        assert "training_set_sha256" not in facts

    def test_a_delta_that_promises_nothing_is_refused(self) -> None:
        """One picture in n may then be published as it is."""
        n = int(1 / getattr(self.defense, "delta")) + 1  # noqa: B009 - every one has it
        with pytest.raises(PlanError, match="delta"):
            self.defense.privacy(n, self.recipe)
