"""The protected pictures, in memory: found by one matrix product a batch, compared exactly after.

The floor of the search: an output whose patched distance to some protected picture is below the
block threshold is found if fewer than ``CANDIDATES`` protected pictures look as near once coarse,
for averaging over blocks can only bring pictures closer. The nearest by embedding and the nearest
once coarse are always found, for all are compared. ssim is searched through those and has no such
guarantee, so what it finds is measured (see the page on the output filter).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.errors import DataError
from safelight.filtering import distances

#: Protected pictures compared exactly with each output: so many nearest by coarse pixels, as many
#: by correlation, and the nearest by embedding. The same work for every output: the time taken
#: tells nothing.
CANDIDATES = 4

#: Numbers of an output are compared with all protected pictures in blocks of so many outputs.
_BLOCK = 256


@dataclass(frozen=True)
class Nearest:
    """The least of each distance of n outputs, over the protected pictures compared.

    ``distances``: [n, 4] in the order of ``distances.NAMES``. ``rows``: [n, 4], which protected
    picture has each.
    """

    distances: Tensor
    rows: Tensor


class Index:
    """Protected pictures, [n, channels, height, width] bytes, and what finds them."""

    def __init__(self, pictures: Tensor) -> None:
        if pictures.ndim != 4 or pictures.dtype != torch.uint8 or not len(pictures):
            raise DataError("an index needs pictures as bytes; give one protected picture or more")
        self.pictures = pictures.contiguous()
        points = torch.cat([distances.coarse(_floats(part)) for part in pictures.split(1024)])
        self._points = points
        self._lengths = points.square().sum(1)
        self._standard = distances.standardized(points)
        self._embedded = torch.cat(
            [distances.embedding(_floats(part)) for part in pictures.split(1024)]
        )
        self._embedded_lengths = self._embedded.square().sum(1)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one picture."""
        channels, height, width = self.pictures.shape[1:]
        return channels, height, width

    def sha256(self) -> str:
        """Return a hash of the pictures in their order."""
        return pictures_sha256(self.pictures)

    def fit(self, images: Tensor) -> Tensor:
        """Bring outputs [n, channels, height, width] in [0, 1] to the size of the protected ones.

        Color is averaged to light (ITU-R BT.601) where the protected pictures are gray, gray is
        repeated where they are in color.
        """
        channels, height, width = self.shape
        if channels == 1 and images.shape[1] == 3:
            light = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype)
            images = (images * light[:, None, None]).sum(1, keepdim=True)
        elif channels == 3 and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        if images.shape[2:] != (height, width):
            images = F.interpolate(
                images, (height, width), mode="bilinear", antialias=True, align_corners=False
            ).clamp(0, 1)
        return images

    @torch.no_grad()
    def nearest(self, images: Tensor) -> Nearest:
        """Compare outputs, fitted and in [0, 1], with the protected pictures."""
        parts = [self._nearest(part) for part in images.split(_BLOCK)]
        if not parts:
            empty = torch.zeros(0, len(distances.NAMES))
            return Nearest(empty, empty.long())
        return Nearest(
            torch.cat([one.distances for one in parts]), torch.cat([one.rows for one in parts])
        )

    def candidates(self, points: Tensor, standard: Tensor, embedded: Tensor) -> Tensor:
        """Return the rows of the protected pictures to compare each output with, [n, k].

        Args:
            points: of the outputs, as ``distances.coarse`` makes them.
            standard: the same, standardized.
            embedded: of the outputs, as ``distances.embedding`` makes them.
        """
        k = min(CANDIDATES, len(self))
        # |a - b|^2 less |a|^2, which is the same for a whole row
        apart = torch.addmm(self._lengths[None], points, self._points.T, alpha=-2)
        near = apart.topk(k, dim=1, largest=False).indices
        alike = (standard @ self._standard.T).topk(k, dim=1).indices
        apart = torch.addmm(self._embedded_lengths[None], embedded, self._embedded.T, alpha=-2)
        return torch.cat([near, alike, apart.argmin(1, keepdim=True)], dim=1)

    def _nearest(self, images: Tensor) -> Nearest:
        points, embedded = distances.coarse(images), distances.embedding(images)
        standard = distances.standardized(points)
        rows = self.candidates(points, standard, embedded)
        pairs = images.repeat_interleave(rows.shape[1], 0)
        pixels = distances.in_pixels(pairs, _floats(self.pictures[rows.flatten()]))
        whole = [
            (one[:, None] - every[rows]).norm(dim=2)
            for one, every in ((embedded, self._embedded), (standard, self._standard))
        ]
        found = torch.cat([pixels.unflatten(0, rows.shape), torch.stack(whole, 2)], dim=2)
        least, at = found.min(1)
        return Nearest(least, rows.gather(1, at))


def pictures_sha256(pictures: Tensor) -> str:
    """Return a hash of pictures, bytes [n, channels, height, width], in their order."""
    shape = repr(tuple(pictures.shape)).encode()
    return hashlib.sha256(shape + pictures.numpy().tobytes()).hexdigest()


def load_index(file: Path, sha256: str) -> Index:
    """Read an index, whole and the one that was calibrated.

    Raises:
        DataError: it is missing, damaged or another one.
    """
    remedy = "calibrate the filter again"
    try:
        index = Index(safetensors.torch.load_file(file)["pictures"])
    except FileNotFoundError:
        raise DataError(f"the protected pictures are missing: no {file}; {remedy}") from None
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise DataError(f"cannot read the protected pictures {file}: {error}; {remedy}") from None
    if index.sha256() != sha256:
        raise DataError(f"{file} is not what the thresholds were calibrated with; {remedy}")
    return index


def _floats(pictures: Tensor) -> Tensor:
    return pictures.float() / 255
