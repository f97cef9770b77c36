"""What the committed tables of He, Zhang and Lee (2019) say: checked each time they change."""

import itertools
from pathlib import Path

import pytest

from safelight.record.reproduction import Table
from safelight.reports import numbers

RESULTS = Path(__file__).parents[2] / "reproductions/split-inference/results"
NAMES = ("mnist", "cifar10")
OVERHEARD = "cifar10-overheard"


def table(name):
    return Table.model_validate_json((RESULTS / f"{name}.json").read_text())


def ran(measured):
    return [row for row in measured.rows if row.scores]


@pytest.fixture(params=NAMES)
def measured(request):
    return table(request.param)


def test_every_published_cell_was_run_on_500_victims_beside_its_controls(measured):
    published = [row for row in measured.rows if row.published]
    assert len(published) == 9 * len({row.cut for row in measured.rows})
    assert all(row.scores for row in published)
    for row in ran(measured):
        assert row.scores["psnr"].n >= 500
        assert row.scores["ssim"].low <= row.scores["ssim"].value <= row.scores["ssim"].high
        assert row.controls_passed is not None


def test_every_published_cell_is_beaten_with_an_interval_that_says_so(measured):
    lost = [(row.cut, row.adversary) for row in measured.rows if row.beaten is False]
    assert not lost


@pytest.mark.parametrize("score", ["psnr", "ssim"])
def test_more_knowledge_never_does_worse(measured, score):
    best = {}
    for row in ran(measured):
        value = row.scores[score].value
        best[row.cut, row.group] = max(best.get((row.cut, row.group), 0.0), value)
    for cut in {row.cut for row in measured.rows}:
        ladder = [best[cut, group] for group in ("white-box", "black-box", "query-free")]
        assert all(more >= less for more, less in itertools.pairwise(ladder)), (cut, ladder)


def test_every_seed_is_in_the_mean_and_beats_what_the_row_is_said_to_beat(measured):
    for row in ran(measured):
        assert row.seeds == [0, 1, 2]
        for score, means in row.by_seed.items():
            assert sum(means) / len(row.seeds) == pytest.approx(row.scores[score].value, abs=2e-4)
            if row.beaten:
                assert min(means) > getattr(row.published, score)


def test_who_overhears_more_messages_rebuilds_better_and_passes_the_control():
    few = {(row.cut, row.adversary): row for row in table("cifar10").rows}
    rows = table(OVERHEARD).rows
    assert {row.cut for row in rows} == {"relu22", "relu32"}
    for row in rows:
        assert row.scores["psnr"].n == 8000
        assert row.controls_passed
        assert row.beaten
        if row.cut == "relu22":
            assert row.scores["ssim"].low > few[row.cut, row.adversary].scores["ssim"].high


def test_the_page_shows_the_figures_of_the_tables():
    page = (RESULTS / "comparison.md").read_text()
    for name in (*NAMES, OVERHEARD):
        for row in ran(table(name)):
            assert numbers.number(row.scores["psnr"].value, 1) in page
