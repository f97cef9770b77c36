"""The fully connected layer with equalized learning rate."""

import math

import torch
from torch import Tensor, nn

from safelight.targets.generators.activation import GAINS, Activation, activate


class Dense(nn.Module):
    """``f(weight_gain * W x + bias_gain * b)``: weights are stored at unit variance.

    Scaling them by He's constant at run time instead of at the start gives all layers the same
    learning rate (Karras et al. 2018, section 4.1); ``lr_multiplier`` lowers it for the layer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: Activation = "linear",
        lr_multiplier: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Map x [n, in_features] to [n, out_features]."""
        out = x @ (self.weight * self.weight_gain).t()
        return activate(out, self.bias * self.bias_gain, self.activation, GAINS[self.activation])
