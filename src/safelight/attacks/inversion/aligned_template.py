"""Aligned template: invert answers without queries, by shadows whose answers are aligned."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
from torch import Tensor, nn

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.attacks.inversion.gradient import (
    SHADOW_RECONSTRUCTIONS,
    Asked,
    Imitation,
    Spread,
    asked_shadows,
    in_logs,
    read,
    recognized,
)
from safelight.catalog import Reference
from safelight.metrics.image import ssim
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation

#: Weight of the squared error beside 1 - SSIM in the training of inverse networks.
SQUARED = 4.0

#: Share of the pictures of a step whose residual is left out, so that the templates stand alone.
BARE = 0.2

#: Shares of the residual to choose from.
GATES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Schooling:
    """How an inverse network is trained: steps, pictures a step, peak rate, half precision."""

    steps: int
    batch_size: int
    learning_rate: float
    half: bool


@dataclass(frozen=True, kw_only=True)
class AlignedTemplate(InversionAttack):
    """Train shadows, align the victims' answers with theirs in closed form, invert the shadows.

    What hurts an inverse network that was trained on a shadow is that another training run answers
    differently, not that answers say little. So:

    1. Several shadows are trained, each on all public pictures but its own fold, and asked about
       that fold alone: answers about pictures that a model was not trained on, as the victims'.
    2. Within each predicted class the answers of every model, shadow or target, are carried onto
       the shadows' average distribution by the optimal transport between Gaussians, which is
       linear: A = S^(-1/2) (S^(1/2) C S^(1/2))^(1/2) S^(-1/2) from covariance S to C. For the
       target it takes nothing but the victims' answers, some twenty a class.
    3. An inverse network learns x = sigmoid(template of the class + residual of the answer) from
       all shadows at once, so that what differs between training runs is noise to it.
    4. The last shadow plays the target: whether to align, and how much of the residual to trust,
       is what serves best there. Where answers say no more than the class, that is none of it.

    Attributes:
        shadows: how many; one of them is kept to choose on.
        imitation: how each is trained.
        steps: optimizer steps of the inverse network.
        batch_size: pictures a step.
        width: channels of the network's finest layer.
        learning_rate: peak of the one-cycle schedule.
        precision: of the network's passes in training.
    """

    reference: ClassVar[Reference] = SHADOW_RECONSTRUCTIONS
    needs: ClassVar[Needs] = Needs(messages=True, cloud=True, public=True, labels=True)

    shadows: Annotated[int, pydantic.Field(ge=2)] = 4
    imitation: Imitation = field(default_factory=Imitation)
    steps: Count = 800
    batch_size: Count = 64
    width: Count = 32
    learning_rate: Positive = 2e-3
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    @property
    def schooling(self) -> Schooling:
        """How the inverse network is trained."""
        half = self.precision == "bfloat16"
        return Schooling(self.steps, self.batch_size, self.learning_rate, half)

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of the shadows and of the inverse network."""
        once = network_flops(math.prod(seen.message_shape), seen.image_shape, self.width)
        return self.shadows * self.imitation.flops(seen) + 3 * self.steps * self.batch_size * once

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim from its aligned answer."""
        seeds = rng.child("aligned template")
        models = asked_shadows(self.imitation, self.shadows, seen, seeds)
        spreads = [Spread.of(one.answers, one.said) for one in models[:-1]]
        common = Spread.average(spreads)
        lessons = [
            (spread.carry(one.answers, one.said, common), one.said, one.pictures)
            for spread, one in zip(spreads, models, strict=False)
        ]
        answers, said, pictures = (torch.cat(parts) for parts in zip(*lessons, strict=True))
        network = AnswerNetwork.like(seen, self.width, seeds)

        def learn() -> dict[str, Tensor]:
            network.settle(answers, pictures, said)
            return taught(network, (answers, said, pictures), self.schooling, seeds)

        options = dataclasses.asdict(self)
        network.load_state_dict(
            seen.remember({"aligned template": options, "seed": seeds.integer()}, learn)
        )
        network.eval().requires_grad_(False)
        moved, gate = _choice(network, models[-1], common)
        heard = read(seen.messages, in_logs(seen))
        classes = recognized(seen, seen.messages)
        if moved:
            heard = Spread.of(heard, classes, common).carry(heard, classes, common)
        claim = rebuilt(network, heard, classes, gate)
        return Reconstruction(claim, {"aligned": float(moved), "gate": gate})


class AnswerNetwork(nn.Module):
    """Answers [n, d] and classes [n] -> pictures [n, *image_shape] in (0, 1).

    sigmoid(template[class] + gate * residual(answer)). The residual is a perceptron, transposed
    convolutions from a grid of an eighth, and one linear layer beside them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, inputs: int, image_shape: tuple[int, int, int], classes: int, width: int
    ) -> None:
        super().__init__()
        channels, height, across = image_shape
        self.image_shape, hidden = image_shape, 8 * width
        self.grid = (math.ceil(height / 8), math.ceil(across / 8))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.templates = nn.Parameter(torch.zeros(classes, *image_shape))
        self.stem = nn.Sequential(
            nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.spread = nn.Linear(hidden, 4 * width * math.prod(self.grid))
        self.grow = nn.Sequential(
            nn.SiLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(width, channels, 4, 2, 1),
        )
        self.flat = nn.Linear(hidden, math.prod(image_shape))
        nn.init.zeros_(self.flat.weight)
        nn.init.zeros_(self.flat.bias)

    @classmethod
    def like(cls, seen: SplitObservation, width: int, seeds: Seeds) -> "AnswerNetwork":
        """Return an untrained network for the answers that are seen."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.integer())
            inputs, classes = math.prod(seen.message_shape), len(seen.public.classes)
            network = cls(inputs, seen.image_shape, classes, width)
        return network.to(seen.messages.device)

    @torch.no_grad()
    def settle(self, answers: Tensor, pictures: Tensor, said: Tensor) -> None:
        """Take the units of the answers, and class means as first templates."""
        self.mean.copy_(answers.mean(0))
        spread = answers.std(0)
        self.std.copy_(spread.clamp_min(1e-2 * float(spread.max()) + 1e-6))
        for label in range(len(self.templates)):
            own = pictures[said == label] if (said == label).any() else pictures
            self.templates[label] = own.mean(0).clamp(0.01, 0.99).logit()

    def forward(self, answers: Tensor, said: Tensor, gate: Tensor | float = 1.0) -> Tensor:
        """Return the pictures; ``gate`` scales the residual, 0 leaves the class's template."""
        return self.logits(answers, said, gate).sigmoid()

    def logits(self, answers: Tensor, said: Tensor, gate: Tensor | float = 1.0) -> Tensor:
        """Return the pictures before the sigmoid."""
        hidden = self.stem((answers - self.mean) / self.std)
        grown = self.grow(self.spread(hidden).unflatten(1, (-1, *self.grid)))
        _, height, across = self.image_shape
        residual = grown[..., :height, :across] + self.flat(hidden).unflatten(1, self.image_shape)
        return torch.as_tensor(self.templates[said] + gate * residual)


def network_flops(answers: int, image_shape: tuple[int, int, int], width: int) -> float:
    """Return the floating-point operations of one pass of an answer network over one answer."""
    network = AnswerNetwork(answers, image_shape, 1, width)
    hidden = forward_flops(network.stem, torch.zeros(1, answers))
    wide = torch.zeros(1, network.flat.in_features)
    grown = torch.zeros(1, 4 * width, *network.grid)
    spread = forward_flops(network.spread, wide) + forward_flops(network.flat, wide)
    return hidden + spread + forward_flops(network.grow, grown)


def taught(
    network: nn.Module, lessons: tuple[Tensor, Tensor, Tensor], how: Schooling, seeds: Seeds
) -> dict[str, Tensor]:
    """Train a network on answers [n, d], classes [n] and pictures [n, c, h, w]; return its weights.

    In some of each step's pictures the residual is left out.
    """
    answers, said, pictures = lessons
    draw = torch.Generator().manual_seed(seeds.child("order").integer())
    optimizer = torch.optim.AdamW(network.parameters(), how.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, how.learning_rate, total_steps=how.steps + 1, pct_start=0.1
    )
    for _ in range(how.steps):
        some = torch.randint(len(answers), (how.batch_size,), generator=draw)
        gate = (torch.rand(how.batch_size, 1, 1, 1, generator=draw) > BARE).to(pictures)
        some = some.to(pictures.device)
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=how.half):
            claim = network(answers[some], said[some], gate)
        loss = unlikeness(claim.float(), pictures[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def unlikeness(claim: Tensor, pictures: Tensor) -> Tensor:
    """Return the loss of inverse networks: (1 - SSIM) + 4 MSE, the mean over pictures."""
    error = (claim - pictures).square().mean()
    return (1 - ssim(claim, pictures)).mean() + SQUARED * error


def rebuilt(network: nn.Module, answers: Tensor, said: Tensor, gate: float) -> Tensor:
    """Return the pictures [n, c, h, w] that a network sees in answers."""
    parts = zip(answers.split(250), said.split(250), strict=True)
    with torch.no_grad():
        return torch.cat([network(z, classes, gate) for z, classes in parts])


def _choice(network: AnswerNetwork, shadow: Asked, common: Spread) -> tuple[bool, float]:
    """Return whether to align, and which gate serves best where a shadow is the target."""
    spread = Spread.of(shadow.answers, shadow.said, common)
    tried = []
    for moved in (True, False):
        answers = spread.carry(shadow.answers, shadow.said, common) if moved else shadow.answers
        for gate in GATES:
            claim = rebuilt(network, answers, shadow.said, gate)
            tried.append((float(ssim(claim, shadow.pictures).mean()), moved, gate))
    _, moved, gate = max(tried, key=lambda one: one[0])
    return moved, gate
