"""Targets with a planted answer: one that leaks everything, one that leaks nothing."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torch.nn.utils import skip_init

#: Largest side of the thumbnail that a message without a grid carries.
THUMBNAIL = 32


#: Side of the thumbnail that a planted answer holds where the real one is shorter. Ten numbers hold
#: no picture: the first ten principal components of a digit name it among 100 every second time.
ANSWER_SIDE = 8


class PlantedLeak(nn.Module):
    """An edge whose message is the picture itself, in the shape of a real cut's message.

    The picture is resized to r times the message's grid and folded into r x r channels
    (pixel-unshuffle); channels beyond those are zero. Nothing is lost where the message has room
    for the picture; where it has not, what fits is the sharpest thumbnail. An attack that cannot
    read this message would call any target private.

    The folding is one linear layer with weights 0 and 1, so that an adversary who imitates edges
    has something to imitate.
    """

    def __init__(self, message_shape: tuple[int, ...], image_channels: int) -> None:
        super().__init__()
        self.message_shape = message_shape
        room = math.prod(message_shape)
        self.layer: nn.Conv2d | nn.Linear
        if len(message_shape) == 3:
            out, height, width = message_shape
            self.fold = max(1, math.isqrt(out // image_channels))
            self.size = (height * self.fold, width * self.fold)
            self.layer = skip_init(
                nn.Conv2d, image_channels, out, self.fold, stride=self.fold, bias=False
            )
            folded = torch.eye(image_channels * self.fold**2)
            weight = folded.reshape(-1, image_channels, self.fold, self.fold)[:out]
        else:
            side = min(THUMBNAIL, max(1, math.isqrt(room // image_channels)))
            self.fold, self.size = 1, (side, side)
            self.layer = skip_init(nn.Linear, image_channels * side**2, room, bias=False)
            weight = torch.eye(image_channels * side**2)[:room]
        with torch.no_grad():
            self.layer.weight.zero_()[: len(weight)] = weight
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures [n, c, h, w] to messages [n, *message_shape]."""
        x = F.interpolate(x, self.size, mode="bilinear", align_corners=False)
        message: Tensor = self.layer(x if isinstance(self.layer, nn.Conv2d) else x.flatten(1))
        return message.reshape(-1, *self.message_shape)


class PlantedCloud(nn.Module):
    """What belongs behind a planted leak: unfold the message and classify the picture.

    Messages [n, *message_shape] -> what ``model`` puts out for pictures of ``image_shape``.
    """

    def __init__(
        self, leak: PlantedLeak, model: nn.Module, image_shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.leak, self.model, self.image_shape = leak, model, image_shape

    def forward(self, message: Tensor) -> Tensor:
        """Return the logits."""
        weight = self.leak.layer.weight
        if isinstance(self.leak.layer, nn.Conv2d):  # transposed, a 0-1 folding is its own inverse
            picture = F.conv_transpose2d(message, weight, stride=self.leak.fold)
        else:
            flat = message.flatten(1) @ weight
            picture = flat.unflatten(1, (self.image_shape[0], *self.leak.size))
        picture = F.interpolate(picture, self.image_shape[1:], mode="bilinear", align_corners=False)
        out: Tensor = self.model(picture)
        return out


class Thumbnail(nn.Module):
    """An edge that answers with a thumbnail, each number times a learned gain.

    Pictures [n, c, h, w] -> vectors [n, c * 64]. Who knows the structure begins with gains of
    one, and has them after training to within what little training moves them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels * ANSWER_SIDE**2))
        self.eval().requires_grad_(False)

    def reset_parameters(self) -> None:
        """Begin anew."""
        nn.init.ones_(self.gain)

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors."""
        return torch.as_tensor(self.gain * F.adaptive_avg_pool2d(x, ANSWER_SIDE).flatten(1))


class ThumbnailCloud(nn.Module):
    """What belongs behind a thumbnail: enlarge it and classify the picture."""

    def __init__(self, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.model, self.image_shape = model, image_shape

    def forward(self, message: Tensor) -> Tensor:
        """Return the logits."""
        small = message.unflatten(1, (self.image_shape[0], ANSWER_SIDE, ANSWER_SIDE))
        picture = F.interpolate(small, self.image_shape[1:], mode="bilinear", align_corners=False)
        return torch.as_tensor(self.model(picture))


def planted_parts(
    message_shape: tuple[int, ...], model: nn.Module, image_shape: tuple[int, int, int]
) -> tuple[nn.Module, nn.Module]:
    """Return an edge that leaks and the cloud behind it, for messages of that shape.

    A vector too short for a picture is planted longer than it is.
    """
    channels = image_shape[0]
    if len(message_shape) != 3 and math.prod(message_shape) < channels * ANSWER_SIDE**2:
        return Thumbnail(channels), ThumbnailCloud(model, image_shape)
    leak = PlantedLeak(message_shape, channels)
    return leak, PlantedCloud(leak, model, image_shape)


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


class SilentCloud(nn.Module):
    """What belongs behind silence: messages [n, ...] -> the same logits [n, classes] always."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, message: Tensor) -> Tensor:
        """Return zeros, with gradients that are zero."""
        zero = (0 * message).flatten(1).sum(1, keepdim=True)
        return zero.expand(-1, self.classes)
