"""Views of a picture: what a model is asked about beside the picture itself."""

import torch
from torch import Tensor

#: The first view of a picture is itself; then its mirror image, then both moved by one pixel, as
#: queries of Carlini et al. (2022) do.
MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))

MOST_VIEWS = 2 * len(MOVES)


def view(images: Tensor, number: int) -> Tensor:
    """Return one view of pictures [n, c, h, w]; 0 is as they are. Moves repeat the border."""
    mirrored = images.flip(3) if number % 2 else images
    down, right = MOVES[number // 2]
    _, _, height, width = images.shape
    rows = (torch.arange(height) + down).clamp(0, height - 1)
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    return mirrored[:, :, rows][:, :, :, columns]
