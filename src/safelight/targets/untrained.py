"""Edges with random weights: what an adversary starts from who never saw the trained one."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def same_structure(edge: nn.Module, seed: int) -> nn.Module:
    """Return a copy of an edge whose every weight is drawn anew, ready to be trained.

    Layers draw by their own ``reset_parameters``, as they did when they were made; parameters of
    layers without one are drawn from a normal distribution with deviation 0.02.
    """
    fresh = copy.deepcopy(edge)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
            else:
                for one in module.parameters(recurse=False):
                    one.normal_(std=0.02)
    return fresh.requires_grad_(True)


class OtherStructure(nn.Module):
    """An edge as one would guess it from the message's shape alone.

    Pictures [n, c, h, w] in [0, 1] -> messages [n, *message_shape]. Three convolutions where the
    original may have any number; pooling brings the picture to the message's grid, and what valid
    convolutions would cut off is cropped. ``rectified`` ends in a ReLU: who sees messages without
    a negative number knows that.
    """

    def __init__(
        self,
        message_shape: tuple[int, ...],
        image_shape: tuple[int, int, int],
        rectified: bool,
        seed: int,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.message_shape, self.rectified = message_shape, rectified
        spatial = len(message_shape) == 3
        grid = message_shape[1:] if spatial else (math.ceil(height / 4), math.ceil(width / 4))
        halvings = max(0, min(int(math.log2(height / grid[0])), int(math.log2(width / grid[1]))))
        hidden = 64
        out = message_shape[0] if spatial else hidden
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = [nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2) for _ in range(halvings)]
            layers += [nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(hidden, out, 3, padding=1)]
            if not spatial:
                rows, columns = height // 2**halvings, width // 2**halvings
                layers += [nn.ReLU(), nn.Flatten()]
                layers += [nn.Linear(hidden * rows * columns, math.prod(message_shape))]
            self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the message."""
        z: Tensor = self.layers(x - 0.5)
        if len(self.message_shape) == 3:
            _, h, w = self.message_shape
            top, left = (z.shape[2] - h) // 2, (z.shape[3] - w) // 2
            z = z[:, :, top : top + h, left : left + w]
        z = z.reshape(-1, *self.message_shape)
        return z.relu() if self.rectified else z
