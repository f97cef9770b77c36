"""The convolutional network of the network inversion paper: three blocks and a hidden layer."""

from collections.abc import Sequence

from torch import Tensor, nn


class PlainCNN(nn.Module):
    """Three 3x3 convolutions of 32, 64 and 128 channels, each halved, then 256 hidden units.

    Input [n, *image_shape], normalized by MNIST's mean and standard deviation; output
    [n, classes] logits.

    Args:
        classes: outputs.
        image_shape: (channels, height, width); sides of 8 or more.
        channels: of each convolution.
        hidden: width of the hidden layer.
        bias: whether layers have one.
        batch_norm: as in the paper; the theory of extraction does not cover it.
        dropout: in the hidden layer, in [0, 1); the paper's is 0.4, and 0.25 between the blocks.
        slope: of the activation below zero; the paper's is 0.2, 0 is ReLU.
    """

    mean = (0.1307,)
    std = (0.3081,)

    def __init__(
        self,
        classes: int = 10,
        image_shape: Sequence[int] = (1, 28, 28),
        channels: Sequence[int] = (32, 64, 128),
        hidden: int = 256,
        bias: bool = True,
        batch_norm: bool = True,
        dropout: float = 0.0,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        depth, height, width = image_shape
        blocks: list[nn.Module] = []
        for wanted in channels:
            blocks.append(nn.Conv2d(depth, wanted, 3, padding=1, bias=bias))
            if batch_norm:
                blocks.append(nn.BatchNorm2d(wanted))
            blocks += [_activation(slope), nn.MaxPool2d(2)]
            if dropout:
                blocks.append(nn.Dropout2d(dropout * 5 / 8))  # 0.25 where the layer drops 0.4
            depth, height, width = wanted, height // 2, width // 2
        self.blocks = nn.Sequential(*blocks)
        head: list[nn.Module] = [nn.Linear(depth * height * width, hidden, bias=bias)]
        if batch_norm:
            head.append(nn.BatchNorm1d(hidden))
        head.append(_activation(slope))
        if dropout:
            head.append(nn.Dropout(dropout))
        self.features = nn.Sequential(*head)
        self.head = nn.Linear(hidden, classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.features(self.blocks(x).flatten(1)))
        return logits


def _activation(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope) if slope else nn.ReLU()
