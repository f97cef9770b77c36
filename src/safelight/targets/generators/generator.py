"""A generator: a mapping network and a synthesis network, and how both are run."""

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from safelight.errors import PlanError
from safelight.targets.generators.noise import NoiseMode

Array = np.ndarray[Any, Any]


class Synthesis(nn.Module, abc.ABC):
    """From ws [n, num_ws, w_dim] to images [n, img_channels, resolution, resolution]."""

    def __init__(self, w_dim: int, num_ws: int, img_resolution: int, img_channels: int) -> None:
        super().__init__()
        self.w_dim, self.num_ws = w_dim, num_ws
        self.img_resolution, self.img_channels = img_resolution, img_channels

    @abc.abstractmethod
    def forward(
        self, ws: Tensor, noise_mode: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Tensor:
        """Return the images. ``rng`` draws the noise of mode "random", where there is noise."""


class Generator(nn.Module):
    """Latent codes and labels in, images about [-1, 1] out, through ``mapping`` and ``synthesis``.

    An attack that searches z calls the generator; one that searches w or w+ calls ``synthesis``.
    """

    def __init__(self, mapping: nn.Module, synthesis: Synthesis, z_dim: int, c_dim: int) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, synthesis.w_dim
        self.img_resolution, self.img_channels = synthesis.img_resolution, synthesis.img_channels
        self.num_ws = synthesis.num_ws
        self.mapping, self.synthesis = mapping, synthesis

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Map z [n, z_dim] and labels [n, c_dim] to images [n, channels, height, width]."""
        ws = self.mapping(z, labels, truncation_psi, truncation_cutoff)
        images: Tensor = self.synthesis(ws, noise_mode, rng)
        return images

    @torch.no_grad()
    def run(
        self,
        z: Array,
        labels: Array | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        randomize_noise: bool = False,
        as_uint8: bool = False,
        minibatch_size: int = 16,
    ) -> Array:
        """Do what ``Gs.run`` of the TensorFlow StyleGANs did: arrays in, arrays out, no gradients.

        Args:
            z: latent codes [n, z_dim].
            labels: one-hot labels [n, c_dim]; none for a generator without classes.
            truncation_psi: 1 for no truncation.
            truncation_cutoff: how many layers truncation reaches; all by default.
            randomize_noise: draw noise anew; off here, so that a run can be repeated.
            as_uint8: give pixels [n, height, width, channels] of 0 to 255.
            minibatch_size: how many images are made at once.

        Returns:
            Images [n, channels, height, width], float32, about [-1, 1], unless ``as_uint8``.

        Raises:
            PlanError: the arrays do not have these shapes.
        """
        mode: NoiseMode = "random" if randomize_noise else "const"
        made = [
            self(codes, classes, truncation_psi, truncation_cutoff, mode)
            for codes, classes in self._minibatches(z, labels, minibatch_size)
        ]
        size = (self.img_channels, self.img_resolution, self.img_resolution)
        images = torch.cat(made).float().cpu() if made else torch.zeros(0, *size)
        if as_uint8:
            # [-1, 1] to [0, 255], the nearest whole number.
            images = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        array: Array = images.numpy()
        return array

    def _minibatches(
        self, z: Array, labels: Array | None, size: int
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise PlanError(f"z has the shape {list(z.shape)}; give [n, {self.z_dim}]")
        wanted = (len(z), self.c_dim) if self.c_dim else None
        given = None if labels is None else labels.shape
        if given != wanted and not (wanted is None and given == (len(z), 0)):
            told = list(wanted) if wanted else "none"
            shape = "none" if given is None else list(given)
            raise PlanError(f"labels have the shape {shape}; give {told}")
        weight = next(self.synthesis.parameters())
        for start in range(0, len(z), size):
            rows = slice(start, start + size)
            classes = None if wanted is None or labels is None else labels[rows]
            yield (
                torch.as_tensor(z[rows]).to(weight),
                None if classes is None else torch.as_tensor(classes).to(weight),
            )


def widths(
    resolution: int, channel_base: int, channel_max: int, smallest: int = 4
) -> dict[int, int]:
    """Return the number of channels at 4, 8, ... ``resolution``: base / size, at most the maximum.

    Raises:
        PlanError: the resolution is not a power of 2 from ``smallest`` on.
    """
    if resolution < smallest or resolution & (resolution - 1):
        raise PlanError(
            f"a resolution of {resolution} is no power of 2 from {smallest} on; take 32"
        )
    sizes = (2**power for power in range(2, resolution.bit_length()))
    return {size: max(1, min(channel_base // size, channel_max)) for size in sizes}
