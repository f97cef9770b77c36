"""Runs with every kind of verdict, made by hand, and one browser for all pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from handmade import Maker, control, every_outcome
from playwright.sync_api import Browser, sync_playwright

from safelight.record.store import Run

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(chromium).exists():
        pytest.fail("the page is checked in a real browser: install the package chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def gray(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "gray", 1)


@pytest.fixture
def mixed(gray: Maker) -> Run:
    """A run of gray pictures with every outcome in it; its verdict is a leak."""
    return every_outcome(gray)


@pytest.fixture
def colored(tmp_path: Path) -> Run:
    """The same in color."""
    return every_outcome(Maker(tmp_path / "color", 3))


@pytest.fixture
def clean(gray: Maker) -> Run:
    """A run whose verdict is NO EVIDENCE."""
    one = gray.finding("f-clean", "fc1")
    return gray.record([(one, [gray.cell(one, 1, 0.38)])])


@pytest.fixture
def undecided(gray: Maker) -> Run:
    """A run whose verdict is INCONCLUSIVE: its attack fails on the planted leak."""
    one = gray.finding("f-blind", "fc1")
    failed = [control("planted leak", False), control("swapped claims", True)]
    return gray.record([(one, [gray.cell(one, 0, 0.38, controls=failed)])])


@pytest.fixture
def unfinished(gray: Maker) -> Run:
    """A run that was stopped before its first cell."""
    one = gray.finding("f-open", "fc1")
    return gray.record([], status="running", verdict=None, findings=[one])
