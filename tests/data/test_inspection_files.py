"""Files as they lie there: what is read, what metadata tells, what a cleaned copy keeps."""

import hashlib
import importlib.util
import stat
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from safelight.data.inspection.cleaned import write_cleaned
from safelight.data.inspection.collection import decode, open_collection
from safelight.data.inspection.detection import face_detector, plate_detector, text_detector
from safelight.data.inspection.metadata import KINDS, read_metadata
from safelight.data.inspection.survey import survey
from safelight.errors import DataError, PlanError


def scene(seed=0, size=(48, 40), color=False):
    """A smooth picture, so that JPEG keeps it nearly as it is."""
    rng = np.random.default_rng(seed)
    shape = (6, 5, 3) if color else (6, 5)
    small = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    return small.resize((size[1], size[0]), Image.Resampling.BICUBIC)


def telling():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    exif[ExifTags.Base.Artist] = "Jane Doe"
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef] = "N"
    place[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 12.0)
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "2020:01:02 03:04:05"
    details[ExifTags.Base.BodySerialNumber] = "123456"
    return exif


@pytest.fixture
def folder(tmp_path):
    """A folder with every way in which a file tells more than its pixels."""
    root = tmp_path / "shop"
    (root / "a").mkdir(parents=True)
    scene(0, color=True).save(root / "a" / "told.jpg", exif=telling(), comment=b"from Jane")
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "Jane Doe")
    scene(1).save(root / "a" / "words.png", pnginfo=text)
    scene(2, color=True).save(root / "a" / "web.webp", exif=telling(), lossless=True)
    scene(3).save(root / "a" / "scan.tif", exif=telling())
    scene(4).save(root / "plain.png")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    scene(5).save(root / "turned.jpg", exif=turned)
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xffno")
    (root / "notes.txt").write_text("not a picture")
    (root / ".hidden.png").write_bytes(b"")
    return root


def contents(root):
    files = sorted(one for one in root.rglob("*") if one.is_file())
    return {one.relative_to(root).as_posix(): one.read_bytes() for one in files}


def test_a_folder_is_read_in_order_with_its_classes(folder):
    found = open_collection(str(folder), "train")
    assert found.names == (
        "a/scan.tif",
        "a/told.jpg",
        "a/web.webp",
        "a/words.png",
        "broken.jpg",
        "plain.png",
        "turned.jpg",
    )
    assert found.classes == ("a",) * 4 + ("",) * 3
    assert found.ignored == 1
    seen = survey([found])
    assert len(seen) == 6
    assert [name for name, _ in seen.unreadable] == ["broken.jpg"]
    assert str(folder) not in seen.unreadable[0][1]


def test_pictures_are_read_as_they_are_displayed(folder):
    assert decode(folder / "turned.jpg").shape == (40, 48)
    assert decode(folder / "plain.png").shape == (48, 40)
    assert decode(folder / "a" / "told.jpg").shape == (48, 40, 3)


def test_deep_pictures_become_bytes(tmp_path):
    deep = np.array([[0, 257, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert decode(tmp_path / "deep.png").tolist() == [[0, 1, 255]]


@pytest.mark.parametrize("made", ["empty", "text"])
def test_a_folder_without_pictures_is_one_line(tmp_path, made):
    if made == "text":
        (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="give a folder that holds images"):
        open_collection(str(tmp_path), "train")


def test_a_folder_of_broken_pictures_is_one_line(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"no picture of .* can be read") as told:
        survey([open_collection(str(tmp_path), "train")])
    assert "\n" not in str(told.value)


def test_metadata_is_told_by_kind(folder):
    files = open_collection(str(folder), "train").files
    found = dict(zip([file.name for file in files], read_metadata(files).kinds, strict=True))
    assert found["plain.png"] == found["turned.jpg"] == found["broken.jpg"] == ()
    assert found["words.png"] == ("words",)
    assert found["scan.tif"] == ("person", "camera")  # PIL writes no GPS into TIFF
    for name in ("told.jpg", "web.webp"):
        assert {"place", "person", "serial number", "time", "camera"} <= set(found[name]), name
    assert "words" in found["told.jpg"]
    assert {kind for kinds in found.values() for kind in kinds} <= set(KINDS)


def test_the_most_telling_file_comes_first(folder):
    files = [folder / "a" / "words.png", folder / "plain.png", folder / "a" / "told.jpg"]
    assert read_metadata(files).telling() == [2, 0]


def test_a_cleaned_copy_has_the_pixels_and_nothing_else(folder, tmp_path):
    before = contents(folder)
    found = open_collection(str(folder), "train")
    rows = [row for row, name in enumerate(found.names) if name != "broken.jpg"]
    assert write_cleaned(tmp_path / "clean", found, rows) == 6
    assert contents(folder) == before
    after = tmp_path / "clean"
    assert set(contents(after)) == {found.names[row] for row in rows}
    cleaned = open_collection(str(after), "train")
    assert not any(read_metadata(cleaned.files).kinds)
    for file in cleaned.files:
        with Image.open(file) as opened:
            opened.load()
            assert opened.format == "TIFF" or not set(opened.getexif())
            assert not {"exif", "xmp", "comment", "icc_profile"} & set(opened.info)
        assert b"Jane" not in file.read_bytes()
        apart = np.abs(decode(file).astype(int) - decode(folder / file.relative_to(after)))
        assert apart.max() <= (10 if file.suffix == ".jpg" else 0), file


def test_a_cleaned_copy_is_private(folder, tmp_path):
    found = open_collection(str(folder), "train")
    write_cleaned(tmp_path / "clean", found, [0, 5])
    for one in (tmp_path / "clean", *(tmp_path / "clean").rglob("*")):
        assert stat.S_IMODE(one.stat().st_mode) == (0o700 if one.is_dir() else 0o600)


@pytest.mark.parametrize("mode", ["P", "LA", "RGBA", "CMYK", "1", "I;16", "F"])
def test_every_kind_of_pixels_survives(tmp_path, mode):
    (tmp_path / "in").mkdir()
    picture = scene(color=True)
    deep = mode in ("I;16", "F")
    made = Image.fromarray(np.asarray(scene(), np.uint16) * 257) if deep else picture.convert(mode)
    made = made.convert("F") if mode == "F" else made
    made.save(tmp_path / "in" / "a.tif")
    write_cleaned(tmp_path / "out", open_collection(str(tmp_path / "in"), "train"), [0])
    expected, found = (decode(tmp_path / place / "a.tif") for place in ("in", "out"))
    assert np.array_equal(expected, found)


def test_names_that_become_one_stay_apart(tmp_path):
    (tmp_path / "in").mkdir()
    for at, name in enumerate(["a.gif", "a.png"]):
        scene(at).save(tmp_path / "in" / name)
    write_cleaned(tmp_path / "out", open_collection(str(tmp_path / "in"), "train"), [0, 1])
    assert set(contents(tmp_path / "out")) == {"a.png", "a-again.png"}


def test_nothing_is_overwritten_or_written_among_the_originals(folder, tmp_path):
    found = open_collection(str(folder), "train")
    before = hashlib.sha256(repr(contents(tmp_path)).encode()).hexdigest()
    for place in (folder, folder / "plain.png", folder / "clean", folder / "a" / "clean"):
        with pytest.raises(DataError, match=r"exists already|lies among the originals"):
            write_cleaned(place, found, [0])
    with pytest.raises(DataError, match="is not a folder"):
        write_cleaned(tmp_path / "no" / "clean", found, [0])
    assert hashlib.sha256(repr(contents(tmp_path)).encode()).hexdigest() == before


def test_a_copy_that_fails_leaves_nothing(folder, tmp_path):
    found = open_collection(str(folder), "train")
    with pytest.raises(DataError, match="cannot write"):
        write_cleaned(tmp_path / "clean", found, range(len(found)))  # one of them is broken
    assert {one.name for one in tmp_path.iterdir()} == {"shop"}


def test_a_data_set_is_written_as_files(tmp_path):
    found = open_collection("embedded", "train")
    write_cleaned(tmp_path / "clean", found, [0, 4999])
    assert set(contents(tmp_path / "clean")) == {"0/000000.png", "9/004999.png"}
    assert np.array_equal(decode(tmp_path / "clean/9/004999.png"), found.read([4999])[0])


@pytest.mark.parametrize("files", [True, False])
def test_pictures_are_changed_on_their_way_into_the_copy(folder, tmp_path, files):
    found = open_collection(str(folder) if files else "embedded", "train")
    rows = [5, 1] if files else [2, 0]
    write_cleaned(tmp_path / "clean", found, rows, lambda row, pixels: pixels // 2 + row)
    copy = open_collection(str(tmp_path / "clean"), "train")
    for name, pixels in zip(copy.names, copy.read(range(2)), strict=True):
        row = found.names.index(name)
        apart = pixels.astype(int) - (found.read([row])[0] // 2 + row)
        assert np.abs(apart).mean() <= (3 if name.endswith(".jpg") else 0)


@pytest.mark.parametrize(
    ("detector", "package", "extra"),
    [
        (face_detector, "cv2", "faces"),
        (plate_detector, "cv2", "faces"),
        (text_detector, "onnxruntime", "text"),
    ],
)
def test_a_missing_extra_is_one_line(monkeypatch, detector, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PlanError, match=rf"pip install 'safelight\[{extra}\]'") as told:
        detector()
    assert "\n" not in str(told.value)


if importlib.util.find_spec("cv2"):  # the extra [faces]

    def test_a_face_is_found_where_there_is_one():
        from skimage import data

        detect = face_detector()
        assert detect(data.astronaut())
        assert not detect(data.coffee())


if importlib.util.find_spec("rapidocr") and importlib.util.find_spec("onnxruntime"):  # [text]

    def test_text_is_found_where_there_is_some():
        from skimage import data

        detect = text_detector()
        assert detect(data.page())
        assert not detect(data.coffee())
        assert not detect(np.zeros((100, 100, 3), np.uint8))
