"""A multilayer perceptron on flattened pictures, with the parts that matter for extraction."""

import math
from collections.abc import Sequence
from typing import Literal

from torch import nn


class MLP(nn.Sequential):
    """784-1000-1000-10 with ReLU as it comes (Haim et al. 2022: the widths, and first biases only).

    Input [n, *image_shape], normalized by MNIST's mean and standard deviation; output
    [n, classes] logits, or [n, 1] for two classes told apart by the sign where ``classes`` is 1.

    Args:
        classes: outputs.
        image_shape: (channels, height, width).
        hidden: width of each hidden layer.
        bias: which layers have one: ``all``, the ``first`` alone (so that the network is
            homogeneous in everything behind it), or ``none``.
        batch_norm: normalize each hidden layer over the batch, as the network inversion paper
            does. The theory of extraction does not cover it.
        dropout: share of hidden units dropped in training, in [0, 1).
        slope: of the activation below zero; 0 is ReLU.
        first: standard deviation of the first layer's initial weights; PyTorch's where 0.
    """

    mean = (0.1307,)
    std = (0.3081,)

    def __init__(
        self,
        classes: int = 10,
        image_shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (1000, 1000),
        bias: Literal["all", "first", "none"] = "all",
        batch_norm: bool = False,
        dropout: float = 0.0,
        slope: float = 0.0,
        first: float = 0.0,
    ) -> None:
        super().__init__()
        self.append(nn.Flatten())
        width = math.prod(image_shape)
        for place, wanted in enumerate(hidden):
            own = bias == "all" or (bias == "first" and place == 0)
            layer = nn.Linear(width, wanted, bias=own)
            if first and place == 0:
                nn.init.normal_(layer.weight, std=first)
                if own:
                    nn.init.normal_(layer.bias, std=first)
            self.append(layer)
            if batch_norm:
                self.append(nn.BatchNorm1d(wanted))
            self.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
            if dropout:
                self.append(nn.Dropout(dropout))
            width = wanted
        self.append(nn.Linear(width, classes, bias=bias == "all"))
