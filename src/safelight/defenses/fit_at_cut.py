"""Train a classifier for what its message gives away: the loop of defenses against inversion."""

import abc
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight import catalog
from safelight.catalog import Reference
from safelight.data.images import ImageSet
from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.errors import LoadError, PlanError
from safelight.plan.plan import FitPlan
from safelight.targets.cut import cut_points
from safelight.targets.fit import fit
from safelight.targets.target import Normalized


class Passing(NamedTuple):
    """One batch on its way over the cut.

    ``pictures`` [n, c, h, w] in [0, 1], ``labels`` [n], ``message`` [n, ...] as computed, ``sent``
    with the noise on it, and the noise's standard ``deviation`` in the message's units (a scalar).
    """

    pictures: Tensor
    labels: Tensor
    message: Tensor
    sent: Tensor
    deviation: Tensor


#: What a batch gives away, as a loss to be added to the cross-entropy.
Penalty = Callable[[Passing], Tensor]


class Room(NamedTuple):
    """What a penalty is made for: shapes of one picture and one message, device, and seed."""

    image_shape: tuple[int, int, int]
    message_shape: tuple[int, ...]
    device: torch.device
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrainedAtCut(abc.ABC):
    """A defense that trains the network it protects, looking at the message at one cut.

    A subclass is a frozen dataclass whose fields are its options and which says what is added to
    the loss. These options all of them have:

    Attributes:
        cut: the layer whose output is sent.
        noise: standard deviation of the Gaussian noise on the message, in units of the deviation
            of all numbers of all messages together: a batch's in training, and at the release.
        channels: of a bottleneck put behind the cut, whose output is the message; 0 puts none.
            The auditor then cuts at the layer ``<cut>.narrow``.
        stride: of the bottleneck; each number of its message stands for stride x stride places.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    reference: ClassVar[Reference]

    cut: str
    noise: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    channels: Annotated[int, pydantic.Field(ge=0)] = 0
    stride: Annotated[int, pydantic.Field(ge=1)] = 1

    @abc.abstractmethod
    def penalty(self, room: Room) -> Penalty:
        """Return what is added to the loss, fresh for one training; it may keep state."""

    @property
    def sends(self) -> str:
        """Name of the layer of the trained model whose output is the message."""
        return f"{self.cut}.narrow" if self.channels else self.cut

    @property
    def at_release(self) -> GaussianNoise | None:
        """The noise that the model was trained with, on every message."""
        return GaussianNoise(deviation=self.noise) if self.noise else None

    def prepared(self, model: Normalized, shape: tuple[int, ...]) -> Normalized:
        """Return the model with the bottleneck put in, if there is one.

        Args:
            model: in any state, on any device.
            shape: (channels, height, width) of a picture.

        Raises:
            LoadError: the model has no such layer.
            PlanError: the model calls the layer more than once.
        """
        message_shape = _shape_at(model, self.cut, shape)
        if not self.channels:
            return model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layer = model.network.get_submodule(self.cut)
            squeezed = Bottleneck(layer, message_shape, self.channels, self.stride)
        parent, _, name = self.cut.rpartition(".")
        setattr(model.network.get_submodule(parent), name, squeezed.to(model.mean.device))
        return model

    def train(self, model: Normalized, data: ImageSet, recipe: FitPlan) -> dict[str, Any]:
        """Train a classifier in place as ``targets.fit.fit`` does, with noise and penalty.

        Args:
            model: as ``prepared`` gives it; left in evaluation mode.
            data: the training pictures.
            recipe: that of plain training; all of it holds here.

        Returns:
            The facts to keep with the weights: those of ``fit``, and ``facts``.

        Raises:
            LoadError, PlanError: the model is not as ``prepared`` gives it, or the recipe is full
                gradient descent.
        """
        message_shape = _shape_at(model, self.sends, data.shape)
        room = Room(data.shape, message_shape, model.mean.device, recipe.seed)
        penalty, tap = self.penalty(room), _Tap(self.noise)
        step = itertools.count()
        steps = max(len(data) // recipe.batch_size, 1) * recipe.epochs

        def objective(model: Normalized, pictures: Tensor, labels: Tensor) -> Tensor:
            loss = F.cross_entropy(model(pictures), labels)
            # A network that has not learned to tell classes apart pays least by saying nothing,
            # and never learns it: a third of training is free, in the second the price rises.
            share = min(max(3 * next(step) / steps - 1, 0.0), 1.0)
            with torch.autocast(pictures.device.type, enabled=False):
                return loss + share * penalty(Passing(pictures, labels, *tap.seen))

        hook = model.network.get_submodule(self.sends).register_forward_hook(tap)
        try:
            return fit(model, data, recipe, objective) | self.facts(len(data), recipe)
        finally:
            hook.remove()

    def facts(self, n: int, recipe: FitPlan) -> dict[str, Any]:
        """Return what the record says of the defense; it promises nothing."""
        return {"defense": repr(self), "message at": self.sends}


class Bottleneck(nn.Module):
    """A layer, and behind it a squeeze: ``narrow`` puts out the message, ``widen`` undoes it.

    ``narrow`` belongs to the edge and ``widen`` to the cloud. Maps whatever the layer takes to the
    shape that it puts out. For [c, h, w] the message is [channels, h / stride, w / stride],
    rounded up; [channels] for any other shape, and where one stride takes in the whole grid. Its
    channels are brought to mean 0 and deviation 1: a new network's are so small that the cloud
    hears its own biases and little else, and takes long to learn anything.
    """

    def __init__(
        self, layer: nn.Module, shape: tuple[int, ...], channels: int, stride: int
    ) -> None:
        super().__init__()
        self.layer, self.shape = layer, shape
        grid = shape[1:]
        self.spatial = len(shape) == 3 and stride < max(grid)
        if not self.spatial:
            size = math.prod(shape)
            squeeze: nn.Module = nn.Linear(size, channels)
            self.narrow = nn.Sequential(squeeze, nn.BatchNorm1d(channels, affine=False))
            self.widen: nn.Module = nn.Linear(channels, size)
            return
        self.padding = (0, -grid[1] % stride, 0, -grid[0] % stride)
        size, around = (3, 1) if stride == 1 else (stride, 0)
        squeeze = nn.Conv2d(shape[0], channels, size, stride, around)
        self.narrow = nn.Sequential(squeeze, nn.BatchNorm2d(channels, affine=False))
        self.widen = nn.ConvTranspose2d(channels, shape[0], size, stride, around)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output as far as the message tells it, rectified."""
        out: Tensor = self.layer(x)
        if not self.spatial:
            wide = self.widen(self.narrow(out.flatten(1))).unflatten(1, self.shape)
        else:
            height, width = self.shape[1:]
            wide = self.widen(self.narrow(F.pad(out, self.padding)))[..., :height, :width]
        return torch.as_tensor(F.relu(wide))


class _Tap:
    """Keeps the message of the last forward pass, and sends it on with noise."""

    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.seen: tuple[Tensor, Tensor, Tensor]

    def __call__(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        message = output.float()
        # Through the deviation goes a gradient too: larger numbers are no way around the noise.
        deviation = self.noise * message.std()
        sent = message + deviation * torch.randn_like(message) if self.noise else message
        self.seen = message, sent, deviation
        return sent


def _shape_at(model: Normalized, layer: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the message behind a layer, which must run once a pass."""
    was = model.training
    points = cut_points(model.eval(), shape)
    model.train(was)
    if layer not in points:
        raise LoadError(catalog.unknown("cut point of the defense", layer, list(points)))
    if "#" in layer or f"{layer}#2" in points:
        raise PlanError(
            f"the model calls {layer.partition('#')[0]} more than once, so that it cannot be "
            "trained as a cut; choose a layer that is called once for defense.cut"
        )
    return points[layer]
