"""DP-SGD: train so that no one picture can have mattered much, and say how much it can have."""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.catalog import Reference
from safelight.data.augment import augmented
from safelight.data.images import ImageSet
from safelight.errors import LoadError, PlanError
from safelight.plan.plan import FitPlan
from safelight.stats.seeds import Seeds
from safelight.targets.target import Normalized

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]

#: Below this noise the accountant's grid of privacy losses grows without bound, and epsilon, in
#: the hundreds, promises nothing.
LEAST_NOISE = 0.2


@dataclass(frozen=True, kw_only=True)
class DPSGD:
    """Clip each picture's gradient and add Gaussian noise to their sum (Abadi et al. 2016).

    Gradients of single pictures, clipping and noise are Opacus's. Each picture is in a batch by
    its own coin (Poisson sampling) with chance batch_size / n, which is what the accountant
    counts. The guarantee is for one picture added or removed, and for whoever does not know the
    seed of the noise: keep the recipe's seed to yourself. It does not count what choosing the
    recipe on the same pictures gives away.

    Attributes:
        epsilon: to be reached at the end, from which the noise follows.
        noise: standard deviation of the noise in units of ``clip``; above 0 it decides, and
            epsilon is what that comes to.
        delta: below 1 / n.
        clip: largest norm of one picture's whole gradient.
        clipping: ``flat``, or each layer's or each output channel's part by itself, with equal
            shares of ``clip``.
        optimizer: ``sgd`` or ``adam``; it sees the noisy gradient alone.
        momentum: of ``sgd``.
        repair: put GroupNorm where BatchNorm is, which mixes pictures, before training.
        at_once: pictures whose gradients are held in memory together.
    """

    reference: ClassVar[Reference] = Reference(
        key="abadi2016",
        authors="Abadi, Martin and Chu, Andy and Goodfellow, Ian and McMahan, H. Brendan and "
        "Mironov, Ilya and Talwar, Kunal and Zhang, Li",
        title="Deep Learning with Differential Privacy",
        year=2016,
        venue="ACM CCS 2016",
        doi="10.1145/2976749.2978318",
    )

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    epsilon: Positive = 3.0
    noise: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    delta: Annotated[float, pydantic.Field(gt=0, lt=1)] = 1e-5
    clip: Positive = 1.0
    clipping: Literal["flat", "per layer", "per channel"] = "flat"
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    repair: bool = False
    at_once: Annotated[int, pydantic.Field(ge=1)] = 512

    def train(self, model: Normalized, data: ImageSet, recipe: FitPlan) -> dict[str, Any]:
        """Train a classifier in place, like ``targets.fit.fit``; the learning rate is constant.

        Args:
            model: in any state, as ``prepared`` gives it; left in evaluation mode.
            data: the training pictures, kept on the model's device for the whole run.
            recipe: epochs, expected batch size, learning rate, weight decay, augmentation, seed.

        Returns:
            The facts to keep with the weights: those of ``fit``, and ``privacy``.

        Raises:
            LoadError: the network mixes pictures, or has no gradient of a single one.
            PlanError: the batch is larger than the training set, delta is too large for it, or
                the recipe asks for bfloat16.
        """
        from opacus.grad_sample import GradSampleModule

        if recipe.precision != "float32":
            raise PlanError(
                "DP-SGD clips gradients of single pictures, which bfloat16 rounds too much; set "
                "target.fit.precision to float32"
            )
        check(model, data.shape)
        facts = self.privacy(len(data), recipe)
        images, labels = data.images.to(model.mean.device), data.labels.to(model.mean.device)
        order = torch.Generator().manual_seed(recipe.seed)
        model.train()
        wrapped = GradSampleModule(model.network, loss_reduction="sum")
        optimizer = self._optimizer(model.network, recipe, facts["noise"])
        with torch.random.fork_rng(), _quiet():  # dropout draws from the global generator
            torch.manual_seed(recipe.seed)
            for _ in range(facts["steps"]):
                rows = (torch.rand(len(data), generator=order) < facts["sampling rate"]).nonzero()
                with _one_step(optimizer, rows[:, 0].to(images.device), self.at_once) as parts:
                    for part in parts:
                        pictures = augmented(images[part], recipe.flip, recipe.shift, order)
                        logits = wrapped((pictures - model.mean) / model.std)
                        F.cross_entropy(logits, labels[part], reduction="sum").backward()
        wrapped.cleanup()
        model.zero_grad(set_to_none=True)
        model.eval()
        about = {"n": len(data), "training_set_sha256": data.sha256()}
        return {"recipe": recipe.model_dump(), "privacy": facts, **about}

    @property
    def at_release(self) -> None:
        """Nothing is done to messages."""

    def prepared(self, model: Normalized, shape: tuple[int, ...]) -> Normalized:
        """Return the model with layers that mix pictures replaced, if ``repair`` is set."""
        del shape
        from opacus.validators import ModuleValidator

        if self.repair:
            model.network = ModuleValidator.fix(model.network)
        return model

    def facts(self, n: int, recipe: FitPlan) -> dict[str, Any]:
        """Return the promise, as the record has it."""
        return {"privacy": self.privacy(n, recipe)}

    def privacy(self, n: int, recipe: FitPlan) -> dict[str, Any]:
        """Return what training on ``n`` pictures promises, without training.

        ``epsilon`` is None where the noise is too little to promise anything.

        Raises:
            PlanError: the batch is larger than the training set, or delta is too large for it.
        """
        if recipe.batch_size > n:
            raise PlanError(
                f"batches of {recipe.batch_size} cannot be drawn from {n} pictures; lower "
                "target.fit.batch_size"
            )
        if self.delta >= 1 / n:
            raise PlanError(
                f"delta = {self.delta:g} allows giving away a picture of {n} whole; set it below "
                f"{1 / n:.1e}"
            )
        rate = recipe.batch_size / n
        steps = max(round(recipe.epochs / rate), 1)
        noise = self.noise or noise_for(self.epsilon, self.delta, rate, steps)
        return {
            "epsilon": epsilon_of(noise, rate, steps, self.delta),
            "delta": self.delta,
            "noise": noise,
            "clip": self.clip,
            "clipping": self.clipping,
            "sampling": "Poisson",
            "sampling rate": rate,
            "steps": steps,
            "accountant": "PRV",
            "neighbors": "one picture added or removed",
            "opacus": metadata.version("opacus"),
        }

    def _optimizer(self, network: nn.Module, recipe: FitPlan, noise: float) -> "DPOptimizer":
        from opacus.optimizers import DPOptimizer, DPPerLayerOptimizer

        own = [one for one in network.parameters() if one.requires_grad]
        if self.optimizer == "adam":
            inner: torch.optim.Optimizer = torch.optim.Adam(
                own, recipe.learning_rate, weight_decay=recipe.weight_decay
            )
        else:
            inner = torch.optim.SGD(
                own, recipe.learning_rate, self.momentum, weight_decay=recipe.weight_decay
            )
        device = own[0].device
        # Not the coins' stream: noise that repeats their numbers is not independent of them. (Of
        # any seed torch's generator on the CPU reads 32 bits, so that a sum would not do.)
        draw = torch.Generator(device).manual_seed(Seeds(recipe.seed, ("noise",)).integer())
        given = {"noise_multiplier": noise, "generator": draw}
        given["expected_batch_size"] = recipe.batch_size
        if self.clipping == "per layer":
            each = [self.clip / len(own) ** 0.5] * len(own)
            return DPPerLayerOptimizer(inner, max_grad_norm=each, **given)
        kind = _per_channel() if self.clipping == "per channel" else DPOptimizer
        return kind(inner, max_grad_norm=self.clip, **given)


@contextmanager
def _one_step(optimizer: "DPOptimizer", rows: Tensor, at_once: int) -> Iterator[Iterator[Tensor]]:
    """Give out a batch in parts whose gradients are clipped as they come; noise is added once.

    A batch may be empty: then the step is noise alone, and must be taken all the same.
    """
    optimizer.zero_grad()
    parts = list(rows.split(at_once)) if len(rows) else []

    def given() -> Iterator[Tensor]:
        for number, part in enumerate(parts, 1):
            yield part
            optimizer.signal_skip_step(do_skip=number < len(parts))
            optimizer.step()
            optimizer.zero_grad()

    yield given()
    if not parts:
        for one in optimizer.params:
            one.grad_sample = one.new_zeros((0, *one.shape))
        optimizer.signal_skip_step(do_skip=False)
        optimizer.step()
        optimizer.zero_grad()


def check(model: Normalized, shape: tuple[int, ...]) -> None:
    """Refuse a network in which one picture's gradient depends on others.

    Opacus refuses the layers it knows to do that. What it lets pass, as a deviation over the
    batch, is found by asking: a picture's answer must not change with the pictures beside it.

    Args:
        model: in any state, which is kept.
        shape: (channels, height, width) of a picture.

    Raises:
        LoadError: with the layer and the remedy.
    """
    from opacus.grad_sample import GradSampleModule
    from opacus.validators import ModuleValidator

    was = model.training
    model.train()
    found = [*ModuleValidator.validate(model.network), *GradSampleModule.validate(model.network)]
    found = [one for one in found if "training mode" not in str(one)]
    before = {name: value.clone() for name, value in model.named_buffers()}
    changes = not found and _mixes(model, shape)
    kept = all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    model.train(was)
    if found:
        told = str(found[0]).strip().split("\n")[0]
        raise LoadError(
            f"the network cannot be trained privately: {told}; set repair = true to put GroupNorm "
            "in BatchNorm's place, or change the layer"
        )
    if changes or not kept:
        raise LoadError(
            "the network mixes pictures of a batch: what it says of one depends on the others, so "
            "no gradient is one picture's alone; replace the layer that looks at the whole batch"
        )


def _mixes(model: Normalized, shape: tuple[int, ...]) -> bool:
    draw = torch.Generator().manual_seed(0)
    pictures = torch.rand((2, 4, *shape), generator=draw).to(model.mean.device)
    pictures[1, 0] = pictures[0, 0]
    said: list[Tensor] = []
    for batch in pictures:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)  # the same dropout both times
            said.append(model(batch)[0])
    return not torch.allclose(said[0], said[1], rtol=1e-4, atol=1e-5)


def epsilon_of(noise: float, rate: float, steps: int, delta: float) -> float | None:
    """Upper limit of epsilon after Poisson-sampled steps, by the PRV accountant; None if vast."""
    from opacus.accountants import PRVAccountant

    if noise < LEAST_NOISE:
        return None
    accountant = PRVAccountant()
    accountant.history = [(noise, rate, steps)]
    with _quiet():
        return float(accountant.get_epsilon(delta))


@functools.cache
def noise_for(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Return the noise, in units of the clip, that reaches epsilon at delta after the steps."""
    from opacus.accountants.utils import get_noise_multiplier

    with _quiet():
        found = get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=delta,
            sample_rate=rate,
            steps=steps,
            accountant="prv",
        )
    return float(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Pass over warnings that ask for nothing.

    Pictures need no gradient, so hooks see none of it; the accountant sizes its grid by Renyi
    orders that may end too early, which makes the grid larger and epsilon no smaller; and a rate
    of 1 has the logarithm of a chance of 0, minus infinity, as it should be.
    """
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        warnings.filterwarnings("ignore", "Optimal order is the")
        yield


@functools.cache
def _per_channel() -> "type[DPOptimizer]":
    """Return the optimizer that clips each output channel of each parameter by itself."""
    from opacus.optimizers import DPOptimizer

    class PerChannel(DPOptimizer):  # type: ignore[misc]
        """K channels, each clipped to clip / sqrt(K): the whole stays within clip."""

        def clip_and_accumulate(self) -> None:
            each = self.max_grad_norm / sum(len(one) for one in self.params) ** 0.5
            for one in self.params:
                samples = self._get_flat_grad_sample(one).to(one.dtype)
                norms = samples.flatten(2).norm(dim=2) if samples.ndim > 2 else samples.abs()
                factors = (each / (norms + 1e-6)).clamp(max=1.0)
                summed = torch.einsum("nc,nc...->c...", factors, samples)
                one.summed_grad = summed if one.summed_grad is None else one.summed_grad + summed

    return PerChannel
