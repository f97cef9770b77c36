"""The noise images that StyleGAN and StyleGAN2 add after their convolutions."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

NoiseMode = Literal["const", "random", "none"]


@dataclass(frozen=True)
class Noise:
    """Where noise comes from: the stored images, a draw from N(0, 1) per image, or nowhere.

    ``rng`` is what draws; without one, torch's own generator does.
    """

    mode: NoiseMode = "const"
    rng: torch.Generator | None = None

    def image(self, stored: Tensor, count: int) -> Tensor | None:
        """Return noise that broadcasts to [count, 1, h, w], for a stored image [h, w]."""
        if self.mode == "none":
            return None
        if self.mode == "const":
            return stored
        shape = (count, 1, *stored.shape)
        return torch.randn(shape, generator=self.rng, device=stored.device, dtype=stored.dtype)
