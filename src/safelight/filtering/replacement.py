"""What is shown instead of an output that is held: another picture, without a word.

A refusal tells whoever asks that the output was near a protected picture: an oracle of membership
(Debenedetti et al. 2023, "Privacy side channels in machine learning systems"). A picture that could
have come out anyway tells less. It tells nothing only to those who cannot know what would have come
out: see the page on the output filter for what it leaves.
"""

import hashlib
import hmac
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.filtering import distances
from safelight.filtering.index import Index
from safelight.filtering.pictures import Pixels, as_tensor

#: Share of the reserve, nearest to the output, of which one is picked: near enough to pass for what
#: was asked, and many enough that copies of one picture seldom get the same one. With the nearest
#: 16 of 200, repeats alone told protected digits from others with an AUC of 0.61.
PICKED_FROM = 0.25


class Reserve:
    """Pictures that anybody may see, [n, channels, height, width] bytes.

    The pick depends on the output and a secret alone: the same output gets the same picture
    again, and asking twice tells nothing.
    """

    def __init__(self, pictures: Tensor, index: Index, secret: bytes) -> None:
        self._pictures = pictures
        self._index = index
        self._secret = secret
        fitted = [index.fit(part.float() / 255) for part in pictures.split(1024)]
        self._points = torch.cat([distances.coarse(part) for part in fitted])

    def instead(self, picture: Pixels, content: str) -> Pixels:
        """Return a picture of the output's size and color for an output."""
        point = distances.coarse(self._index.fit(as_tensor([picture])))
        count = ceil(PICKED_FROM * len(self._points))
        near = torch.cdist(point, self._points)[0].topk(count, largest=False).indices
        digest = hmac.new(self._secret, content.encode(), hashlib.sha256).digest()
        row = int(near[int.from_bytes(digest[:8], "big") % count])
        return _like(self._pictures[row], picture.shape)


def _like(picture: Tensor, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    height, width, channels = shape
    image = picture[None].float() / 255
    if image.shape[1] == 3 and channels == 1:
        image = image.mean(1, keepdim=True)
    image = image.expand(-1, channels, -1, -1)
    if image.shape[2:] != (height, width):
        image = F.interpolate(
            image, (height, width), mode="bilinear", antialias=True, align_corners=False
        )
    levels: NDArray[np.uint8] = (image[0].clamp(0, 1) * 255).round().byte().numpy()
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
