"""Change pictures in ways that keep what they show, to learn from more of them."""

import torch
from torch import Tensor


def augmented(images: Tensor, flip: bool, shift: int, order: torch.Generator) -> Tensor:
    """Mirror each picture [n, c, h, w] with chance 1/2 and move it by up to ``shift`` pixels.

    What a move uncovers repeats the border. Draws from ``order``, a generator on the CPU.
    """
    n, _, height, width = images.shape
    if flip:
        mirrored = torch.rand(n, generator=order) < 0.5
        images = torch.where(
            mirrored[:, None, None, None].to(images.device), images.flip(3), images
        )
    if shift:
        down, right = torch.randint(-shift, shift + 1, (2, n, 1), generator=order)
        rows = (torch.arange(height) + down).clamp(0, height - 1).to(images.device)
        columns = (torch.arange(width) + right).clamp(0, width - 1).to(images.device)
        each = torch.arange(n, device=images.device)[:, None, None]
        images = images.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
        images = images.permute(0, 3, 1, 2)
    return images
