"""Inverse network: learn to undo the edge from one's own pictures and their messages."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.catalog import Reference
from safelight.data.augment import augmented
from safelight.metrics.image import ssim
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation
from safelight.threats.split_inference import HE_2019

#: Steps in which the uncertainty of a network's pictures is learned: a few numbers a pixel.
UNCERTAINTY_STEPS = 400

#: Bytes of answers that are kept in memory during training.
KEPT = 3 * 2**30


@dataclass(frozen=True, kw_only=True)
class Decoder(InversionAttack):
    """Train an inverse network on (message, public picture) pairs; apply it to the victims.

    The network is residual and matched to the cut: its body works at the message's resolution
    and its width grows with the cut's stride, so that it costs the same at every cut.

    Attributes:
        steps: optimizer steps.
        batch_size: public pictures a step.
        width: channels per unit of stride.
        blocks: residual blocks.
        learning_rate: peak of the one-cycle schedule.
        flip: train on mirror images as well, which are sent as queries of their own.
        shift: move each picture by up to so many pixels, anew at every step; each is a query.
        likeness: weight of 1 - SSIM beside the squared error in training.
        precision: of the network's passes in training; ``bfloat16`` is faster where the hardware
            has it, and loses what lies beyond about 40 dB.
    """

    reference: ClassVar[Reference] = HE_2019
    needs: ClassVar[Needs] = Needs(messages=True, queries=True, public=True)

    steps: Count = 1000
    batch_size: Count = 64
    width: Count = 16
    blocks: Count = 4
    learning_rate: Positive = 4e-3
    flip: bool = False
    shift: Annotated[int, pydantic.Field(ge=0)] = 0
    likeness: Annotated[float, pydantic.Field(ge=0)] = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of training; applying the network is small beside it."""
        network = InverseNetwork(seen.message_shape, seen.image_shape, self)
        return 3 * self.steps * self.batch_size * forward_flops(network, seen.messages[:1].cpu())

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim by one pass through the trained network."""
        network = train_inverse(self, seen, rng)
        return Reconstruction(rebuild(network, seen.messages))


class InverseNetwork(nn.Module):
    """Messages [n, channels, h, w] or [n, d] -> pictures [n, *image_shape], unbounded.

    A linear path (what one wide convolution can undo) plus a residual body at the message's
    resolution, both brought to pixels by sub-pixel convolution (Shi et al. 2016). A message
    smaller than the picture divided by the stride (valid convolutions) is padded evenly.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, message_shape: tuple[int, ...], image_shape: tuple[int, int, int], attack: Decoder
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        spatial = len(message_shape) == 3
        inputs = message_shape[0] if spatial else math.prod(message_shape)
        h, w = message_shape[1:] if spatial else (math.ceil(height / 4), math.ceil(width / 4))
        # The stride of the cut: the largest power of two that fits between message and picture.
        stride = 2 ** max(0, min(int(math.log2(height / h)), int(math.log2(width / w))))
        rows, columns = math.ceil(height / stride) - h, math.ceil(width / stride) - w
        self.padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        self.image_shape, self.stride, self.spatial, self.grid = (
            image_shape,
            stride,
            spatial,
            (h, w),
        )
        hidden, fine = attack.width * stride, attack.width
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.enter: nn.Module
        if spatial:
            self.enter = nn.Conv2d(inputs, hidden, 3, padding=1)
            self.linear = nn.Conv2d(inputs, channels * stride**2, 9, padding=4)
        else:
            self.enter = nn.Linear(inputs, hidden * h * w)
            self.linear = nn.Conv2d(hidden, channels * stride**2, 9, padding=4)
        self.body = nn.Sequential(*(_Residual(hidden) for _ in range(attack.blocks)))
        self.leave = nn.Conv2d(hidden, fine * stride**2, 3, padding=1)
        self.paint = nn.Conv2d(fine, channels, 3, padding=1)

    def forward(self, message: Tensor) -> Tensor:
        """Return the pictures; clamping to [0, 1] is left to the caller."""
        per_channel = (1, -1, 1, 1) if self.spatial else (1, -1)
        message = message if self.spatial else message.flatten(1)
        z = (message - self.mean.reshape(per_channel)) / self.std.reshape(per_channel)
        if self.spatial:
            z = F.pad(z, self.padding)
            hidden = self.enter(z)
        else:
            z = hidden = self.enter(z).unflatten(1, (-1, *self.grid))
        fine = F.pixel_shuffle(self.leave(F.silu(self.body(hidden))), self.stride)
        picture = F.pixel_shuffle(self.linear(z), self.stride) + self.paint(F.silu(fine))
        return torch.as_tensor(picture[..., : self.image_shape[1], : self.image_shape[2]])


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.gain = nn.Parameter(torch.full((1, width, 1, 1), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.gain * self.second(F.silu(self.first(F.silu(x))))
        return out


class Uncertainty(nn.Module):
    """How wrong the inverse network is likely to be, pixel by pixel.

    Rebuilt pictures [n, c, h, w] -> variance of the error, same shape. A digit's background is
    certain and its strokes are not; the likelihood attack moves pixels accordingly.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels = image_shape[0]
        self.local = nn.Sequential(
            nn.Conv2d(channels, 16, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 16, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, channels, 3, padding=1),
        )
        self.place = nn.Parameter(torch.zeros(1, *image_shape))

    def log_variance(self, rebuilt: Tensor) -> Tensor:
        """Return log variances, bounded so that no pixel is ever fully certain."""
        out: Tensor = (self.local(rebuilt) + self.place).clamp(-14, 2)
        return out

    def forward(self, rebuilt: Tensor) -> Tensor:
        """Return the variances."""
        return self.log_variance(rebuilt).exp()


def train_uncertainty(network: InverseNetwork, seen: SplitObservation, rng: Seeds) -> Uncertainty:
    """Fit the variance of a network's errors on public pictures that it was not trained on.

    Gaussian negative log-likelihood, ln v + (x - d)^2 / v (Nix and Weigend 1994).
    """
    seeds = rng.child("uncertainty")
    _, pictures = held_out(seen)
    rebuilt = rebuild(network, seen.query(pictures))
    errors = (pictures - rebuilt).square()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.integer())
        model = Uncertainty(seen.image_shape).to(pictures.device)
    order = torch.Generator().manual_seed(seeds.child("order").integer())
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    size = min(32, len(pictures))
    for index in (
        _epochs(len(pictures), UNCERTAINTY_STEPS * size, order).to(pictures.device).split(size)
    ):
        spread = model.log_variance(rebuilt[index])
        loss = (spread + errors[index] * (-spread).exp()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def train_inverse(attack: Decoder, seen: SplitObservation, rng: Seeds) -> InverseNetwork:
    """Return the inverse network of this observation, trained once and then remembered.

    The last tenth of the public pictures (at most 2,000) is never trained on; see ``held_out``.
    """
    seeds = rng.child("inverse network")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.integer())
        network = InverseNetwork(seen.message_shape, seen.image_shape, attack)
    network = network.to(seen.public.images.device)
    work = {"inverse network": dataclasses.asdict(attack), "seed": seeds.integer()}
    state = seen.remember(work, lambda: _train(network, attack, seen, seeds))
    network.load_state_dict(state)
    network.eval().requires_grad_(False)
    return network


def held_out(seen: SplitObservation) -> tuple[Tensor, Tensor]:
    """Split the public pictures [n, c, h, w] into those trained on and those kept to tune on."""
    pictures = seen.public.images
    kept = min(max(len(pictures) // 10, 1), 2000)
    return pictures[:-kept], pictures[-kept:]


def rebuild(network: InverseNetwork, messages: Tensor) -> Tensor:
    """Return the pictures [n, c, h, w] in [0, 1] that the network sees in the messages."""
    with torch.no_grad():
        return torch.cat([network(part).clamp(0, 1) for part in messages.split(250)])


def _train(
    network: InverseNetwork, attack: Decoder, seen: SplitObservation, seeds: Seeds
) -> dict[str, Tensor]:
    pictures, _ = held_out(seen)
    if attack.flip:
        pictures = torch.cat([pictures, pictures.flip(3)])
    order = torch.Generator().manual_seed(seeds.child("order").integer())
    lessons = _Lessons(seen, pictures, attack.shift, order)
    some, _ = lessons(torch.arange(min(2000, len(pictures)), device=pictures.device))
    across = (0, 2, 3) if some.ndim == 4 else (0,)
    network.mean.copy_(some.mean(across).flatten())
    # A channel that hardly ever fired here may fire for a victim: divided by next to nothing it
    # would drown all others.
    spread = some.std(across).flatten()
    network.std.copy_(spread.clamp_min(1e-2 * float(spread.max()) + 1e-12))
    optimizer = torch.optim.AdamW(network.parameters(), attack.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, attack.learning_rate, total_steps=attack.steps + 1, pct_start=0.1,
        div_factor=10, final_div_factor=1000,
    )  # fmt: skip
    size = min(attack.batch_size, len(pictures))
    rows = _epochs(len(pictures), attack.steps * size, order).to(pictures.device)
    half = attack.precision == "bfloat16"
    if half:  # the layout that low-precision convolutions are fastest in
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for index in rows.split(size):
        messages, truth = lessons(index)
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=half):
            rebuilt = network(messages)
        loss = boxed_error(rebuilt.float(), truth)
        if attack.likeness:
            likeness = ssim(rebuilt.float().clamp(0, 1), truth)
            loss = loss + attack.likeness * (1 - likeness).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {name: value.contiguous() for name, value in network.state_dict().items()}


class _Lessons:
    """Pictures [n, c, h, w] by row and the edge's answers, kept where they fit in memory.

    Each picture is sent once. Answers that take more than ``KEPT`` bytes are computed anew when
    they are used, which an adversary with a disk would not need to. A picture that is shifted is
    another one each time.
    """

    def __init__(
        self, seen: SplitObservation, pictures: Tensor, shift: int, order: torch.Generator
    ) -> None:
        self.seen, self.pictures, self.shift, self.order = seen, pictures, shift, order
        self.kept: Tensor | None = None
        if shift:
            return
        if 4 * math.prod(seen.message_shape) * len(pictures) <= KEPT:
            self.kept = seen.query(pictures)
        else:
            seen.count(len(pictures))

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        pictures = self.pictures[rows]
        if self.kept is not None:
            return self.kept[rows], pictures
        if self.shift:
            pictures = augmented(pictures, False, self.shift, self.order)
        return self.seen.query(pictures, again=not self.shift), pictures


def boxed_error(rebuilt: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared error that lets a pixel overshoot an end of the range it should be at.

    The claim is clamped to [0, 1], so an overshoot costs nothing there. Not paying for it in
    training frees the network from having to hit 0 and 1 exactly, which is most of a digit.
    """
    error = rebuilt - pictures
    free = ((pictures <= 0) & (error < 0)) | ((pictures >= 1) & (error > 0))
    return error.masked_fill(free, 0).square().mean()


def _epochs(n: int, total: int, order: torch.Generator) -> Tensor:
    """Return ``total`` row numbers: whole shuffled passes over n rows, the last one cut short."""
    passes = [torch.randperm(n, generator=order) for _ in range(math.ceil(total / n))]
    return torch.cat(passes)[:total]
