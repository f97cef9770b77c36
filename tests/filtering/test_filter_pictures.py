"""What arrives is hostile until it is decoded."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from safelight.errors import DataError
from safelight.filtering import pictures
from safelight.filtering.pictures import BATCH, as_npz, as_png, as_tensor, read_outputs

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 32, 24, 3), dtype=np.uint8)


def saved(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pictures_of_three_formats_are_read(form):
    found = read_outputs(saved(Image.fromarray(PIXELS[0]), form), f"image/{form.lower()}")
    assert found.candidates == 1
    assert found.pictures[0].shape == (32, 24, 3)
    if form == "PNG":
        assert (found.pictures[0] == PIXELS[0]).all()
        assert (read_outputs(as_png(PIXELS[0]), "image/png").pictures[0] == PIXELS[0]).all()


def test_gray_stays_gray_and_is_scaled():
    (found,) = read_outputs(saved(Image.new("L", (16, 8), 255), "PNG"), "image/png").pictures
    assert as_tensor([found]).shape == (1, 1, 8, 16)
    assert as_tensor([found]).unique().tolist() == [1.0]


def test_a_picture_is_seen_as_it_is_displayed():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    content = saved(Image.fromarray(PIXELS[0]), "JPEG", exif=exif)
    assert read_outputs(content, "image/jpeg").pictures[0].shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("array", "count", "candidates", "channels"),
    [
        (PIXELS, 5, 1, 3),
        (PIXELS[..., 0], 5, 1, 1),
        (PIXELS[:4].reshape(2, 2, 32, 24, 3), 4, 2, 3),
    ],
)
def test_batches_are_read(array, count, candidates, channels):
    found = read_outputs(as_npz(array), BATCH)
    assert (len(found.pictures), found.candidates) == (count, candidates)
    assert found.pictures[0].shape == (32, 24, channels)
    assert (np.stack(found.pictures).reshape(array.shape) == array).all()


def bomb():
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rest


FRAMES = [Image.fromarray(one) for one in PIXELS[:3]]
RGBA = Image.fromarray(PIXELS[0]).convert("RGBA")


@pytest.mark.parametrize(
    ("content", "media", "reason"),
    [
        (bomb(), "image/png", "send"),
        (saved(FRAMES[0], "GIF"), "image/png", "intact PNG"),
        (saved(FRAMES[0], "BMP"), "image/jpeg", "intact JPEG"),
        (saved(FRAMES[0], "PNG"), "image/webp", "intact WEBP"),
        (saved(FRAMES[0], "PNG")[:900], "image/png", "intact PNG"),
        (b"", "image/png", "intact PNG"),
        (saved(FRAMES[0], "PNG"), "image/tiff", "send one of image/png"),
        (saved(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "image/webp", "one by"),
        (saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "image/png", "one by"),
        (saved(RGBA, "PNG"), "image/png", "opaque"),
        (saved(FRAMES[0].convert("P"), "PNG", transparency=3), "image/png", "opaque"),
        (saved(Image.new("I;16", (32, 32)), "PNG"), "image/png", "8 bits"),
        (saved(Image.new("L", (4, 4)), "PNG"), "image/png", "too small"),
        (b"x" * (pictures.MOST_BYTES + 1), "image/png", "at most"),
    ],
)
def test_anything_else_is_refused(content, media, reason):
    with pytest.raises(DataError, match=reason) as caught:
        read_outputs(content, media)
    assert "\n" not in str(caught.value)


def test_a_gray_bomb_is_refused_before_it_is_decoded():
    content = saved(Image.new("1", (5000, 5000)), "PNG")
    assert len(content) < 10_000
    with pytest.raises(DataError, match="5000 x 5000"):
        read_outputs(content, "image/png")


def lying(shape, values=b"\0" * 100, kind="|u1"):
    """A batch whose header says another shape than it has bytes."""
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"
    head = head.ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + values
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("images.npy", content)
    return stream.getvalue()


def deflated(size):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", b"\0" * size)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npz(images=np.array([{}], dtype=object)), "not bytes"),
        (npz(images=PIXELS.astype(np.float32)), "not bytes"),
        (npz(pictures=PIXELS), "numpy.savez"),
        (npz(images=np.asfortranarray(PIXELS)), "not bytes"),
        (npz(images=PIXELS[0, 0]), "have shape"),
        (npz(images=PIXELS[..., :2]), "have shape"),
        (npz(images=PIXELS[:0]), "have shape"),
        (npz(images=np.zeros((600, 8, 8, 1), np.uint8)), "at most"),
        (npz(images=np.zeros((5, 4, 4, 1), np.uint8)), "too small"),
        (lying((10**9, 10**9)), "do not have"),
        (lying((-1, 100)), "do not have"),
        (lying((2, 8, 8)), "do not have"),
        (deflated(pictures.MOST_UNPACKED + 1), "send less"),
        (b"PK\x03\x04 nothing", "cannot read the batch"),
        (b"", "cannot read the batch"),
    ],
)
def test_a_batch_that_lies_or_carries_code_is_refused(content, reason):
    with pytest.raises(DataError, match=reason) as caught:
        read_outputs(content, BATCH)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(60))
def test_damage_never_ends_in_another_error(seed):
    rng = np.random.default_rng(seed)
    bodies = [(saved(FRAMES[0], form), f"image/{form.lower()}") for form in ("PNG", "JPEG", "WEBP")]
    for content, media in [*bodies, (as_npz(PIXELS), BATCH)]:
        broken = bytearray(content)
        for at in rng.integers(0, len(broken), 3):
            broken[at] = rng.integers(0, 256)
        cut = bytes(broken[: rng.integers(len(broken) // 2, len(broken) + 1)])
        try:
            found = read_outputs(cut, media)
        except DataError:
            continue
        assert all(one.dtype == np.uint8 and one.ndim == 3 for one in found.pictures)


def changed(body, *, flags=None, method=None):
    """The same archive, its headers saying that it is encrypted or packed in another way."""
    out = bytearray(body)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = out.index(mark) + at
        if flags is not None:
            out[start : start + 2] = struct.pack("<H", flags)
        if method is not None:
            out[start + 2 : start + 4] = struct.pack("<H", method)
    return bytes(out)


@pytest.mark.parametrize("change", [{"flags": 1}, {"method": 99}])
def test_an_encrypted_or_oddly_packed_batch_is_refused_in_one_line(change):
    with pytest.raises(DataError, match="cannot read the batch") as told:
        read_outputs(changed(npz(images=PIXELS), **change), BATCH)
    assert "\n" not in str(told.value)


def test_a_compressed_batch_that_is_damaged_is_refused():
    stream = io.BytesIO()
    np.savez_compressed(stream, images=PIXELS)
    body = bytearray(stream.getvalue())
    middle = len(body) // 2
    body[middle : middle + 64] = bytes(64)
    with pytest.raises(DataError, match="cannot read the batch"):
        read_outputs(bytes(body), BATCH)
    body = bytearray(stream.getvalue())
    start = 30 + len("images.npy")
    body[start + 20 : start + 24] = b"\xff\xff\xff\xff"
    with pytest.raises(DataError, match="cannot read the batch"):
        read_outputs(bytes(body), BATCH)
