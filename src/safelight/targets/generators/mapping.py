"""From latent codes and labels to intermediate latent codes, one for every layer that takes one."""

import torch
from torch import Tensor, nn

from safelight.targets.generators.dense import Dense

EPSILON = 1e-8


class Mapping(nn.Module):
    """The mapping network of StyleGAN and its successors: z [n, z_dim] -> ws [n, num_ws, w_dim].

    Labels [n, c_dim] are embedded and joined to z, each normalized by itself (Karras et al. 2020b).
    In training mode, ``w_avg`` follows the mean of w, at which truncation aims. A discriminator's
    label mapping has ``z_dim`` 0, and neither ``num_ws`` nor ``w_avg_beta``.
    """

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        num_layers: int = 8,
        w_avg_beta: float | None = 0.998,
        lr_multiplier: float = 0.01,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.num_layers, self.w_avg_beta = num_layers, w_avg_beta
        if c_dim:
            self.embed = Dense(c_dim, w_dim)
        width = z_dim + w_dim * bool(c_dim)
        for index in range(num_layers):
            self.add_module(f"fc{index}", Dense(width, w_dim, "lrelu", lr_multiplier))
            width = w_dim
        if w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def latent(self, z: Tensor | None, labels: Tensor | None) -> Tensor:
        """Return w [n, w_dim] of z [n, z_dim] and labels [n, c_dim], where the network has them."""
        parts = [normalized(z)] if z is not None else []
        if labels is not None:
            parts.append(normalized(self.embed(labels)))
        w = torch.cat(parts, 1)
        for index in range(self.num_layers):
            w = self.get_submodule(f"fc{index}")(w)
        return w

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Return ws [n, num_ws, w_dim]; psi below 1 draws the first ``cutoff`` of them inward."""
        w = self.latent(z, labels)
        if self.training and self.w_avg_beta is not None:
            self.w_avg.lerp_(w.detach().mean(0), 1 - self.w_avg_beta)
        ws = w[:, None].repeat(1, self.num_ws or 1, 1)
        return truncated(ws, self.w_avg, truncation_psi, truncation_cutoff)


def normalized(x: Tensor) -> Tensor:
    """Return x [n, features] with mean square 1 in every row."""
    return x * (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()


def truncated(ws: Tensor, mean: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Return ``mean + psi (w - mean)`` for the first ``cutoff`` of ws [n, num_ws, w_dim], or all.

    The truncation trick (Karras et al. 2019, appendix B): less varied, more typical images.
    """
    if psi == 1:
        return ws
    near = mean + psi * (ws[:, :cutoff] - mean)
    return torch.cat([near, ws[:, near.shape[1] :]], 1)


def mixed(ws: Tensor, others: Tensor, crossover: int) -> Tensor:
    """Return ws whose layers from ``crossover`` on are those of others, both [n, num_ws, w_dim].

    Style mixing (Karras et al. 2019, section 3.1): coarse aspects of one image, fine ones of
    another.
    """
    return torch.cat([ws[:, :crossover], others[:, crossover:]], 1)
