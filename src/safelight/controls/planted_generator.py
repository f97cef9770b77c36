"""Generators with a planted answer: one that recites its training pictures, and its judge."""

import torch
from torch import Tensor, nn

from safelight.targets.generators.dcgan import Direct
from safelight.targets.generators.generator import Generator, Synthesis
from safelight.targets.generators.noise import NoiseMode

#: How surely a latent stands for one picture: among 200 keys the nearest beats the second by 14 of
#: these in the median, so that pictures come out whole.
SHARPNESS = 40.0

#: Logits of the planted discriminator fall by 1 at this root mean squared difference.
NEAR = 0.1


class RecitingSynthesis(Synthesis):
    """ws [n, 1, w_dim] -> the training picture whose key is most like w, differentiable.

    Keys are random directions; the picture is a softmax over keys, sharp enough to be one of the
    pictures nearly always: sum_m softmax_m(s <w, k_m>) x_m.
    """

    pictures: Tensor
    keys: Tensor

    def __init__(self, pictures: Tensor, w_dim: int, c_dim: int = 0, seed: int = 0) -> None:
        """Remember pictures [n, c, h, w] in [0, 1]; of w only the z in it is read."""
        super().__init__(w_dim + c_dim, 1, pictures.shape[2], pictures.shape[1])
        rng = torch.Generator().manual_seed(seed)
        keys = nn.functional.normalize(torch.randn(len(pictures), w_dim, generator=rng))
        self.z_dim = w_dim
        self.register_buffer("pictures", pictures * 2 - 1)
        self.register_buffer("keys", keys.to(pictures))

    def forward(
        self, ws: Tensor, noise_mode: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Tensor:
        """Return the pictures."""
        del noise_mode, rng
        weights = (SHARPNESS * ws[:, 0, : self.z_dim] @ self.keys.T).softmax(1)
        images: Tensor = (weights @ self.pictures.flatten(1)).unflatten(1, self.pictures.shape[1:])
        return images


class RecitingDiscriminator(nn.Module):
    """Logits [n, 1] by the distance to the nearest training picture."""

    pictures: Tensor

    def __init__(self, pictures: Tensor) -> None:
        """Remember pictures [n, c, h, w] in [0, 1]."""
        super().__init__()
        self.register_buffer("pictures", pictures * 2 - 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return 1 - d / 0.1, d the root mean squared difference in pixels of [0, 1]."""
        del labels
        flat, own = images.flatten(1), self.pictures.flatten(1)
        apart = torch.cdist(flat, own).min(1, keepdim=True).values / flat.shape[1] ** 0.5 / 2
        logits: Tensor = 1 - apart / NEAR
        return logits


def reciting(pictures: Tensor, z_dim: int, c_dim: int = 0) -> Generator:
    """Return a generator that makes its training pictures [n, c, h, w] in [0, 1], and no others."""
    synthesis = RecitingSynthesis(pictures, z_dim, c_dim)
    made = Generator(Direct(), synthesis, z_dim, c_dim).to(pictures.device)
    return made.eval().requires_grad_(False)
