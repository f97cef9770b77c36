import html
from pathlib import Path

import pytest
from handmade import HOSTILE, Maker
from playwright.sync_api import Browser

from safelight.errors import RecordError
from safelight.record.record import Measurement
from safelight.record.scorecard import Row, ScorecardRecord, on_front, recommend
from safelight.record.store import Run
from safelight.reports.scorecard import CAVEATS, lead, lines, page, text, title

from test_privacy_page import CRAMPED  # isort: skip


def measured(value: float, spread: float = 0.01) -> Measurement:
    return Measurement(
        value=value,
        low=value - spread,
        high=value + spread,
        level=0.99,
        n=40,
        seeds=1,
        chance=0.1,
        worse="higher",
        unit="share",
    )


#: Defense, gain, accuracy, share removed.
LEGS = [
    ("", 0.45, 0.98, None),
    ("dropout (rate 0.6)", 0.40, 0.96, 0.11),
    (f"gaussian noise ({HOSTILE})", 0.10, 0.975, 0.78),
    ("gaussian noise (deviation 4)", -0.12, 0.61, 1.2),
]


@pytest.fixture
def card(tmp_path: Path) -> tuple[Run, ScorecardRecord]:
    """A scorecard with a good defense among bad ones, and its audits."""
    rows = []
    for number, (defense, gain, right, removed) in enumerate(LEGS):
        maker = Maker(tmp_path / "card" / f"run-{number}", 1)
        one = maker.finding("f", "conv1", defense=defense)
        maker.record([(one, [maker.cell(one, 30 if gain > 0.2 else 0, 0.4 + gain)])])
        rows.append(
            Row(
                defense=defense,
                where="conv1",
                run=f"run-{number}",
                finding="f",
                attack="inversion/decoder",
                outcome="LEAK" if gain > 0.02 else "NO EVIDENCE",
                reason="because",
                gain=measured(gain),
                named=measured(0.5),
                unaware=measured(gain - 0.1) if number else None,
                removed=None if removed is None else measured(removed),
                accuracy=measured(right),
                loss=measured(0.98 - right, 0.004),
                sent_bytes=300.0 * number + 900,
                raw_bytes=4608,
                milliseconds=0.4,
                bound="at least 0.01" if number == 3 else "",
            )
        )
    rows = [
        one.model_copy(update={"front": front})
        for one, front in zip(rows, on_front(rows), strict=True)
    ]
    record = ScorecardRecord(
        name="digits",
        advice=recommend(rows),
        rows=rows,
        victims=40,
        others=1000,
        seeds=1,
        model="lenet",
        plan={},
        safelight="0",
        machine="here",
        started="2026-01-01T00:00:00+00:00",
    )
    return Run(tmp_path / "card"), record


def test_the_page_and_the_text_say_what_to_take_and_why(card: tuple[Run, ScorecardRecord]) -> None:
    run, record = card
    content, told = (
        " ".join(said.split()) for said in (html.unescape(page(run, record, "full")), text(record))
    )
    assert record.advice.row == 2
    for said in (content, told):
        assert " ".join(title(record).split()) in said
        assert " ".join(lead(record).split()) in said
        for caveat in CAVEATS:
            assert caveat in said
    for one in lines(record):
        assert " ".join(one.name.split()) in content
        for value, more in one.cells:
            assert value in content
            assert more in content
    assert content.count(" (recommended)") == 1
    assert "<script>alert" not in page(run, record, "full")


def test_every_defense_is_drawn_and_the_front_is_joined(
    card: tuple[Run, ScorecardRecord],
) -> None:
    drawn = page(*card, "full").split('class="tradeoff"')[1].split("</svg>")[0]
    assert drawn.count('class="mark') == len(LEGS)
    assert drawn.count('class="chosen"') == 1
    front = sum(one.front for one in card[1].rows)
    assert front == 3  # dropout is beaten
    assert drawn.count('class="front"') == 2 * (front - 1)


def test_the_same_victims_are_shown_behind_every_defense(
    card: tuple[Run, ScorecardRecord],
) -> None:
    content = page(*card, "full")
    assert content.count("<img ") == 10 * (2 + len(LEGS))
    assert page(*card, "none").count("<img ") == 0
    assert page(*card, "blurred") != content
    (card[0].folder / "run-1" / "record.json").unlink()
    with pytest.raises(RecordError, match="no record at"):
        page(*card, "full")


@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_fits_a_window(
    browser: Browser, card: tuple[Run, ScorecardRecord], width: int
) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.set_content(page(*card, "full"))
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.eval_on_selector(".tradeoff", CRAMPED) == []
    opened.close()


def test_what_is_no_classifier_has_a_scorecard_without_accuracy(
    card: tuple[Run, ScorecardRecord],
) -> None:
    run, record = card
    bare = [one.model_copy(update={"accuracy": None, "loss": None}) for one in record.rows]
    without = record.model_copy(update={"rows": bare, "advice": recommend(bare)})
    assert without.advice.helps == "no"
    assert "tradeoff" in page(run, without, "full")
