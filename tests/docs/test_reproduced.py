"""What the committed tables of He, Zhang and Lee (2019) say: checked each time they change."""

import itertools
from pathlib import Path

import pytest

from safelight.record.reproduction import Table
from safelight.reports import numbers

RESULTS = Path(__file__).parents[2] / "reproductions/split-inference/results"
NAMES = ("mnist", "cifar10")

#: Tested and told in the README of the results, with the reason.
NOT_BEATEN: set[tuple[str, str, str]] = set()


def table(name):
    return Table.model_validate_json((RESULTS / f"{name}.json").read_text())


@pytest.fixture(params=NAMES)
def measured(request):
    return table(request.param)


def test_every_published_cell_was_run_on_500_victims_beside_its_controls(measured):
    published = [row for row in measured.rows if row.published]
    assert len(published) == 9 * len({row.cut for row in measured.rows})
    for row in measured.rows:
        assert row.scores["psnr"].n >= 500
        assert row.scores["ssim"].low < row.scores["ssim"].high
        assert row.controls_passed is not None


def test_every_published_cell_is_beaten_with_an_interval_that_says_so(measured):
    lost = {(measured.name, row.cut, row.adversary) for row in measured.rows if row.beaten is False}
    assert lost == {one for one in NOT_BEATEN if one[0] == measured.name}


@pytest.mark.parametrize("score", ["psnr", "ssim"])
def test_more_knowledge_never_does_worse(measured, score):
    best = {}
    for row in measured.rows:
        value = row.scores[score].value
        best[row.cut, row.group] = max(best.get((row.cut, row.group), 0.0), value)
    for cut in {row.cut for row in measured.rows}:
        ladder = [best[cut, group] for group in ("white-box", "black-box", "query-free")]
        assert all(more >= less for more, less in itertools.pairwise(ladder)), (cut, ladder)


def test_the_page_shows_the_figures_of_the_tables():
    page = (RESULTS / "comparison.md").read_text()
    for name in NAMES:
        for row in table(name).rows:
            assert numbers.number(row.scores["psnr"].value, 1) in page
