"""Bias, activation, gain and clamp, in this order, as all StyleGAN layers end."""

import math
from typing import Literal

import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

Activation = Literal["linear", "lrelu"]
SLOPE = 0.2
#: Keeps the variance of a unit-variance input (He et al. 2015), as StyleGAN2 has it.
GAINS: dict[Activation, float] = {"linear": 1.0, "lrelu": math.sqrt(2)}


def activate(
    x: Tensor,
    bias: Tensor | None,
    activation: Activation,
    gain: float,
    clamp: float | None = None,
) -> Tensor:
    """Return ``clamp(gain * f(x + bias))`` for x [n, channels, ...] and bias [channels].

    ``clamp`` bounds the result to [-clamp, clamp] (Karras et al. 2020b, appendix D.1).
    """
    if bias is not None:
        x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    if activation == "lrelu":
        x = F.leaky_relu(x, SLOPE)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)
