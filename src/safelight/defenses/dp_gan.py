"""DP-GAN: train a generator so that no one picture can have mattered much to it."""

from dataclasses import dataclass
from importlib import metadata
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pydantic
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.catalog import Reference
from safelight.data.augment import augmented
from safelight.data.images import ImageSet
from safelight.defenses.dp_sgd import epsilon_of, noise_for
from safelight.errors import LoadError, PlanError
from safelight.targets.generators.adversarial import (
    Average,
    Draw,
    facts_of,
    networks_of,
    optimizers,
)
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
Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class DPGAN(GeneratorDefense):
    """Clip and noise what the discriminator learns from real pictures (Xie et al. 2018).

    The generator sees pictures only through the discriminator, so that it needs no noise of its
    own: it is post-processing, and the guarantee covers it and every state of the discriminator.
    So is what the discriminator learns from generated pictures, whose gradient is added as it is.
    Each real picture is in a batch by its own coin (Poisson sampling) with chance batch_size / n,
    its gradient, R1 penalty included, is taken by itself and clipped, and the sum is noised. A
    batch without pictures is noise alone, and counts.

    The guarantee is for one picture replaced by an empty one, which leaves n known, and for
    whoever does not know the recipe's seed, which draws the noise: take a random one of 63 bits;
    it and the training set's hash are left out of the facts. It does not count what choosing the
    recipe on the same pictures gives away.

    Attributes:
        epsilon: to be reached at the end, from which the noise follows.
        noise: standard deviation of the noise in units of ``clip``; above 0 it decides, and
            epsilon is what that comes to.
        delta: below 1 / n.
        clip: largest norm of one picture's whole gradient.
        clipping: ``flat``, or each layer's or each output channel's part by itself, with equal
            shares of ``clip``.
        scope: ``discriminator``, or ``both``: clip and noise the generator's gradients as well.
            That promises no more, as those are gradients of random latent codes and not of
            anybody's picture, and costs quality. One accountant counts the discriminator's steps
            alone. Two privacy engines on one data loader, as is sometimes advised, either fail or
            count every step twice.
        at_once: pictures whose gradients are held in memory together.
    """

    reference: ClassVar[Reference] = Reference(
        key="xie2018",
        authors="Xie, Liyang and Lin, Kaixiang and Wang, Shu and Wang, Fei and Zhou, Jiayu",
        title="Differentially Private Generative Adversarial Network",
        year=2018,
        venue="arXiv:1802.06739",
        url="https://arxiv.org/abs/1802.06739",
    )

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    epsilon: Positive = 10.0
    noise: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    delta: Annotated[float, pydantic.Field(gt=0, lt=1)] = 1e-5
    clip: Positive = 1.0
    clipping: Literal["flat", "per layer", "per channel"] = "flat"
    scope: Literal["discriminator", "both"] = "discriminator"
    at_once: Annotated[int, pydantic.Field(ge=1)] = 64

    def train(
        self, images: ImageSet, recipe: GeneratorRecipe, device: torch.device
    ) -> ReleasedGenerator:
        """Train a generator, like ``targets.generators.adversarial.trained``.

        Args:
            images: the training pictures, kept on the device for the whole run.
            recipe: networks, steps of the discriminator, expected batch size, rates, seed.
            device: where to train.

        Returns:
            the running average of the generator, and the discriminator, both under the guarantee;
            the facts have ``privacy``, and neither seed nor hash.

        Raises:
            LoadError: a network mixes pictures of a batch.
            PlanError: the batch is larger than the training set, delta is too large for it, the
                seed is short, or the recipe asks for bfloat16 or for statistics of batches.
            DataError: the pictures have another size than the recipe makes.
        """
        facts = facts_of(recipe, images)
        facts["privacy"] = self.privacy(len(images), recipe)
        generator, judge = (one.to(device) for one in networks_of(hidden(recipe), images))
        assert isinstance(generator, Generator)  # noqa: S101 - for the type
        self._check(recipe, generator, judge, images)
        average = self._run(images, recipe, generator.train(), judge.train(), facts["privacy"])
        return ReleasedGenerator(average.network, judge, given_out(facts))

    def privacy(self, n: int, recipe: GeneratorRecipe) -> dict[str, Any]:
        """Return what training on ``n`` pictures promises, without training.

        ``epsilon`` is None where the noise is too little to promise anything.

        Raises:
            PlanError: the batch is larger than the training set, delta is too large for it, or
                the seed is short.
        """
        check_seed(recipe)
        if recipe.batch_size > n:
            raise PlanError(
                f"batches of {recipe.batch_size} cannot be drawn from {n} pictures; lower "
                "the recipe's batch_size"
            )
        if self.delta >= 1 / n:
            raise PlanError(
                f"delta = {self.delta:g} allows giving away a picture of {n} whole; set it below "
                f"{1 / n:.1e}"
            )
        rate, steps = recipe.batch_size / n, recipe.steps
        noise = self.noise or noise_for(self.epsilon, self.delta, rate, steps)
        return {
            "epsilon": epsilon_of(noise, rate, steps, self.delta),
            "delta": self.delta,
            "noise": noise,
            "clip": self.clip,
            "clipping": self.clipping,
            "scope": self.scope,
            "sampling": "Poisson",
            "sampling rate": rate,
            "steps": steps,
            "accountant": "PRV",
            "neighbors": NEIGHBORS,
            "covers": "generator and discriminator",
            "opacus": metadata.version("opacus"),
        }

    def _check(
        self, recipe: GeneratorRecipe, generator: Generator, judge: nn.Module, images: ImageSet
    ) -> None:
        if recipe.batch_statistics:
            raise PlanError(
                "statistics over a batch mix its pictures, so that no gradient is one picture's "
                "alone; set the recipe's batch_statistics to false"
            )
        if recipe.precision != "float32":
            raise PlanError(
                "DP-GAN clips gradients of single pictures, which bfloat16 rounds too much; set "
                "the recipe's precision to float32"
            )
        check(judge, images.shape, generator.c_dim)
        norms = any(isinstance(one, nn.BatchNorm2d) for one in generator.modules())
        if self.scope == "both" and norms:
            raise PlanError(
                "scope both takes gradients of single generated pictures, which batch "
                "normalization in DCGAN's generator mixes; take scope discriminator, which "
                "promises as much, or architecture stylegan2"
            )

    def _run(
        self,
        images: ImageSet,
        recipe: GeneratorRecipe,
        generator: Generator,
        judge: nn.Module,
        privacy: dict[str, Any],
    ) -> Average:
        device = next(judge.parameters()).device
        pictures, labels = images.images.to(device) * 2 - 1, images.labels.to(device)
        # No labels: how frequent the classes are is private, and generated ones are even.
        draw = Draw(recipe, generator.c_dim, None, device)
        coin, noise = secret_draw(recipe, "coins"), secret_draw(recipe, "noise")
        average = Average(generator, recipe.ema)
        own, its = optimizers(recipe, generator, judge)
        for step in range(recipe.steps):
            heads = coin.random(len(images)) < privacy["sampling rate"]
            rows = torch.from_numpy(heads.nonzero()[0]).to(device)
            real = augmented(pictures[rows], recipe.flip, recipe.shift, draw.order)
            penalty = recipe.r1 * recipe.r1_every if step % recipe.r1_every == 0 else 0.0
            loss = _real_loss(judge, penalty)
            summed = self.clipped(judge, loss, real, draw.one_hot(labels[rows]))
            its.zero_grad(set_to_none=True)
            with torch.no_grad():
                fake, classes = draw.made(generator, recipe.batch_size)
            F.softplus(judge(fake, classes)).mean().backward()
            self._add(judge, summed, privacy["noise"], recipe.batch_size, noise)
            its.step()
            if step % recipe.discriminator_steps == 0:
                own.zero_grad(set_to_none=True)
                self._guide(generator, judge, draw, recipe, privacy["noise"], noise)
                own.step()
                average.follow(generator)
        average.measure_batches(draw, recipe.batch_size)
        return average

    def clipped(self, network: nn.Module, loss: Any, *batch: Tensor | None) -> Weights:
        """Return ``sum_i clip(grad loss(weights, *batch_i))`` by name, zero for an empty batch.

        Args:
            network: whose weights the gradients are of.
            loss: of the weights by name and one row of each of ``batch``, a number.
            batch: tensors [n, ...]; None is passed on as it is.
        """
        weights = {name: one.detach() for name, one in network.named_parameters()}
        total = {name: torch.zeros_like(one) for name, one in weights.items()}
        rows = len(next(one for one in batch if one is not None))
        each = vmap(grad(loss), (None, *(None if one is None else 0 for one in batch)))
        for start in range(0, rows, self.at_once):
            part = [None if one is None else one[start : start + self.at_once] for one in batch]
            for name, samples in self._clip(each(weights, *part)).items():
                total[name] += samples
        return total

    def _clip(self, samples: Weights) -> Weights:
        """Return the sum of clipped gradients, given those of single rows [n, ...] by name.

        What is not a number counts as 0: one picture may not spoil the sum.
        """
        samples = {name: one.nan_to_num(0.0, 0.0, 0.0) for name, one in samples.items()}
        if self.clipping == "per channel":
            rows = {name: _by_channel(one) for name, one in samples.items()}
            each = self.clip / sum(one.shape[1] for one in rows.values()) ** 0.5
            return {
                name: torch.einsum("nc,nck->ck", _factors(one.norm(dim=2), each), one).reshape(
                    samples[name].shape[1:]
                )
                for name, one in rows.items()
            }
        norms = torch.stack([one.reshape(len(one), -1).norm(dim=1) for one in samples.values()])
        if self.clipping == "flat":
            factors = _factors(norms.norm(dim=0), self.clip).expand(len(samples), -1)
        else:
            factors = _factors(norms, self.clip / len(samples) ** 0.5)
        pairs = zip(factors, samples.items(), strict=True)
        return {name: torch.einsum("n,n...->...", factor, one) for factor, (name, one) in pairs}

    def _add(
        self,
        network: nn.Module,
        summed: Weights,
        noise: float,
        size: int,
        draw: np.random.Generator,
    ) -> None:
        """Add ``(summed + N(0, (noise clip)^2 I)) / size`` to the gradients of a network."""
        for name, one in network.named_parameters():
            own = (summed[name] + noise * self.clip * gaussian(one, draw)) / size
            one.grad = own if one.grad is None else one.grad + own

    def _guide(
        self,
        generator: Generator,
        judge: nn.Module,
        draw: Draw,
        recipe: GeneratorRecipe,
        noise: float,
        source: np.random.Generator,
    ) -> None:
        """Set the generator's gradients."""
        if self.scope == "discriminator":
            judge.requires_grad_(False)
            fake, classes = draw.made(generator, recipe.batch_size)
            F.softplus(-judge(fake, classes)).mean().backward()
            judge.requires_grad_(True)
            return

        def loss(weights: Weights, z: Tensor, label: Tensor | None) -> Tensor:
            one = None if label is None else label[None]
            fake = functional_call(generator, weights, (z[None], one))
            return F.softplus(-judge(fake, one)).sum()

        # The first pictures of the batch move what training mode keeps: the mean of w.
        labels = draw.classes(recipe.batch_size)
        codes = draw.latent(recipe.batch_size)
        with torch.no_grad():
            generator.mapping(codes, labels)
        generator.eval()
        summed = self.clipped(generator, loss, codes, labels)
        self._add(generator, summed, noise, recipe.batch_size, source)
        generator.train()


def _real_loss(judge: nn.Module, penalty: float) -> Any:
    """Return the loss of one real picture: softplus(-D(x)) + penalty / 2 |grad_x D(x)|^2."""

    def loss(weights: Weights, picture: Tensor, label: Tensor | None) -> Tensor:
        one = None if label is None else label[None]

        def logit(x: Tensor) -> Tensor:
            return torch.as_tensor(functional_call(judge, weights, (x[None], one)).sum())

        value = F.softplus(-logit(picture))
        if penalty:
            value = value + penalty / 2 * grad(logit)(picture).square().sum()
        return value

    return loss


def _by_channel(samples: Tensor) -> Tensor:
    """Return gradients [n, channels, ...] as [n, channels, rest]; single numbers are channels."""
    channels = samples.shape[1] if samples.ndim > 1 else 1
    return samples.reshape(len(samples), channels, -1)


def _factors(norms: Tensor, clip: float) -> Tensor:
    """Return min(1, clip / norm)."""
    return (clip / norms.clamp_min(1e-12)).clamp(max=1.0)


def check(judge: nn.Module, shape: tuple[int, ...], c_dim: int) -> None:
    """Refuse a discriminator whose logit for one picture depends on the others of a batch.

    Args:
        judge: in any state, which is kept.
        shape: (channels, height, width) of a picture.
        c_dim: length of a label, 0 for none.

    Raises:
        LoadError: it does, or it keeps statistics.
    """
    was = judge.training
    judge.train()
    before = {name: value.clone() for name, value in judge.named_buffers()}
    draw = torch.Generator().manual_seed(0)
    device = next(judge.parameters()).device
    pictures = torch.rand((2, 4, *shape), generator=draw).to(device)
    pictures[1] *= 50  # far from the others, so that no weight is small enough to hide it
    pictures[1, 0] = pictures[0, 0]
    labels = torch.eye(c_dim, device=device)[[0] * 4] if c_dim else None
    with torch.no_grad():
        said = [judge(batch, labels)[0] for batch in pictures]
    changed = any(not torch.equal(value, before[name]) for name, value in judge.named_buffers())
    judge.load_state_dict(before, strict=False)
    judge.train(was)
    if changed or not torch.allclose(said[0], said[1], rtol=1e-4, atol=1e-6):
        raise LoadError(
            "the discriminator mixes pictures of a batch: what it says of one depends on the "
            "others, so that no gradient is one picture's alone; take out the layer that looks "
            "at the whole batch"
        )
