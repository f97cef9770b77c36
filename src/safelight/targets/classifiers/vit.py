"""The small vision transformer of the network inversion paper."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ViT(nn.Module):
    """Patches of 7x7, width 64, 2 layers of 4 heads, a class token, a hidden layer before the head.

    Input [n, *image_shape], normalized by MNIST's mean and standard deviation; output
    [n, classes] logits.

    Args:
        classes: outputs.
        image_shape: (channels, height, width), sides that ``patch`` divides.
        patch: side of a patch in pixels.
        width: of a token.
        heads: of attention; divides ``width``.
        depth: transformer layers.
        dropout: in [0, 1); the paper's is 0.1.
    """

    mean = (0.1307,)
    std = (0.3081,)

    def __init__(
        self,
        classes: int = 10,
        image_shape: Sequence[int] = (1, 28, 28),
        patch: int = 7,
        width: int = 64,
        heads: int = 4,
        depth: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        channels, height, across = image_shape
        if height % patch or across % patch:
            raise ValueError(f"patches of {patch} do not tile {height}x{across} pixels")
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        tokens = (height // patch) * (across // patch) + 1
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        layers = [
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        ]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width)
        self.features = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        patches = self.embed(x).flatten(2).transpose(1, 2)
        seen = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.place
        logits: Tensor = self.head(self.features(self.norm(self.layers(seen))[:, 0]))
        return logits
