"""What a defense that trains a generator gives, and what it keeps to itself."""

import abc
from typing import Any

import torch

from safelight.data.images import ImageSet
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import ReleasedGenerator


class GeneratorDefense(abc.ABC):
    """A way to train a generator that comes with a promise, such as ``defenses.dp_gan``."""

    @abc.abstractmethod
    def train(
        self, images: ImageSet, recipe: GeneratorRecipe, device: torch.device
    ) -> ReleasedGenerator:
        """Train; the facts have ``privacy`` and went through ``given_out``."""

    @abc.abstractmethod
    def privacy(self, n: int, recipe: GeneratorRecipe) -> dict[str, Any]:
        """Return what training on ``n`` pictures promises, without training."""


def given_out(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts without what would undo a guarantee.

    The seed draws the noise, and the hash of the training set tells who knows all pictures but
    one whether a guess of that one is right.
    """
    recipe = {key: one for key, one in facts["recipe"].items() if key != "seed"}
    kept = {key: one for key, one in facts.items() if key != "training_set_sha256"}
    return kept | {"recipe": recipe}
