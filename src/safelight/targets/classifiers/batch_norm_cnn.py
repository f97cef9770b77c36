"""The convolutional network of the shadow reconstruction study: three stages, batch-normalized."""

from collections.abc import Sequence

from torch import Tensor, nn


class BatchNormCNN(nn.Module):
    """Three 3x3 convolutions, each normalized, halved and rectified; two linear layers (Thielen).

    Input [n, *image_shape], pixels as they are; output [n, classes] logits. As published: 128, 256
    and 512 channels for 32x32 gray pictures, 50 hidden units with dropout 0.5 and no activation
    between the linear layers. (P. Thielen, Shadow Reconstructions, TU Eindhoven 2024.)

    Args:
        classes: outputs.
        image_shape: (channels, height, width); sides of 8 or more.
        width: channels of the first stage; the others have 2 and 4 times as many. A quarter of
            the published ones costs 15 times less.
        hidden: units of the last linear layer but one.
        dropout: of the hidden units, in [0, 1).
    """

    mean = (0.0,)
    std = (1.0,)

    def __init__(
        self,
        classes: int = 10,
        image_shape: Sequence[int] = (1, 32, 32),
        width: int = 128,
        hidden: int = 50,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        depth, height, across = image_shape
        stages: list[nn.Module] = []
        for wanted in (width, 2 * width, 4 * width):
            stages += [nn.Conv2d(depth, wanted, 3, padding=1), nn.BatchNorm2d(wanted)]
            stages += [nn.MaxPool2d(2), nn.ReLU()]
            depth, height, across = wanted, height // 2, across // 2
        self.stages = nn.Sequential(*stages)
        self.features = nn.Linear(depth * height * across, hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.dropout(self.features(self.stages(x).flatten(1))))
        return logits
