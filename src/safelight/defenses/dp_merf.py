"""DP-MERF: one noisy mean of random features, and a generator that matches it."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pydantic
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from safelight.catalog import Reference
from safelight.data.images import ImageSet
from safelight.errors import PlanError
from safelight.stats.seeds import Seeds
from safelight.targets.generators.adversarial import Average, Draw, facts_of, networks_of
from safelight.targets.generators.defended import (
    NEIGHBORS,
    GeneratorDefense,
    check_seed,
    gaussian,
    given_out,
    hidden,
    secret_draw,
)
from safelight.targets.generators.generator import Generator
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import ReleasedGenerator

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]

#: Larger noise promises so much that no rounding of the search can matter.
_MOST_NOISE = 1e6


@dataclass(frozen=True, kw_only=True)
class DPMERF(GeneratorDefense):
    """Match one noisy mean embedding of the pictures (Harder, Adamczewski and Park 2021).

    Every picture is turned into random Fourier features of unit norm. Their sums, one a class,
    are released once with Gaussian noise; the generator is then trained against this release and
    never sees a picture. One release, exactly accounted, whatever the training does: many steps
    cost nothing. What a mean of features cannot tell apart, the generator cannot learn: its
    pictures are blurred.

    The guarantee is for one picture replaced by an empty one, which leaves n known, and for
    whoever does not know the recipe's seed, which draws the noise: take a random one of 63 bits;
    it and the training set's hash are left out of the facts.

    Attributes:
        epsilon: of the release, from which the noise follows.
        noise: standard deviation of the noise in units of the sensitivity; above 0 it decides,
            and epsilon is what that comes to.
        delta: below 1 / n.
        features: random features, half of them cosines and half sines.
        length: scale of the kernel exp(-d^2 / (2 length^2)), where d is the root mean square
            difference of two pictures with pixels in [0, 1]. A public choice.
        counting: weight of the constant feature that counts each class, in the same release.
    """

    reference: ClassVar[Reference] = Reference(
        key="harder2021",
        authors="Harder, Frederik and Adamczewski, Kamil and Park, Mijung",
        title="DP-MERF: Differentially Private Mean Embeddings with Random Features for "
        "Practical Privacy-preserving Data Generation",
        year=2021,
        venue="AISTATS 2021",
        url="https://proceedings.mlr.press/v130/harder21a.html",
    )

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    epsilon: Positive = 1.0
    noise: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    delta: Annotated[float, pydantic.Field(gt=0, lt=1)] = 1e-5
    features: Annotated[int, pydantic.Field(ge=2, multiple_of=2)] = 2000
    length: Positive = 0.2
    counting: Positive = 0.1

    def train(
        self, images: ImageSet, recipe: GeneratorRecipe, device: torch.device
    ) -> ReleasedGenerator:
        """Train a generator; there is no discriminator.

        Args:
            images: the training pictures, read once.
            recipe: the generator, steps, batch size and its learning rate, seed.
            device: where to train.

        Returns:
            the running average of the generator; the facts have ``privacy``, and neither seed nor
            hash.

        Raises:
            PlanError: delta is too large for the pictures, or the seed is short.
            DataError: the pictures have another size than the recipe makes.
        """
        facts = facts_of(recipe, images)
        facts["privacy"] = self.privacy(len(images), recipe)
        generator = networks_of(hidden(recipe), images)[0].to(device)
        seeds = Seeds(recipe.seed, ("mean embedding",))
        embed = self.embedding(images.shape, seeds.child("frequencies"), device)
        classes = generator.c_dim or 1
        noise = secret_draw(recipe, "noise")
        sums = self.release(images, embed, classes, facts["privacy"]["noise"], noise)
        average = self._match(sums, embed, generator.train(), recipe)
        return ReleasedGenerator(average.network, None, given_out(facts))

    def privacy(self, n: int, recipe: GeneratorRecipe) -> dict[str, Any]:
        """Return what training on ``n`` pictures promises, whatever the recipe.

        Raises:
            PlanError: delta is too large for the pictures, or the recipe's seed is short.
        """
        check_seed(recipe)
        if self.delta >= 1 / n:
            raise PlanError(
                f"delta = {self.delta:g} allows giving away a picture of {n} whole; set it below "
                f"{1 / n:.1e}"
            )
        noise = self.noise or gaussian_noise(self.epsilon, self.delta)
        return {
            "epsilon": gaussian_epsilon(noise, self.delta),
            "delta": self.delta,
            "noise": noise,
            "releases": 1,
            "accountant": "exact, of one Gaussian release",
            "neighbors": NEIGHBORS,
            "covers": "generator",
        }

    def embedding(
        self, shape: tuple[int, int, int], seeds: Seeds, device: torch.device
    ) -> "Embedding":
        """Return the features for pictures of a shape (channels, height, width)."""
        pixels = math.prod(shape)
        draw = torch.Generator().manual_seed(seeds.integer())
        frequencies = torch.randn(pixels, self.features // 2, generator=draw)
        return Embedding(frequencies.to(device) / (self.length * pixels**0.5), self.counting)

    def release(
        self,
        images: ImageSet,
        embed: "Embedding",
        classes: int,
        noise: float,
        draw: np.random.Generator,
    ) -> Tensor:
        """Return the noisy sums of features [classes, features + 1]: all that is ever read.

        One picture adds one row of norm sqrt(1 + counting^2) to one class, and an empty one adds
        nothing: this is the sensitivity.
        """
        device = embed.frequencies.device
        sums = torch.zeros(classes, self.features + 1, device=device)
        pairs = zip(images.images.split(1000), images.labels.split(1000), strict=True)
        for pictures, labels in pairs:
            rows = labels.to(device) if classes > 1 else torch.zeros_like(labels, device=device)
            sums.index_add_(0, rows, embed(pictures.to(device)))
        sensitivity = math.sqrt(1 + self.counting**2)
        return sums + noise * sensitivity * gaussian(sums, draw)

    def _match(
        self, sums: Tensor, embed: "Embedding", generator: Generator, recipe: GeneratorRecipe
    ) -> Average:
        """Minimize ``sum_c share_c |sum_c / n_c - mean phi(G(z, c))|^2``.

        Equation 7 of the paper has share_c^2 and hardly hears a rare class. With share_c, the noise
        pulls at every class alike.
        """
        counts = (sums[:, -1] / self.counting).clamp_min(1.0)
        shares = counts / counts.sum()
        wanted = sums / counts[:, None]
        draw = Draw(recipe, generator.c_dim, None, sums.device)
        average = Average(generator, recipe.ema)
        betas = (recipe.beta1, recipe.beta2)
        optimizer = torch.optim.Adam(generator.parameters(), recipe.learning_rate, betas)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
        for _ in range(recipe.steps):
            made, labels = draw.made(generator, recipe.batch_size)
            features = embed((made + 1) / 2)
            if labels is None:
                labels = torch.ones(len(made), 1, device=sums.device)
            mean = labels.t() @ features / labels.sum(0).clamp_min(1)[:, None]
            drawn = labels.sum(0) > 0
            loss = (shares * (wanted - mean).square().sum(1))[drawn].sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            average.follow(generator)
        average.measure_batches(draw, recipe.batch_size)
        return average


@dataclass(frozen=True, eq=False)
class Embedding:
    """Random Fourier features (Rahimi and Recht 2007) and a constant.

    ``frequencies``: [pixels, features / 2]. The inner product of two pictures' features is about
    the kernel of the two, and of one with itself exactly 1.
    """

    frequencies: Tensor
    counting: float

    def __call__(self, pictures: Tensor) -> Tensor:
        """Map pictures [n, c, h, w] in [0, 1] to features [n, features + 1], the last constant."""
        angles = pictures.flatten(1) @ self.frequencies
        waves = torch.cat([angles.cos(), angles.sin()], 1) / angles.shape[1] ** 0.5
        return torch.cat([waves, torch.full_like(waves[:, :1], self.counting)], 1)


def gaussian_delta(epsilon: float, noise: float) -> float:
    """Return the least delta of a Gaussian release at noise times the sensitivity.

    Phi(1 / (2 s) - epsilon s) - e^epsilon Phi(-1 / (2 s) - epsilon s) at noise s (Balle and Wang
    2018, theorem 8).
    """
    low, high = 0.5 / noise - epsilon * noise, -0.5 / noise - epsilon * noise
    return float(norm.cdf(low) - math.exp(epsilon + norm.logcdf(high)))


def gaussian_noise(epsilon: float, delta: float) -> float:
    """Return the least noise, in units of the sensitivity, of an (epsilon, delta) release."""
    found = brentq(lambda noise: gaussian_delta(epsilon, noise) - delta, 1e-3, _MOST_NOISE)
    return float(found) * (1 + 1e-9)


def gaussian_epsilon(noise: float, delta: float) -> float:
    """Return the epsilon of a Gaussian release at this noise and delta."""
    if gaussian_delta(0.0, noise) <= delta:
        return 0.0
    most = 0.5 / noise**2 + 10 / noise + 1  # beyond it, delta is below Phi(-10)
    return float(brentq(lambda one: gaussian_delta(one, noise) - delta, 0.0, most))
