"""Outputs as they arrive, decoded with suspicion: small limits, few formats, nothing executed."""

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from safelight.errors import DataError

#: Formats that are decoded, by their media type.
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}

#: Media type of a batch: an npz file with one array ``images``.
BATCH = "application/x-npz"

#: Most pixels of one encoded picture: 4096 x 4096. Checked before anything is decoded.
MOST_PIXELS = 16_777_216

#: Most bytes of a request, and of the array that a batch unpacks to.
MOST_BYTES, MOST_UNPACKED = 16 * 2**20, 64 * 2**20

#: Most outputs of one batch: a request is decided and recorded whole.
MOST_OUTPUTS = 512

#: Sides that can be compared at all; see ``metrics.image.SMALLEST``.
_SMALLEST = 8

#: Longest side at which a reviewer sees an output.
_SHOWN = 512

#: One decoded output: [height, width, channels] bytes with 1 or 3 channels.
Pixels = NDArray[np.uint8]

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True)
class Outputs:
    """The outputs of one request: prompts of one or more candidates each, in order.

    ``pictures``: all of one size. ``candidates``: how many belong to each prompt.
    """

    pictures: tuple[Pixels, ...]
    candidates: int = 1


def read_outputs(body: bytes, media: str) -> Outputs:
    """Decode a request.

    Args:
        body: a PNG, JPEG or WebP picture, or an npz file whose array ``images`` holds bytes:
            [n, height, width], [n, height, width, channels] or, with k candidates for each of n
            prompts, [n, k, height, width, channels].
        media: its media type.

    Raises:
        DataError: it is anything else, or larger than the limits.
    """
    if len(body) > MOST_BYTES:
        raise DataError(f"the request has {len(body):,} bytes; send {MOST_BYTES:,} at most")
    if media == BATCH:
        return _batch(body)
    if media not in FORMATS:
        raise DataError(f"cannot read {media!r}; send one of {', '.join([*FORMATS, BATCH])}")
    return Outputs((read_picture(body, FORMATS[media]),))


def read_picture(content: bytes, form: str | None = None) -> Pixels:
    """Decode one picture as it is displayed.

    Transparency and animation are refused: what is seen would depend on the viewer, and the
    filter would compare something else.

    Args:
        content: of the file.
        form: PNG, JPEG or WEBP; any of the three if not given.

    Raises:
        DataError: it cannot be decoded, or should not be.
    """
    forms = [form] if form else list(FORMATS.values())
    try:
        with Image.open(io.BytesIO(content), formats=forms) as opened:
            width, height = opened.size
            if width * height > MOST_PIXELS:
                raise DataError(
                    f"the picture has {width} x {height} pixels; send {MOST_PIXELS:,} at most"
                )
            _check_size(height, width)
            if getattr(opened, "n_frames", 1) > 1:
                raise DataError("the picture is animated; send its frames one by one")
            if opened.has_transparency_data:
                raise DataError("the picture is transparent; send it on an opaque background")
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith(("F", "I")):
                raise DataError(
                    f"the picture has more than 8 bits a channel ({picture.mode}); send 8"
                )
            gray = picture.mode in ("1", "L")
            pixels = np.array(picture.convert("L" if gray else "RGB"))
    except _UNREADABLE as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        named = " or ".join(forms)
        raise DataError(f"cannot decode the picture: {reason}; send an intact {named}") from None
    return pixels[..., None] if pixels.ndim == 2 else pixels


def as_tensor(pictures: tuple[Pixels, ...] | list[Pixels]) -> Tensor:
    """Return pictures of one size as [n, channels, height, width], floats in [0, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def content_hash(picture: Pixels) -> str:
    """Return the sha256 of an output's size and pixels."""
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()


def as_png(picture: Pixels) -> bytes:
    """Encode an output anew: nothing but pixels, whatever the file carried beside them."""
    stream = io.BytesIO()
    _image(picture).save(stream, "PNG")
    return stream.getvalue()


def shown_png(picture: Pixels) -> bytes:
    """Encode a picture for a reviewer, at most 512 pixels a side."""
    image = _image(picture)
    image.thumbnail((_SHOWN, _SHOWN))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def as_npz(pictures: NDArray[np.uint8]) -> bytes:
    """Pack a batch."""
    stream = io.BytesIO()
    np.savez(stream, images=pictures)
    return stream.getvalue()


def _image(picture: Pixels) -> Image.Image:
    flat = picture[..., 0] if picture.shape[2] == 1 else picture
    return Image.fromarray(np.ascontiguousarray(flat))


def _check_size(height: int, width: int) -> None:
    if min(height, width) < _SMALLEST:
        raise DataError(f"a picture of {width} x {height} pixels is too small; send 8 x 8 or more")


#: What reading a damaged archive raises. RuntimeError: it is encrypted, or (NotImplementedError)
#: packed in a way that Python has no reader for.
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    RuntimeError,
)


def _batch(body: bytes) -> Outputs:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as file:
            array = _array(file)
    except _BROKEN_ARCHIVE as error:
        reason = str(error).split("\n")[0]
        raise DataError(
            f"cannot read the batch: {reason}; write it with numpy.savez(file, images=...)"
        ) from None
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim not in (4, 5) or array.shape[-1] not in (1, 3) or not array.size:
        raise DataError(
            f"images have shape {list(array.shape)}; send [n, height, width, channels] with 1 or 3 "
            "channels, or [n, candidates, height, width, channels]"
        )
    candidates = array.shape[1] if array.ndim == 5 else 1
    flat = array.reshape(-1, *array.shape[-3:])
    if len(flat) > MOST_OUTPUTS:
        raise DataError(f"the batch holds {len(flat):,} outputs; send {MOST_OUTPUTS} at most")
    _check_size(*flat.shape[1:3])
    return Outputs(tuple(flat), candidates)


def _array(file: zipfile.ZipFile) -> NDArray[np.uint8]:
    """Read the array after its header has said how large it will be."""
    inside = file.getinfo("images.npy")
    if inside.file_size > MOST_UNPACKED:
        raise ValueError(f"images unpack to {inside.file_size:,} bytes; send less")
    with file.open(inside) as stream:
        content = stream.read(MOST_UNPACKED + 1)
    head = io.BytesIO(content)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, kind = readers[np.lib.format.read_magic(head)](head)
    if kind != np.uint8 or fortran:
        raise ValueError(f"images are {kind}, not bytes (uint8) in C order")
    values = content[head.tell() :]
    if prod(shape) != len(values):
        raise ValueError(f"images of shape {list(shape)} do not have {len(values):,} bytes")
    return np.frombuffer(values, np.uint8).reshape(shape)
