"""``safelight inspect``: what it tells, what it writes, and what it leaves alone."""

import re
import shutil
import stat
import sys
from inspect import signature

import numpy as np
import pytest
from PIL import ExifTags, Image

from safelight.cli.inspect import inspect
from safelight.data.inspection import detection, duplicates, outliers
from safelight.data.inspection.collection import decode
from safelight.data.sources.embedded import open_split


@pytest.fixture(scope="module")
def digits():
    pictures = open_split("train").pictures(np.arange(0, 5000, 50))
    return np.rint(255 * pictures[:, 0]).astype(np.uint8)


@pytest.fixture
def place(tmp_path, monkeypatch, digits):
    """A place with a folder of 60 digits, 3 copies of them, a place tag, and one stranger."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAFELIGHT_DATA", raising=False)
    for at, picture in enumerate(digits[:60]):
        folder = tmp_path / "shop" / f"class{at % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{at:02d}.png")
    shop = tmp_path / "shop"
    shutil.copy(shop / "class0/00.png", shop / "class0/00-again.png")
    Image.fromarray(np.roll(digits[4], 1, axis=1)).save(shop / "class0/04-moved.png")
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    Image.fromarray(digits[7]).save(shop / "class1/07-photo.jpg", exif=exif, quality=75)
    Image.fromarray(255 - digits[9]).save(shop / "class1/negative.png")
    return tmp_path


def contents(root):
    return {one: one.read_bytes() for one in root.rglob("*") if one.is_file()}


def test_tells_what_a_folder_holds(cli, place):
    before = contents(place / "shop")
    result = cli("inspect", "shop")
    assert result.code == 0, result
    assert "3 of 64 pictures repeat another one: 1 exactly, 2 nearly." in result.out
    assert "1 of 64 files tells where the picture was taken (GPS)." in result.out
    assert re.search(r"\d of 61 pictures lies? far from all others", result.out)
    assert "It cannot show that pictures hold no personal data." in result.out
    assert contents(place / "shop") == before
    assert stat.S_IMODE((place / "inspection.html").stat().st_mode) == 0o600
    assert sorted(one.name for one in place.iterdir()) == ["inspection.html", "shop"]


def test_an_older_page_is_replaced_and_nothing_else_is(cli, place):
    for evidence in ("none", "blurred"):
        assert cli("inspect", "shop", "--evidence", evidence).code == 0
    assert "pixelated to 4 x 4" in (place / "inspection.html").read_text()
    (place / "mine.html").write_text("mine")
    result = cli("inspect", "shop", "--out", "mine.html")
    assert result.code == 2
    assert (place / "mine.html").read_text() == "mine"


def test_writes_a_cleaned_copy(cli, place):
    before = contents(place / "shop")
    result = cli("inspect", "shop", "--write", "clean")
    assert result.code == 0, result
    assert contents(place / "shop") == before
    assert "Copy: clean (61 pictures, no duplicates, no metadata)" in result.out
    assert stat.S_IMODE((place / "clean").stat().st_mode) == 0o700
    again = cli("inspect", "clean")
    assert "No picture was found twice" in again.out
    assert "No metadata was found in the files" in again.out


def test_outliers_are_left_out_of_the_copy_if_asked(cli, place):
    assert cli("inspect", "shop", "--write", "all").code == 0
    result = cli("inspect", "shop", "--write", "ordinary", "--drop-outliers")
    assert result.code == 0, result
    out = int(re.search(r"(\d+) of 61 pictures lies? far", result.out)[1])
    assert f"({61 - out} pictures, no duplicates, no outliers, no metadata)" in result.out
    kept, every = ({one.name for one in (place / at).rglob("*.*")} for at in ("ordinary", "all"))
    assert kept < every
    assert len(kept) == 61 - out
    assert "negative.png" in every - kept


def bright(pixels):
    """Find the parts that are quite white: a detector that is easy to check."""
    level = pixels if pixels.ndim == 2 else pixels.min(-1)
    rows, columns = np.nonzero(level > 250)
    if not len(rows):
        return []
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return [tuple(int(edge) for edge in box)]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Photographs with a white part: twice the same, turned, with opacity, none, too small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detection, "face_detector", lambda: bright)
    draw = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()

    def save(name, box, size=(48, 64), **more):
        pixels = draw.integers(0, 200, (*size, 3), dtype=np.uint8)
        if box:
            pixels[box[1] : box[3], box[0] : box[2]] = 255
        picture = Image.fromarray(pixels)
        if name == "opacity.png":
            picture.putalpha(9)
        picture.save(photos / name, **more)

    save("b.png", (10, 20, 30, 40))
    shutil.copy(photos / "b.png", photos / "a.png")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    save("turned.png", (4, 6, 20, 16), exif=turned)
    save("opacity.png", (1, 2, 12, 30))
    save("nobody.png", None)
    save("small.png", (2, 2, 9, 9), (20, 20))
    return photos


@pytest.mark.parametrize("way", ["fill", "pixelate", "blur"])
def test_hides_what_is_detected_and_nothing_else(cli, photos, way):
    before = contents(photos)
    result = cli("inspect", "photos", "--faces", "--write", "clean", "--hide", way)
    assert result.code == 0, result
    done = {"fill": "filled", "pixelate": "pixelated", "blur": "blurred"}[way]
    assert f"faces {done} in 3: what was missed is still there" in result.out
    assert "1 was too small to be searched" in result.out
    assert "3 of 4 pictures show faces." in result.out
    assert contents(photos) == before
    clean = photos.parent / "clean"
    assert {one.name for one in clean.iterdir()} == {
        "a.png",
        "turned.png",
        "opacity.png",
        "nobody.png",
        "small.png",
    }
    for file in clean.iterdir():
        old, new = decode(photos / file.name), decode(file)
        changed = (old != new).any(-1)
        ((left, top, right, bottom),) = bright(old) or [(0, 0, 0, 0)]
        if file.name == "small.png":
            left = right
        assert changed[top:bottom, left:right].all() or way != "fill"
        changed[top:bottom, left:right] = False
        assert not changed.any(), file.name


def test_compares_with_a_second_folder(cli, place, digits):
    other = place / "other"
    other.mkdir()
    for at, picture in enumerate([digits[1], digits[80], np.roll(digits[3], -1, axis=0)]):
        Image.fromarray(picture).save(other / f"{at}.png")
    result = cli("inspect", "shop", "--against", "other")
    assert "2 of 64 pictures of shop are in other too: 1 exactly, 1 nearly." in result.out
    assert "No picture of" in cli("inspect", "other", "--against", "shop/class0").out


def test_inspects_a_data_set_by_name(cli, place):
    result = cli("inspect", "embedded", "--out", "digits.html")
    assert "MNIST (embedded 5,000), train: 5,000 pictures" in result.out
    assert "No picture was found twice" in result.out
    assert "Metadata of files" in (place / "digits.html").read_text()


def test_compares_the_roles_of_a_plan(cli, place):
    (place / "plan.toml").write_text(
        'name = "roles"\n[data]\nsource = "embedded"\nvictims = {count = 40}\n'
        "public = {count = 300}\nholdout = {count = 100}\n"
        '[target]\nmodel = "lenet"\nweights = "shipped"\n'
        '[[threats]]\nname = "split_inference"\ncut = "conv1"\n'
        '[[attacks]]\nname = "inversion/decoder"\n'
    )
    result = cli("inspect", "plan.toml")
    assert result.code == 0, result
    assert "roles: 440 pictures" in result.out
    assert "No picture of victims was found in public" in result.out


def test_measures_attributes(cli, place):
    rows = "".join(f"{20 + at % 3},{at % 2},{'flu' if at % 3 else 'cold'}\n" for at in range(60))
    (place / "people.csv").write_text(f"age,sex,disease\n{rows}44,1,hiv\n")
    words = ("inspect", "shop", "--attributes", "people.csv", "--sensitive", "disease")
    result = cli(*words, "--quasi", "age, sex")
    assert "1 of 61 rows can be singled out by age, sex (k = 1)" in result.out
    assert "hiv" not in result.out + (place / "inspection.html").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "unknown data source 'nowhere'"),
        (["minst"], "did you mean 'mnist'"),
        (["empty"], "give a folder that holds images"),
        (["shop", "--out", "no/page.html"], "give another --out"),
        (["shop", "--out", "shop"], "give another --out"),
        (["shop", "--write", "shop"], "exists already; give --write a folder that does not"),
        (["shop", "--write", "shop/clean"], "lies among the originals"),
        (["shop", "--write", "no/clean"], "give --write another place"),
        (["shop", "--against", "shop"], "compared with itself"),
        (["shop", "--against", "nowhere"], "unknown data source"),
        (["shop", "--quasi", "age"], "add --attributes FILE"),
        (["shop", "--hide", "fill", "--faces"], "add --write FOLDER"),
        (["shop", "--drop-outliers"], "add --write FOLDER"),
        (["shop", "--hide", "fill", "--write", "clean"], "add --faces, --plates or --text"),
        (["shop", "--attributes", "no.csv", "--quasi", "age"], "give a CSV or parquet file"),
        (["embedded", "--split", "test"], "embedded has no split 'test'"),
        (["no.toml"], "give a TOML file or a preset"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(cli, place, words, told):
    (place / "empty").mkdir()
    before = sorted(place.rglob("*"))
    result = cli("inspect", *words)
    assert result.code == 2, result
    assert told in result.err
    assert len([line for line in result.err.splitlines() if line]) == 1
    assert result.err.startswith("safelight: ")
    assert sorted(place.rglob("*")) == before


def test_thresholds_are_those_that_were_measured():
    defaults = {name: one.default for name, one in signature(inspect).parameters.items()}
    assert defaults["near"] == duplicates.THRESHOLD
    assert defaults["outlier"] == outliers.THRESHOLD


def test_says_what_it_left_aside(cli, place):
    (place / "shop" / "names.csv").write_text("Jane Doe\n")
    assert cli("inspect", "shop").code == 0
    page = (place / "inspection.html").read_text()
    assert "1 beside the pictures were not opened or copied" in page
    assert "License plates" in page


@pytest.mark.parametrize("option", ["--faces", "--plates"])
def test_a_missing_extra_is_one_line(cli, place, monkeypatch, option):
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = cli("inspect", "shop", option)
    assert result.code == 2
    assert f"{option} needs cv2" in result.err
    assert "pip install 'safelight[faces]'" in result.err
