"""A checked set of labeled pictures."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from safelight.errors import DataError


@dataclass(frozen=True)
class ImageSet:
    """Labeled pictures.

    ``images``: [n, channels, height, width], float32, pixels in [0, 1]. ``labels``: [n], int64,
    indices into ``classes``. ``source``: where they come from, as a person would say it.

    Raises:
        DataError: on construction, if the pictures break any of that.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        images, where = self.images, self.source
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"{where}: pictures have shape {list(images.shape)}; "
                "give [n, channels, height, width] with 1 or 3 channels"
            )
        if images.dtype != torch.float32 or self.labels.dtype != torch.int64:
            raise DataError(
                f"{where}: pixels are {images.dtype} and labels {self.labels.dtype}; "
                "convert them to float32 and int64"
            )
        if len(images) != len(self.labels):
            raise DataError(
                f"{where}: {len(images)} pictures but {len(self.labels)} labels; give one each"
            )
        if not torch.isfinite(images).all():
            row = int((~torch.isfinite(images)).flatten(1).any(1).nonzero()[0])
            raise DataError(f"{where}: picture {row} holds NaN or infinity; remove or repair it")
        if len(images) and (images.min() < 0 or images.max() > 1):
            raise DataError(
                f"{where}: pixels span [{images.min():.3g}, {images.max():.3g}]; "
                "scale them to [0, 1] (divide bytes by 255)"
            )
        if len(images) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
            self.classes
        ):
            raise DataError(
                f"{where}: labels reach {int(self.labels.max())} but there are "
                f"{len(self.classes)} class names; name every class"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one picture."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def rows(self, index: Tensor) -> "ImageSet":
        """Return the pictures at ``index`` (integers or a mask)."""
        return ImageSet(self.images[index], self.labels[index], self.classes, self.source)

    def to(self, device: torch.device) -> "ImageSet":
        """Return the set on a device."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.classes, self.source)

    def class_counts(self) -> dict[str, int]:
        """Return how many pictures each class has, in the order of ``classes``."""
        counts = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    def content_hashes(self) -> list[str]:
        """Return one sha256 per picture, over its float32 pixels: equal pictures, equal hash."""
        pixels = self.images.detach().cpu().contiguous().numpy()
        return [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pixels]

    def sha256(self) -> str:
        """Return one hash of the pictures, whatever their order; see ``labeled_sha256``."""
        return hashlib.sha256("".join(sorted(self.content_hashes())).encode()).hexdigest()

    def labeled_sha256(self) -> str:
        """Return one hash of the pictures with their labels, whatever their order."""
        pairs = zip(self.content_hashes(), self.labels.tolist(), strict=True)
        text = "".join(sorted(f"{one} {label} " for one, label in pairs))
        return hashlib.sha256(text.encode()).hexdigest()
