"""A plain embedding for distances between pictures: coarse light, texture and color.

It needs no trained network, so it says nothing about content that a network would see (a face,
a word). It is not reduced to principal components: what is foreign to a set differs from it in
just those directions in which the set does not vary.
"""

import torch
from torch import Tensor
from torch.nn import functional

#: Coarse pixels a side, and cells a side whose texture is measured.
COARSE = 16
_CELLS = 8

#: Numbers a picture becomes: light, texture, color.
LENGTH = COARSE**2 + _CELLS**2 + 2

_BLOCK = 8192


def embed(gray: Tensor, chroma: Tensor) -> Tensor:
    """Return coarse light, texture and color, [n, 322].

    Light: 16 x 16 mean gray values. Texture: the standard deviation in 8 x 8 cells. Color: the
    mean. Each weighs as if every coarse pixel had it, so that distances are in units of pixel
    values over the coarse pixels.

    Args:
        gray: [n, height, width] bytes.
        chroma: [n, 2] mean color differences.
    """
    coarse = [_coarse(gray[at : at + _BLOCK]) for at in range(0, len(gray), _BLOCK)]
    return torch.cat([torch.cat(coarse), COARSE * chroma], dim=1)


def _coarse(gray: Tensor) -> Tensor:
    pixels = gray[:, None].float() / 255
    light = functional.adaptive_avg_pool2d(pixels, COARSE)
    mean = functional.adaptive_avg_pool2d(pixels, _CELLS)
    square = functional.adaptive_avg_pool2d(pixels.square(), _CELLS)
    texture = (square - mean.square()).clamp_min(0).sqrt() * (COARSE / _CELLS)
    return torch.cat([light.flatten(1), texture.flatten(1)], dim=1)
