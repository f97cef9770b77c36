"""Attacker-aware training: an attacker learns along, and whatever it can rebuild costs."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor, nn

from safelight.catalog import Reference
from safelight.defenses.fit_at_cut import Passing, Penalty, Room, TrainedAtCut
from safelight.metrics.image import ssim


@dataclass(frozen=True, kw_only=True)
class AttackerAware(TrainedAtCut):
    """Train against a decoder that is trained along, as ResSFL does (Li et al. 2022).

    In each step the decoder learns to rebuild the batch from its messages, then the network pays
    for the likeness that the decoder reached. What the network learns is to hide from this decoder
    as it was then: only an attacker that is trained afterwards tells what is hidden.

    Attributes:
        cut: the layer whose output is sent.
        noise: standard deviation of the Gaussian noise on the message in training, in units of
            the message's own deviation; as much as the release will add.
        channels: of a bottleneck put behind the cut, whose output is the message; 0 puts none.
            The threat then cuts at ``<cut>.narrow``.
        stride: of the bottleneck; one as large as the message's grid makes the message a vector
            of ``channels`` numbers.
        weight: of the decoder's SSIM beside the cross-entropy.
        threshold: SSIM up to which a picture's likeness is free.
        width: channels of the decoder.
        learning_rate: of the decoder, by Adam.
    """

    reference: ClassVar[Reference] = Reference(
        key="li2022",
        authors="Li, Jingtao and Rakin, Adnan Siraj and Chen, Xing and He, Zhezhi and "
        "Fan, Deliang and Chakrabarti, Chaitali",
        title="ResSFL: A Resistance Transfer Framework for Defending Model Inversion Attack in "
        "Split Federated Learning",
        year=2022,
        venue="CVPR 2022",
        doi="10.1109/CVPR52688.2022.00995",
    )

    weight: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 1.0
    threshold: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    width: Annotated[int, pydantic.Field(ge=1)] = 32
    learning_rate: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 2e-3

    def penalty(self, room: Room) -> Penalty:
        """Return the price of a batch, and with it a decoder that learns at every batch."""
        return _Rival(self, room)


class _Rival:
    """The decoder and its optimizer."""

    def __init__(self, defense: AttackerAware, room: Room) -> None:
        self.defense = defense
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(room.seed)
            self.decoder = _decoder(room, defense.width).to(room.device)
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), defense.learning_rate)

    def __call__(self, passing: Passing) -> Tensor:
        """Let the decoder learn one step, then return the price of what it rebuilds."""
        self.decoder.requires_grad_(True)
        loss = 1 - ssim(self.decoder(passing.sent.detach()), passing.pictures).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.decoder.requires_grad_(False)
        likeness = ssim(self.decoder(passing.sent), passing.pictures)
        return self.defense.weight * (likeness - self.defense.threshold).relu().mean()


def _decoder(room: Room, width: int) -> nn.Module:
    """Return a decoder of three convolutions, messages [n, ...] -> pictures [n, c, h, w]."""
    channels, height, across = room.image_shape
    if len(room.message_shape) == 3:
        inputs, h, w = room.message_shape
        enter: list[nn.Module] = []
    else:
        inputs, h, w = width, math.ceil(height / 4), math.ceil(across / 4)
        size = math.prod(room.message_shape)
        enter = [nn.Flatten(), nn.Linear(size, width * h * w), nn.Unflatten(1, (width, h, w))]
    scale = max(math.ceil(height / h), math.ceil(across / w))
    return nn.Sequential(
        *enter,
        nn.Conv2d(inputs, width, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(width, channels * scale**2, 3, padding=1),
        nn.PixelShuffle(scale),
        _Crop(height, across),
    )


class _Crop(nn.Module):
    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.height, : self.width]
