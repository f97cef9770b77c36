"""The contracts of defenses that train: a classifier for a message, or a generator."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from safelight import catalog
from safelight.auditing.target import Defense
from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.errors import PlanError
from safelight.plan.plan import FitPlan
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.generators.adversarial import networks_of
from safelight.targets.generators.defended import GeneratorDefense, train_defended
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import ReleasedGenerator, tensors_of
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

    def test_a_seed_that_can_be_guessed_is_refused(self) -> None:
        """Whoever has it subtracts the noise."""
        short = self.recipe.model_copy(update={"seed": 2**32 - 1})
        with pytest.raises(PlanError, match="a short one can be guessed"):
            self.defense.privacy(len(self.images), short)
        with pytest.raises(PlanError, match="a short one can be guessed"):
            self.defense.train(self.images, short, torch.device("cpu"))

    def test_more_bits_draw_the_noise_than_can_be_tried(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Seeds that share 32 bits: all that torch's generator on the CPU reads of any."""
        kept, made = Seeds.integer, []
        for high in (0, 2**50):
            monkeypatch.setattr(Seeds, "integer", lambda own, high=high: kept(own) % 2**32 + high)
            made.append(tensors_of(self.trained()))
        assert any(not torch.equal(one, made[1][name]) for name, one in made[0].items())

    def test_first_weights_do_not_show_the_seed(self) -> None:
        """Half of its bits would be found by trying which networks it starts from."""
        still = self.recipe.model_copy(update={"steps": 1, "learning_rate": 1e-12})
        made = self.defense.train(self.images, still, torch.device("cpu")).generator
        shown = networks_of(still, self.images)[0]
        pairs = zip(made.parameters(), shown.parameters(), strict=True)
        assert not all(torch.allclose(one, other, atol=1e-6) for one, other in pairs)

    def test_says_that_the_number_of_pictures_is_known(self) -> None:
        """The sampling rate and the bar for delta stand on it."""
        assert "leaves n known" in self.trained().facts["privacy"]["neighbors"]

    def test_from_the_cache_it_is_the_same(self, tmp_path: Path) -> None:
        """Trained once, with the same facts; other pictures are trained on anew."""
        cpu, cache = torch.device("cpu"), Cache(tmp_path)
        made = [train_defended(self.defense, self.recipe, self.images, cpu, cache) for _ in "ab"]
        for one in made:
            assert one.facts == self.trained().facts
            own, given = tensors_of(one), tensors_of(self.trained())
            assert own.keys() == given.keys()
            assert all(torch.equal(own[name], given[name]) for name in own)
        assert len(list(tmp_path.iterdir())) == 1
        turned = dataclasses.replace(self.images, images=self.images.images.flip(-1))
        train_defended(self.defense, self.recipe, turned, cpu, cache)
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_delta_that_promises_nothing_is_refused(self) -> None:
        """One picture in n may then be published as it is."""
        n = int(1 / getattr(self.defense, "delta")) + 1  # noqa: B009 - every one has it
        with pytest.raises(PlanError, match="delta"):
            self.defense.privacy(n, self.recipe)
