"""The model under audit: pixels in, logits out, with its facts."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from safelight.targets.release import Release


class Normalized(nn.Module):
    """A network behind its own normalization: it takes pixels in [0, 1].

    Computes ``network((x - mean) / std)``, mean and std per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels [n, channels, height, width] in [0, 1] to whatever the network puts out."""
        out: Tensor = self.network((x - self.mean) / self.std)
        return out


@dataclass(frozen=True)
class Target:
    """A frozen model in evaluation mode, and what is known about it.

    ``trained_on`` says which pictures made it; ``facts`` holds its recipe and figures. ``release``
    is what is done to everything that leaves it.
    """

    name: str
    model: Normalized
    trained_on: str
    facts: dict[str, Any] = field(default_factory=dict)
    release: Release | None = None

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)

    @property
    def network(self) -> nn.Module:
        """The network inside, whose layers a cut names."""
        return self.model.network

    def parameters(self) -> int:
        """Return how many parameters the network has."""
        return sum(one.numel() for one in self.network.parameters())

    def weights_sha256(self) -> str:
        """Return a hash over every name and value of the network's state."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(
                value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
        return digest.hexdigest()

    @torch.no_grad()
    def correct(self, images: Tensor, labels: Tensor) -> int:
        """Return how many pictures [n, c, h, w] the model assigns to their label."""
        hits = [
            (self.model(x).argmax(1) == y).sum()
            for x, y in zip(images.split(1000), labels.split(1000), strict=True)
        ]
        return int(torch.stack(hits).sum())
