"""``safelight filter`` as typed."""

import shutil
import stat

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from safelight.cli.filter import filter_app
from safelight.data.sources import embedded


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of real digits: protected, other, spare ones."""
    root = tmp_path_factory.mktemp("digits")
    split = embedded.open_split("train")
    order = np.random.default_rng(1).permutation(5000)
    for name, rows in {
        "protected": order[:60],
        "other": order[60:660],
        "spare": order[660:690],
        "few": order[660:690],
    }.items():
        (root / name).mkdir()
        for row, picture in zip(rows, split.pictures(rows), strict=True):
            pixels = (picture[0] * 255).round().astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{row:05d}.png")
    return root


@pytest.fixture
def here(places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


RATES = ("--rate", "0.05", "--block-rate", "0.02")


@pytest.fixture(scope="module")
def first(places):
    """A filter made once, and what was said of it."""
    out = places / "made"
    words = ["calibrate", places / "protected", places / "other", *RATES, "--out", out]
    found = CliRunner().invoke(filter_app, [str(one) for one in words])
    assert found.exit_code == 0, found
    return out, found.stdout


@pytest.fixture
def made(first, here):
    """A copy of it to work on."""
    shutil.copytree(first[0], here / "filter")
    (here / "filter").chmod(0o700)


def test_calibrate_tells_thresholds_rates_and_what_they_catch(first):
    folder, told = first
    assert "60 protected pictures (protected), thresholds on 600 others (other)" in told
    assert "promised at most 5.00%" in told
    assert "Copies held, the same: 100.0%" in told
    assert "keep it private" in told
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [one for one in folder.iterdir() if one.is_file()]
    assert len(files) == 3
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}


def test_check_decides_by_its_exit_code(cli, made, places):
    copy = sorted((places / "protected").iterdir())[0]
    found = cli("filter", "check", "filter", copy)
    assert found.code == 1
    assert found.out.startswith("block ")
    fine = [
        one
        for one in sorted((places / "spare").iterdir())[:5]
        if cli("filter", "check", "filter", one).code == 0
    ]
    assert len(fine) >= 3
    assert cli("filter", "check", "filter", fine[0], copy).code == 1


def test_tokens_are_shown_once_listed_and_revoked(cli, made, here, monkeypatch):
    token = cli("filter", "token", "filter", "generator").out.strip()
    assert len(token) >= 40
    kept = (here / "filter/tokens.json").read_text()
    assert token not in kept
    assert stat.S_IMODE((here / "filter/tokens.json").stat().st_mode) == 0o600
    (here / "mine").write_text("a" * 40 + "\n")
    given = cli("filter", "token", "filter", "ann", "--reviewer", "--file", "mine")
    assert given.code == 0
    assert "aaaa" not in given.out
    monkeypatch.setenv("SAFELIGHT_FILTER_TOKEN", "b" * 10)
    short = cli("filter", "token", "filter", "bob")
    assert short.code == 2
    assert "32 printable" in short.err
    names = cli("filter", "token", "filter").out.splitlines()
    assert [line.split("  ")[:2] for line in names] == [
        ["ann", "reviewer"],
        ["generator", "client"],
    ]
    assert cli("filter", "token", "filter", "ann", "--revoke").code == 0
    assert "ann" not in cli("filter", "token", "filter").out


def test_status_of_a_filter_that_nobody_asked(cli, made):
    found = cli("filter", "status", "filter")
    assert found.code == 0
    assert "No output was ever submitted" in found.out


def test_oracle_measures_what_the_answers_betray(cli, places, here, monkeypatch):
    # What is shown instead is picked by the filter's secret: with one that is drawn anew, silence
    # would fail its test of chance as often as its level says.
    monkeypatch.setattr("safelight.filtering.folder.secrets.token_bytes", bytes)
    options = ("--out", "silent", "--reserve", places / "spare", *RATES)
    assert cli("filter", "calibrate", places / "protected", places / "other", *options).code == 0
    found = cli("filter", "oracle", "silent", places / "other", "--pictures", "40")
    assert found.code == 0, found
    lines = {line.split("  ")[0]: line for line in found.out.splitlines()}
    assert "LEAK" in lines["editor, told"]
    assert "LEAK" in lines["prompter, told"]
    assert "LEAK" not in lines["prompter, silent, by repeats"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("calibrate", "{p}/protected", "{p}/few"), "give 7,491 different reference pictures"),
        (("calibrate", "{p}/protected", "{p}/protected"), "remove them"),
        (("calibrate", "{p}/protected", "{p}/other", "--rate", "2"), "make no filter"),
        (("calibrate", "{p}/nothing", "{p}/other"), "nothing"),
        (("calibrate", "{p}/protected", "{p}/other", "--out", "{p}"), "give another --out"),
        (("check", "nowhere", "x.png"), "safelight filter calibrate"),
        (("serve", "nowhere"), "safelight filter calibrate"),
        (("serve", "nowhere", "--host", "192.0.2.1"), "unencrypted"),
        (("status", "nowhere"), "safelight filter calibrate"),
        (("token", "nowhere", "ann"), "safelight filter calibrate"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_its_remedy(cli, places, here, words, reason):
    found = cli("filter", *(one.format(p=places) for one in words))
    assert found.code == 2
    assert reason in found.err
    assert found.err.startswith("safelight: ")
    assert found.err.count("\n") == 1
    assert torch.get_num_threads() == 1  # what serves sets its threads; what is refused sets none
    assert not (here / "filter/policy.json").exists()


def test_a_filter_is_not_replaced_unless_asked_and_keeps_its_tokens(cli, made, places, here):
    again = ("filter", "calibrate", places / "protected", places / "other", *RATES)
    found = cli(*again)
    assert found.code == 2
    assert "--replace" in found.err
    cli("filter", "token", "filter", "generator")
    assert cli(*again, "--replace").code == 0
    assert "generator" in cli("filter", "token", "filter").out


def test_a_classifier_is_one_more_distance(cli, places, here):
    options = ("--classifier", "lenet", "--weights", "shipped", "--classes", "3,7", *RATES)
    found = cli("filter", "calibrate", places / "protected", places / "other", *options)
    assert found.code == 0, found
    assert "classifier " in found.out
    wrong = cli(
        "filter", "calibrate", places / "protected", places / "other", "--out", "x",
        "--classifier", "lenet", "--classes", "11", *RATES,
    )  # fmt: skip
    assert wrong.code == 2
    assert "no classes 11" in wrong.err
    one = sorted((places / "protected").iterdir())[0]
    assert "classifier " in cli("filter", "check", "filter", one).out
