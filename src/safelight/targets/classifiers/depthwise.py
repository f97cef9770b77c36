"""A small depthwise-separable network: the inverted bottlenecks of MobileNetV2 and EfficientNet."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it


class Depthwise(nn.Module):
    """Three stages of inverted bottlenecks with squeeze and excitation (Tan and Le 2019).

    Input [n, *image_shape], pixels as they are; output [n, classes] logits. An EfficientNet's
    blocks in a depth that fits small pictures.

    Args:
        classes: outputs.
        image_shape: (channels, height, width); sides of 8 or more.
        width: channels of the first stage; the others have 2 and 4 times as many.
        blocks: bottlenecks a stage.
        expansion: how much wider a bottleneck is inside.
    """

    mean = (0.0,)
    std = (1.0,)

    def __init__(
        self,
        classes: int = 10,
        image_shape: Sequence[int] = (1, 32, 32),
        width: int = 16,
        blocks: int = 1,
        expansion: int = 4,
    ) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
        )
        layers: list[nn.Module] = []
        depth = width
        for stage in range(3):
            wanted = width * 2**stage
            for place in range(blocks):
                layers.append(Bottleneck(depth, wanted, 1 if place else 2, expansion))
                depth = wanted
        self.stages = nn.Sequential(*layers)
        self.leave = nn.Sequential(
            nn.Conv2d(depth, 4 * depth, 1, bias=False), nn.BatchNorm2d(4 * depth), nn.SiLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * depth, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.leave(self.stages(self.enter(x)))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


class Bottleneck(nn.Module):
    """Widen by 1x1, filter each channel by itself, weigh the channels, narrow by 1x1."""

    def __init__(self, depth: int, wanted: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside, narrow = depth * expansion, max(depth // 4, 1)
        self.widen = nn.Sequential(
            nn.Conv2d(depth, inside, 1, bias=False), nn.BatchNorm2d(inside), nn.SiLU()
        )
        self.filter = nn.Sequential(
            nn.Conv2d(inside, inside, 3, stride, padding=1, groups=inside, bias=False),
            nn.BatchNorm2d(inside),
            nn.SiLU(),
        )
        self.squeeze = nn.Conv2d(inside, narrow, 1)
        self.excite = nn.Conv2d(narrow, inside, 1)
        self.narrow = nn.Sequential(
            nn.Conv2d(inside, wanted, 1, bias=False), nn.BatchNorm2d(wanted)
        )
        self.skips = stride == 1 and depth == wanted

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        hidden = self.filter(self.widen(x))
        seen = F.adaptive_avg_pool2d(hidden, 1)
        weighed = hidden * self.excite(F.silu(self.squeeze(seen))).sigmoid()
        out: Tensor = self.narrow(weighed)
        return x + out if self.skips else out
