import datasets
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from typer.testing import CliRunner

from safelight.cli.main import app
from safelight.data.roles import deal, open_split
from safelight.errors import DataError
from safelight.plan.plan import DataPlan, RolePlan

N = 60


def pixels(n=N, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3, n), dtype=np.uint8)


def labels(n=N):
    return (np.arange(n)[:, None] % 10 + 1).astype(np.uint8)  # 10 is the digit 0


def written(folder, split="train", x=None, y=None, **more):
    """Write one file in the published layout, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"X": pixels() if x is None else x, "y": labels() if y is None else y} | more
    scipy.io.savemat(folder / f"{split}_32x32.mat", content, do_compression=True)
    return folder


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """SAFELIGHT_DATA with the two published files, small."""
    written(tmp_path / "svhn")
    written(tmp_path / "svhn", "test", pixels(120, seed=1), labels(120))
    monkeypatch.setenv("SAFELIGHT_DATA", str(tmp_path))
    return tmp_path


def plan(source="svhn", private=20, holdout=20, public=20, **more):
    return DataPlan(
        source=str(source),
        private=RolePlan(count=private),
        holdout=RolePlan(count=holdout),
        public=RolePlan(split="test", count=public),
        **more,
    )


def test_pictures_and_digits_read_back(mirror):
    split = open_split("svhn", "train", plan())
    assert split.source == "svhn"
    assert split.classes == tuple("0123456789")
    assert split.labels.tolist() == [(one + 1) % 10 for one in range(N)]
    own = split.pictures(np.array([3, 0, 59]))
    assert own.dtype == np.float32
    assert own.shape == (3, 3, 32, 32)
    for picture, row in zip(own, (3, 0, 59), strict=True):
        assert picture == pytest.approx(pixels()[..., row].transpose(2, 0, 1) / 255)


def test_rows_are_rows_and_columns_columns(tmp_path):
    """A red line along the top stays there: MATLAB counts rows first."""
    x = np.zeros((32, 32, 3, 1), dtype=np.uint8)
    x[0, :, 0] = 255
    written(tmp_path / "lines", x=x, y=labels(1))
    (picture,) = open_split(str(tmp_path / "lines"), "train", plan()).pictures(np.array([0]))
    assert picture[0, 0].min() == 1
    assert picture.sum() == 32


def test_a_plan_deals_it(mirror):
    roles = deal(plan())
    assert [len(one) for one in (roles.private, roles.holdout, roles.public)] == [20, 20, 20]
    assert roles.private.shape == (3, 32, 32)
    assert set(roles.private.class_counts().values()) == {2}
    assert torch.equal(deal(plan()).private.images, roles.private.images)
    gray = deal(plan(size=28, channels=1))
    assert gray.private.shape == (1, 28, 28)
    assert deal(plan(classes=["0", "7"], private=4, holdout=4, public=2)).public.classes == (
        "0",
        "7",
    )


def test_splits_are_sliced_as_those_of_any_source(mirror):
    for spec, rows in (
        ("train[:10]", slice(10)),
        ("train[-5:]", slice(-5, None)),
        ("train[50%:]", slice(N // 2, None)),
        ("test[2:4]", slice(2, 4)),
    ):
        split = open_split("svhn", spec, plan())
        whole = open_split("svhn", spec.partition("[")[0], plan())
        assert split.labels.tolist() == whole.labels[rows].tolist()
        wanted = np.arange(len(whole.labels))[rows]
        assert np.array_equal(split.pictures(np.arange(len(wanted))), whole.pictures(wanted))


def test_labels_that_matlab_saved_as_doubles_read_too(tmp_path):
    folder = written(tmp_path / "own", y=labels().astype(float))
    assert open_split(str(folder), "train", plan()).labels.tolist()[8:11] == [9, 0, 1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"x": pixels(4)}, r"y is \[60, 1\] for 4 pictures"),
        ({"y": labels().T}, r"y is \[1, 60\]"),
        ({"y": labels() - 1}, "y is 0 for picture 0"),
        ({"y": labels() + 0.5}, "y is 1.5 for picture 0"),
        ({"y": labels() * np.nan}, "y is nan"),
        ({"x": pixels().astype(float)}, r"X is float64 \[32, 32, 3, 60\], not uint8"),
        ({"x": pixels().transpose(3, 0, 1, 2)}, r"X is uint8 \[60, 32, 32, 3\]"),
        ({"x": pixels()[..., 0]}, r"X is uint8 \[32, 32, 3\]"),
        ({"x": pixels(1)[..., :0], "y": labels(1)[:0]}, "for 0 pictures"),
        ({"x": {"nested": 1}}, "has no array X"),
        ({"y": "text"}, "has no array y"),
    ],
)
def test_a_file_that_holds_something_else_is_told_in_one_line(content, told, tmp_path):
    folder = written(tmp_path / "svhn", **content)
    with pytest.raises(DataError, match=told) as error:
        open_split(str(folder), "train", plan())
    assert "\n" not in str(error.value)
    assert "download it again" in str(error.value)


@pytest.mark.parametrize("keep", [0, 100, 1_000, -1_000])
def test_a_download_that_broke_off_is_told(keep, tmp_path):
    folder = written(tmp_path / "svhn")
    file = folder / "train_32x32.mat"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cut short; download it again"):
        open_split(str(folder), "train", plan())


def test_what_is_not_there_is_told_with_what_is(mirror, monkeypatch):
    with pytest.raises(DataError, match=r"no split 'extra', which would be extra_32x32\.mat; take"):
        open_split("svhn", "extra", plan())
    with pytest.raises(DataError, match=r"cannot read split 'train\[5'.*slice it as in train"):
        open_split("svhn", "train[5", plan())

    def fail(*_args, **_options):
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    (mirror / "svhn").rename(mirror / "elsewhere")
    with pytest.raises(DataError, match=r"holds svhn/ .*train_32x32\.mat and test_32x32\.mat"):
        open_split("svhn", "train", plan())


def test_the_hub_is_asked_for_the_cropped_digits(monkeypatch):
    monkeypatch.delenv("SAFELIGHT_DATA", raising=False)
    asked = []

    def answer(*names, split):
        asked.append((*names, split))
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=list("0123456789"))}
        )
        cell = Image.fromarray(pixels(1)[..., 0])
        return datasets.Dataset.from_dict({"image": [cell], "label": [7]}, features)

    monkeypatch.setattr(datasets, "load_dataset", answer)
    assert open_split("svhn", "train", plan()).labels.tolist() == [7]
    assert asked == [("ufldl-stanford/svhn", "cropped_digits", "train")]


def test_the_commands_take_it_by_its_name(mirror, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # inspect writes its page there
    told = CliRunner().invoke(app, ["inspect", "svhn", "--split", "train[:30]"])
    assert told.exit_code == 0, told.output
    assert "30" in told.output
    file = tmp_path / "plan.toml"
    file.write_text(
        'name = "numbers"\n[data]\nsource = "svhn"\nprivate = { count = 20 }\n'
        'holdout = { count = 20 }\npublic = { split = "test", count = 120 }\n'
        '[target]\nmodel = "mlp"\noptions = { image_shape = [3, 32, 32] }\n'
        '[[threats]]\nname = "released_model"\n[[attacks]]\nname = "extraction/kkt"\n'
    )
    told = CliRunner().invoke(app, ["audit", str(file), "--dry-run"])
    assert told.exit_code == 0, told.output
    assert "svhn" in told.output
