"""What a defense that trains a generator gives, and what it keeps to itself."""

import abc
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safelight.cache import Cache, source_of
from safelight.data.images import ImageSet
from safelight.errors import PlanError
from safelight.stats.seeds import Seeds
from safelight.targets.generators.adversarial import facts_of, networks_of
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import ReleasedGenerator, filled, tensors_of

#: Seeds below it can be tried one by one.
SHORTEST_SEED = 2**32

#: Whom a promise hides: n stays what it was, and sets the sampling rate and the bar for delta.
NEIGHBORS = "one picture replaced by an empty one, which leaves n known"


class GeneratorDefense(abc.ABC):
    """A way to train a generator that comes with a promise, such as ``defenses.dp_gan``."""

    @abc.abstractmethod
    def train(
        self, images: ImageSet, recipe: GeneratorRecipe, device: torch.device
    ) -> ReleasedGenerator:
        """Train; the facts have ``privacy`` and went through ``given_out``."""

    @abc.abstractmethod
    def privacy(self, n: int, recipe: GeneratorRecipe) -> dict[str, Any]:
        """Return what training on ``n`` pictures promises, without training.

        Raises:
            PlanError: it promises nothing, or the recipe's seed is too short to hide the noise.
        """


def train_defended(
    defense: GeneratorDefense,
    recipe: GeneratorRecipe,
    images: ImageSet,
    device: torch.device,
    cache: Cache,
) -> ReleasedGenerator:
    """Train by a defense, or take what it trained from the cache; see ``train_generator``.

    The cache's names are hashes over the seed too, which has bits enough not to be found by them.

    Raises:
        PlanError, DataError, LoadError: of ``defense.train``.
    """
    facts = facts_of(recipe, images)
    facts["privacy"] = defense.privacy(len(images), recipe)
    key: dict[str, Any] = {"defense": repr(defense), "facts": facts}
    # In their order, by which coins pick them.
    key |= {"pictures": images.content_hashes(), "labels": images.labels.tolist()}
    layers = [type(one) for network in networks_of(recipe, images) for one in network.modules()]
    source = source_of(train_defended, networks_of, type(defense), *dict.fromkeys(layers))
    made = cache.tensors(key, source, lambda: tensors_of(defense.train(images, recipe, device)))
    released = filled(recipe, given_out(facts), made)
    for network in (released.generator, released.discriminator):
        if network is not None:
            network.to(device)
    return released


def check_seed(recipe: GeneratorRecipe) -> None:
    """Refuse a seed that can be guessed: whoever has it subtracts the noise.

    Raises:
        PlanError: it is short.
    """
    if recipe.seed < SHORTEST_SEED:
        raise PlanError(
            "the recipe's seed draws the noise, and a short one can be guessed; set seed to a "
            "random one of 63 bits, such as "
            "python -c 'import secrets; print(secrets.randbits(63))'"
        )


def secret_draw(recipe: GeneratorRecipe, name: str) -> np.random.Generator:
    """Return what draws coins or noise, one stream a name, from all bits of the recipe's seed.

    Of any seed, torch's generator on the CPU reads 32 bits alone: those can be tried one by one.
    """
    return np.random.default_rng(Seeds(recipe.seed, ("secret", name)).integer())


def gaussian(like: Tensor, draw: np.random.Generator) -> Tensor:
    """Return noise N(0, 1) of the shape and on the device of ``like``."""
    drawn = np.asarray(draw.standard_normal(like.shape, np.float32))
    return torch.from_numpy(drawn).to(like.device)


def hidden(recipe: GeneratorRecipe) -> GeneratorRecipe:
    """Return the recipe with another seed, for networks: their first weights show their seed."""
    return recipe.model_copy(update={"seed": Seeds(recipe.seed, ("networks",)).integer()})


def given_out(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts without what would undo a guarantee.

    The seed draws the noise, and the hash of the training set tells who knows all pictures but
    one whether a guess of that one is right.
    """
    recipe = {key: one for key, one in facts["recipe"].items() if key != "seed"}
    kept = {key: one for key, one in facts.items() if key != "training_set_sha256"}
    return kept | {"recipe": recipe}
