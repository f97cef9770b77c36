"""Targets with a planted answer: one that leaks everything, one that leaks nothing."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it


class PlantedLeak(nn.Module):
    """An edge whose message is the picture itself, in the shape of a real cut's message.

    The picture is resized to r times the message's grid and folded into r x r channels
    (pixel-unshuffle); channels beyond those are zero. Nothing is lost where the message has room
    for the picture; where it has not, what fits is the sharpest thumbnail. An attack that cannot
    read this message would call any target private.
    """

    def __init__(self, message_shape: tuple[int, ...], image_channels: int) -> None:
        super().__init__()
        self.message_shape = message_shape
        if len(message_shape) == 3:
            channels, height, width = message_shape
            self.fold = max(1, math.isqrt(channels // image_channels))
            self.size = (height * self.fold, width * self.fold)
        else:
            self.fold = 1
            side = max(1, math.isqrt(math.prod(message_shape) // image_channels))
            self.size = (side, side)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures [n, c, h, w] to messages [n, *message_shape]."""
        x = F.interpolate(x, self.size, mode="bilinear", align_corners=False)
        x = F.pixel_unshuffle(x, self.fold)
        if len(self.message_shape) == 3:
            x = x[:, : self.message_shape[0]]
            return F.pad(x, (0, 0, 0, 0, 0, self.message_shape[0] - x.shape[1]))
        x = x.flatten(1)
        x = F.pad(x, (0, math.prod(self.message_shape) - x.shape[1]))
        return x.reshape(-1, *self.message_shape)


class Silence(nn.Module):
    """An edge whose message does not depend on the picture: nothing can be rebuilt from it.

    The message is a fixed random pattern in the shape of a real cut's message, with a zero
    times the picture added so that gradients exist and are zero.
    """

    pattern: Tensor

    def __init__(self, message_shape: tuple[int, ...], seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("pattern", torch.randn(message_shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures [n, c, h, w] to the same message n times."""
        zero = (0 * x).sum((1, 2, 3)).reshape(-1, *(1 for _ in self.pattern.shape))
        return self.pattern + zero
