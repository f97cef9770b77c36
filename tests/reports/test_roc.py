"""The page of ``safelight scores``: what it says, and how it looks in a real browser."""

import re
import xml.etree.ElementTree as ElementTree
from typing import NamedTuple

import numpy as np
import pytest
from playwright.sync_api import Browser
from test_browser import CRAMPED

from safelight.auditing.score_files import ScoreSet
from safelight.auditing.scores import assess
from safelight.record.membership import ScoreFile, ScoresRecord
from safelight.reports import roc
from safelight.reports.scores import CAVEATS, lead, page, text, title

OUTCOMES = ("LEAK", "NO EVIDENCE", "INCONCLUSIVE")


class Case(NamedTuple):
    sizes: tuple[int, int]
    leaking: float


CASES = {
    "LEAK": Case((1500, 1200), 0.3),
    "NO EVIDENCE": Case((1500, 1200), 0.0),
    "INCONCLUSIVE": Case((40, 40), 0.0),
}


@pytest.fixture(scope="module")
def records() -> dict[str, ScoresRecord]:
    """One record of every outcome, measured on scores that were drawn."""
    rng = np.random.default_rng(0)
    made = {}
    for outcome, case in CASES.items():
        sets = [rng.normal(size=size) for size in case.sizes]
        sets[0][: int(case.leaking * sets[0].size)] += 5
        given = [
            ScoreSet(
                side,
                (),
                ScoreFile(file=name, column="loss", count=side.size, sha256="0" * 64),
            )
            for side, name in zip(sets, ("<b>in</b>.npz", "out.npz"), strict=True)
        ]
        made[outcome] = assess(given[0], given[1], "loss", 0.01)
    return made


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_console_and_page_say_the_same(records: dict[str, ScoresRecord], outcome: str) -> None:
    record = records[outcome]
    assert record.verdict.outcome == outcome
    console, html = text(record), page(record)
    assert console.startswith(outcome)
    assert f'<span class="chip {"leak" if outcome == "LEAK" else ""}' in html
    flat = " ".join(console.split())
    for said in (title(record), lead(record), *CAVEATS):
        assert said in flat
        assert said.replace("'", "&#39;") in html
    for rate in record.rates:
        shown = f"{100 * (rate.compared.measurement.value or 0):.2f}%"
        assert shown in console
        assert shown in html
    assert not re.search(r"\bsafe\b|\bsecure\b", (console + html).lower())


def test_the_title_of_a_leak_is_its_number(records: dict[str, ScoresRecord]) -> None:
    record = records["LEAK"]
    value = record.rates[1].compared.measurement.value
    assert value is not None
    assert f"{100 * value:.2f}% of its members are caught" in title(record)
    alone = record.model_copy(
        update={
            "rates": [
                rate.model_copy(update={"compared": rate.compared.model_copy(update={"p": 0.5})})
                for rate in record.rates
            ]
        }
    )
    assert "score higher in" in title(alone)  # the AUC alone


def test_few_non_members_are_warned_of(records: dict[str, ScoresRecord]) -> None:
    assert "Fewer than 10 false alarms stand behind FPR 0.1%:" in text(records["LEAK"])
    assert "FPR 0.1%, 1%, 10%:" in " ".join(text(records["INCONCLUSIVE"]).split())


def test_the_page_holds_no_foreign_markup_and_fetches_nothing(
    records: dict[str, ScoresRecord],
) -> None:
    html = page(records["LEAK"])
    assert "<b>in</b>" not in html
    assert "&lt;b&gt;in&lt;/b&gt;.npz" in html
    assert not re.search(r"(src|href)=|url\(|@import|<script", html)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_places_on_the_axes(records: dict[str, ScoresRecord], outcome: str) -> None:
    drawing = roc.draw(records[outcome])
    steps = {round(b.x - a.x, 6) for a, b in zip(drawing.ticks, drawing.ticks[1:], strict=False)}
    assert len(steps) == 1  # a decade is as long everywhere
    assert (drawing.ticks[0].x, drawing.ticks[0].y) == (drawing.left, drawing.floor)
    assert (drawing.ticks[-1].x, drawing.ticks[-1].y) == (drawing.right, drawing.top)
    assert drawing.ticks[-1].name == "100%"
    assert drawing.ticks[0].name == ("0.1%" if outcome == "INCONCLUSIVE" else "0.01%")
    points = [tuple(map(float, one.split(","))) for one in drawing.trace.split()]
    assert points[0] == (drawing.left, drawing.floor)
    assert points[-1] == (drawing.right, drawing.top)
    assert points == sorted(points, key=lambda one: (one[0], -one[1]))
    for mark, rate in zip(drawing.marks, records[outcome].rates, strict=True):
        tick = next(one for one in drawing.ticks if one.name == f"{100 * rate.fpr:g}%")
        assert mark.x == pytest.approx(tick.x)
        assert mark.high <= mark.y <= mark.low <= drawing.floor
        assert mark.kind == ("leak" if outcome == "LEAK" else "other")
    svg = re.search(r'<svg class="roc".*?</svg>', page(records[outcome]), re.DOTALL)
    assert svg is not None
    assert ElementTree.fromstring(svg[0]).get("aria-label") == drawing.spoken  # noqa: S314 - ours


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_page_fits_and_every_name_in_the_chart_can_be_read(
    browser: Browser,
    records: dict[str, ScoresRecord],
    outcome: str,
    width: int,
) -> None:
    for scheme in ("light", "dark"):
        with browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
            offline=True,
        ) as context:
            view = context.new_page()
            complaints: list[str] = []
            view.on("console", lambda message, kept=complaints: kept.append(message.text))
            view.set_content(page(records[outcome]))
            assert complaints == []
            assert view.get_by_role("heading", level=1).is_visible()
            chart = view.locator("svg.roc")
            assert chart.evaluate(CRAMPED) == []
            letters = chart.evaluate(
                "svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width * 11"
            )
            assert letters > 9.5  # pixels: below, nobody reads it on a phone
            assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")
