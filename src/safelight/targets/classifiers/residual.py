"""A small residual network: the basic blocks of ResNet, three stages."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it


class Residual(nn.Module):
    """Three stages of two-convolution residual blocks, then a global mean (He et al. 2016).

    Input [n, *image_shape], pixels as they are; output [n, classes] logits. As for CIFAR-10 in the
    paper (section 4.2), with a projection where the width changes.

    Args:
        classes: outputs.
        image_shape: (channels, height, width); sides of 8 or more.
        width: channels of the first stage; the others have 2 and 4 times as many.
        blocks: residual blocks a stage; 3 make the paper's 20 layers.
    """

    mean = (0.0,)
    std = (1.0,)

    def __init__(
        self,
        classes: int = 10,
        image_shape: Sequence[int] = (1, 32, 32),
        width: int = 16,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        self.enter = nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False)
        self.normal = nn.BatchNorm2d(width)
        layers: list[nn.Module] = []
        depth = width
        for stage in range(3):
            wanted = width * 2**stage
            for place in range(blocks):
                layers.append(Block(depth, wanted, 2 if stage and not place else 1))
                depth = wanted
        self.stages = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(depth, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.stages(F.relu(self.normal(self.enter(x))))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


class Block(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))), with a 1x1 projection of x where shapes differ."""

    def __init__(self, depth: int, wanted: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(depth, wanted, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(wanted, wanted, 3, padding=1, bias=False)
        self.normal, self.last = nn.BatchNorm2d(wanted), nn.BatchNorm2d(wanted)
        self.beside: nn.Module = nn.Identity()
        if stride > 1 or depth != wanted:
            self.beside = nn.Sequential(
                nn.Conv2d(depth, wanted, 1, stride, bias=False), nn.BatchNorm2d(wanted)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        inside = self.last(self.second(F.relu(self.normal(self.first(x)))))
        return F.relu(self.beside(x) + inside)
