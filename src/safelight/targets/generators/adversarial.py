"""One plain training loop for a generator and its discriminator (Goodfellow et al. 2014)."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.cache import Cache, source_of
from safelight.data.augment import augmented
from safelight.data.images import ImageSet
from safelight.errors import DataError
from safelight.stats.seeds import Seeds
from safelight.targets.generators.generator import Generator
from safelight.targets.generators.mapping import mixed
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import ReleasedGenerator, filled, tensors_of

#: Batches from which the averaged generator's batch statistics are measured.
_BATCHES = 50


def train_generator(
    recipe: GeneratorRecipe, images: ImageSet, device: torch.device, cache: Cache
) -> ReleasedGenerator:
    """Train a generator on pictures, or take it from the cache.

    Args:
        recipe: the networks, and how they are trained.
        images: the training pictures, kept on the device for the whole run.
        device: where to train; the generator is left there.
        cache: keeps what was trained, by the recipe and the content of the pictures.

    Returns:
        the running average of the generator, and the discriminator as it ended.

    Raises:
        DataError: the pictures have another size than the recipe makes.
    """
    facts = facts_of(recipe, images)

    def make() -> dict[str, Tensor]:
        return tensors_of(trained(recipe, images, device))

    key = {"generator": recipe.model_dump(), "data": facts["training_set_sha256"]}
    key |= {"labels": images.labeled_sha256(), "classes": facts["classes"]}
    key["torch"] = torch.__version__
    networks = networks_of(recipe, images)
    layers = [type(one) for network in networks for one in network.modules()]
    source = source_of(train_generator, *dict.fromkeys(layers))
    released = filled(recipe, facts, cache.tensors(key, source, make))
    for network in (released.generator, released.discriminator):
        if network is not None:
            network.to(device)
    return released


def facts_of(recipe: GeneratorRecipe, images: ImageSet) -> dict[str, Any]:
    """Return what is kept with a generator about its training.

    Raises:
        DataError: the pictures have another size than the recipe makes, or there are none.
    """
    channels, height, width = images.shape
    if not len(images) or (height, width) != (recipe.resolution, recipe.resolution):
        raise DataError(
            f"{len(images)} pictures of {height} x {width} cannot train a generator of "
            f"{recipe.resolution} x {recipe.resolution}; set data.size to {recipe.resolution}"
        )
    return {
        "recipe": recipe.model_dump(),
        "img_channels": channels,
        "classes": list(images.classes),
        "n": len(images),
        "training_set_sha256": images.sha256(),
        "trained_on": f"{len(images)} pictures of {images.source}",
        "torch": torch.__version__,
    }


def networks_of(recipe: GeneratorRecipe, images: ImageSet) -> tuple[Generator, nn.Module]:
    """Return both networks untrained, the same for the same seed."""
    c_dim = len(images.classes) if recipe.conditional else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        channels = images.shape[0]
        return recipe.generator(channels, c_dim), recipe.discriminator(channels, c_dim)


def trained(recipe: GeneratorRecipe, images: ImageSet, device: torch.device) -> ReleasedGenerator:
    """Train without the cache; see ``train_generator``.

    The loss is the non-saturating logistic one (Goodfellow et al. 2014, section 3), with the R1
    penalty r1 / 2 |grad D(x)|^2 on real pictures (Mescheder et al. 2018, equation 9).
    """
    facts = facts_of(recipe, images)
    # Convolutions run up to a third faster in this layout, and agree to rounding.
    layout: Any = {"memory_format": torch.channels_last}
    generator, judge = (one.to(device, **layout).train() for one in networks_of(recipe, images))
    assert isinstance(generator, Generator)  # noqa: S101 - for the type
    pictures = (images.images.to(device) * 2 - 1).contiguous(**layout)
    labels = images.labels.to(device)
    draw = Draw(recipe, generator.c_dim, labels, device)
    average = Average(generator, recipe.ema)
    own, its = optimizers(recipe, generator, judge)
    rows = _batches(len(images), recipe.batch_size, draw.order)
    half = recipe.precision == "bfloat16"
    for step in range(recipe.steps):
        batch = next(rows).to(device)
        real = augmented(pictures[batch], recipe.flip, recipe.shift, draw.order)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            with torch.no_grad():
                fake, classes = draw.made(generator, len(batch))
            loss = F.softplus(judge(fake, classes)).mean()
            loss = loss + F.softplus(-judge(real, draw.one_hot(labels[batch]))).mean()
        if recipe.r1 and step % recipe.r1_every == 0:
            slope = squared_slope(judge, real, draw.one_hot(labels[batch]))
            loss = loss + recipe.r1_every * recipe.r1 / 2 * slope.mean()
        _descend(its, loss)
        if step % recipe.discriminator_steps:
            continue
        judge.requires_grad_(False)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            fake, classes = draw.made(generator, len(batch))
            loss = F.softplus(-judge(fake, classes)).mean()
        _descend(own, loss)
        judge.requires_grad_(True)
        average.follow(generator)
    average.measure_batches(draw, recipe.batch_size)
    plain: Any = {"memory_format": torch.contiguous_format}
    return ReleasedGenerator(average.network.to(**plain), judge.to(**plain), facts)


def squared_slope(judge: nn.Module, real: Tensor, labels: Tensor | None) -> Tensor:
    """Return ``|grad_x D(x)|^2`` [n] for pictures [n, c, h, w], differentiable in the weights."""
    real = real.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(judge(real, labels).sum(), real, create_graph=True)
    return slope.square().flatten(1).sum(1)


def optimizers(
    recipe: GeneratorRecipe, generator: nn.Module, judge: nn.Module
) -> tuple[torch.optim.Adam, torch.optim.Adam]:
    """Return the generator's and the discriminator's."""
    betas = (recipe.beta1, recipe.beta2)
    rate = recipe.discriminator_learning_rate or recipe.learning_rate
    return (
        torch.optim.Adam(generator.parameters(), recipe.learning_rate, betas),
        torch.optim.Adam(judge.parameters(), rate, betas),
    )


class Draw:
    """All that is drawn while training, from the recipe's seed, on the CPU."""

    def __init__(
        self, recipe: GeneratorRecipe, c_dim: int, labels: Tensor | None, device: torch.device
    ) -> None:
        self.recipe, self.c_dim, self.labels, self.device = recipe, c_dim, labels, device
        # Streams of their own: latent codes that repeat the numbers of first weights are not free.
        seeds = Seeds(recipe.seed, ("generator",))
        self.order = torch.Generator().manual_seed(seeds.child("order").integer())
        self.noise = torch.Generator(device).manual_seed(seeds.child("images").integer())

    def one_hot(self, labels: Tensor) -> Tensor | None:
        """Return labels [n, c_dim] of class indices [n]; None without classes."""
        if not self.c_dim:
            return None
        return F.one_hot(labels, self.c_dim).float()

    def latent(self, count: int) -> Tensor:
        """Return latent codes [count, z_dim], N(0, I)."""
        return torch.randn(count, self.recipe.z_dim, generator=self.order).to(self.device)

    def classes(self, count: int) -> Tensor | None:
        """Return labels as frequent as those of the pictures, or even where none were given."""
        if not self.c_dim:
            return None
        many = self.c_dim if self.labels is None else len(self.labels)
        rows = torch.randint(many, (count,), generator=self.order).to(self.device)
        return self.one_hot(rows if self.labels is None else self.labels[rows])

    def made(self, generator: Generator, count: int) -> tuple[Tensor, Tensor | None]:
        """Return pictures of the generator [count, c, h, w] and their labels."""
        labels = self.classes(count)
        ws = generator.mapping(self.latent(count), labels)
        if self.recipe.mixing and generator.num_ws > 1:
            others = generator.mapping(self.latent(count), labels)
            cut = int(torch.randint(1, generator.num_ws, (), generator=self.order))
            mix = torch.rand(count, generator=self.order) < self.recipe.mixing
            ws = torch.where(mix.to(self.device)[:, None, None], mixed(ws, others, cut), ws)
        return generator.synthesis(ws, "random", self.noise), labels


class Average:
    """The running average of a generator's weights (Karras et al. 2018, section 5)."""

    def __init__(self, generator: Generator, decay: float) -> None:
        self.network = copy.deepcopy(generator)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def follow(self, generator: Generator) -> None:
        """Move toward the weights; the first steps count for more, as they forget the start."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        own: list[Tensor] = list(self.network.parameters())
        others: list[Tensor] = list(generator.parameters())
        torch._foreach_lerp_(own, others, 1 - decay)
        for mine, its in zip(self.network.buffers(), generator.buffers(), strict=True):
            mine.copy_(its)

    @torch.no_grad()
    def measure_batches(self, draw: Draw, batch_size: int) -> None:
        """Measure batch normalization's means anew: averaged weights have others."""
        norms = [one for one in self.network.modules() if isinstance(one, nn.BatchNorm2d)]
        if not norms:
            return
        for one in norms:
            one.reset_running_stats()
            one.momentum = None  # the mean of all batches
        self.network.train()
        for _ in range(_BATCHES):
            draw.made(self.network, batch_size)
        self.network.eval()


def _batches(n: int, size: int, order: torch.Generator) -> Iterator[Tensor]:
    """Give out rows [size] for ever, each picture once before any is given again."""
    left = torch.zeros(0, dtype=torch.long)
    while True:
        while len(left) < size:
            left = torch.cat([left, torch.randperm(n, generator=order)])
        batch, left = left[:size], left[size:]
        yield batch


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
