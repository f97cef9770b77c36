"""Deep image prior: let an untrained network paint the picture, and fit its weights."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation

ULYANOV_2018 = Reference(
    key="ulyanov2018",
    authors="Ulyanov, Dmitry and Vedaldi, Andrea and Lempitsky, Victor",
    title="Deep Image Prior",
    year=2018,
    venue="CVPR 2018",
    doi="10.1109/CVPR.2018.00984",
)

#: Channels of the fixed random input, and of every skip connection; both few, as in the paper.
INPUTS, SKIPS = 8, 4

#: The input is uniform between 0 and this (Ulyanov et al., section 3).
INPUT_SCALE = 0.1


@dataclass(frozen=True, kw_only=True)
class DeepPrior(InversionAttack):
    """Fit, per victim, the weights of an untrained network so that its picture sends the message.

    Minimizes ``mean((f(G_w(u)) - z)^2) / var(z)`` over the weights w, from random ones and for a
    fixed random input u (Ulyanov et al. 2018, equation 2; against split inference Singh et al.
    2021). The convolutions and the hourglass G fit natural pictures sooner than noise: that is
    the whole prior, and the adversary needs no picture of its own.

    Every victim has its own weights. They begin equal and are fitted in one tensor program, on a
    sum of per-victim terms, so that a victim's result does not depend on its batch.

    Attributes:
        steps: of Adam.
        width: channels of the hourglass.
        depth: how often it halves the picture, at most.
        learning_rate: of Adam, cosine to zero.
        jitter: standard deviation of the noise on the input, as a share of the input's own;
            it falls to zero with the steps. 0 is none.
        batch_size: victims at once.
    """

    reference: ClassVar[Reference] = ULYANOV_2018
    needs: ClassVar[Needs] = Needs(messages=True, weights=True)

    steps: Count = 500
    width: Count = 16
    depth: Count = 2
    learning_rate: Positive = 5e-2
    jitter: Annotated[float, pydantic.Field(ge=0)] = 0.3
    batch_size: Count = 50

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of the fits: a step goes through the network and the edge."""
        gray = torch.full((1, *seen.image_shape), 0.5, device=seen.messages.device)
        network = Hourglass(seen.image_shape, self)
        once = forward_flops(seen.edge, gray)
        once += forward_flops(network, torch.zeros(1, INPUTS, *seen.image_shape[1:]))
        return 3 * self.steps * len(seen.messages) * once

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim."""
        spread = seen.messages.var().clamp_min(1e-12)
        parts = seen.messages.split(self.batch_size)
        return Reconstruction(torch.cat([self._fit(seen, z, spread, rng) for z in parts]))

    def _fit(self, seen: SplitObservation, messages: Tensor, spread: Tensor, rng: Seeds) -> Tensor:
        """Return the pictures of one batch of victims."""
        seeds = rng.child("deep prior")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.integer())
            network = Hourglass(seen.image_shape, self)
        heard = seen.informative(messages)
        draw = torch.Generator().manual_seed(seeds.child("input").integer())
        still = INPUT_SCALE * torch.rand(INPUTS, *seen.image_shape[1:], generator=draw)
        loud = self.jitter * INPUT_SCALE / math.sqrt(12)
        weights = {
            name: one.detach().to(messages).repeat(len(messages), *(1 for _ in one.shape))
            for name, one in network.named_parameters()
        }

        def paint(own: dict[str, Tensor], given: Tensor) -> Tensor:
            out: Tensor = functional_call(network, own, (given[None],))
            return out[0]

        every = vmap(paint, in_dims=(0, None))
        moving = [one.requires_grad_() for one in weights.values()]
        # eps far below any gradient: else a victim with a small one would hardly move.
        optimizer = torch.optim.Adam(moving, self.learning_rate, eps=1e-12)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        with torch.enable_grad():
            for step in range(self.steps):
                noise = torch.randn(still.shape, generator=draw)
                given = (still + (1 - step / self.steps) * loud * noise).to(messages)
                error = heard * (seen.edge(every(weights, given)) - messages)
                loss = (error.square().flatten(1).mean(1) / spread).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            return every(weights, still.to(messages)).clamp(0, 1)


class Hourglass(nn.Module):
    """Noise [1, INPUTS, h, w] -> picture [1, *image_shape] in [0, 1], of any size.

    Halves the picture ``depth`` times (fewer if it is tiny) by strided convolutions and comes
    back by nearest-neighbor upsampling, with a few channels skipping across at every size.
    """

    def __init__(self, image_shape: tuple[int, int, int], attack: DeepPrior) -> None:
        super().__init__()
        width = attack.width
        # ceil(side / 2^k) >= 2: a single value per channel cannot be normalized.
        sizes = range(min(attack.depth, (min(image_shape[1:]) - 1).bit_length() - 1))
        self.down = nn.ModuleList(_Layer(width if k else INPUTS, width, stride=2) for k in sizes)
        self.deep = nn.ModuleList(_Layer(width, width) for _ in sizes)
        self.skip = nn.ModuleList(_Layer(width if k else INPUTS, SKIPS, kernel=1) for k in sizes)
        self.up = nn.ModuleList(_Layer(width + SKIPS, width) for _ in sizes)
        self.paint = nn.Conv2d(width, image_shape[0], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the picture."""
        across = []
        for down, deep, skip in zip(self.down, self.deep, self.skip, strict=True):
            across.append(skip(x))
            x = deep(down(x))
        for up, beside in zip(self.up, reversed(across), strict=True):
            x = F.interpolate(x, beside.shape[2:], mode="nearest")
            x = up(torch.cat([x, beside], 1))
        out: Tensor = self.paint(x).sigmoid()
        return out


class _Layer(nn.Module):
    """Convolution, normalization of every channel over the one picture, leaky rectifier."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.norm = nn.GroupNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.leaky_relu(self.norm(self.convolution(x)), 0.2)
        return out
