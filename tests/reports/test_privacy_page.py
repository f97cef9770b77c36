"""The page of a sweep of privacy: what it says, and that it is seen whole in a browser."""

import html
from html.parser import HTMLParser

import pytest
from playwright.sync_api import Browser

from safelight.record.privacy_sweep import (
    Leakage,
    Point,
    Promise,
    SweepRecord,
    recommend,
)
from safelight.record.record import Measurement, Verdict
from safelight.reports.privacy_sweep import CAVEATS, lead, page, text, title


def share(value, low, high, chance):
    return Measurement(
        value=value,
        low=low,
        high=high,
        level=0.95,
        n=2000,
        seeds=1,
        chance=chance,
        worse="higher",
        unit="share",
    )


def point(epsilon, right, caught, auc, outcome):
    promise = None
    if epsilon is not None:
        promise = Promise(
            epsilon=epsilon - 0.01,
            delta=1e-5,
            noise=2.0,
            steps=94,
            sampling="Poisson, rate 0.128",
            accountant="PRV",
            epsilon_tpr=0.2,
            epsilon_auc=0.97,
            tpr=min(0.02 * epsilon + 0.01, 1.0),
            auc=0.55 + 0.03 * epsilon,
        )
    leak = outcome == "LEAK"
    verdict = Verdict(outcome=outcome, severity="none", confidence="high", reason="it is so")
    found = share(caught, max(caught - 0.005, 0), caught + 0.006, 0.01)
    area = share(auc, auc - 0.02, auc + 0.02, 0.5)
    return Point(
        epsilon=epsilon,
        run="none" if epsilon is None else f"epsilon-{epsilon:g}",
        verdict=verdict,
        utility=share(right, right - 0.02, right + 0.02, 0.1),
        train_accuracy=share(right, right - 0.02, right + 0.02, 0.1),
        tpr=Leakage(attack="membership/lira", measurement=found, leak=leak),
        auc=Leakage(attack="membership/rmia", measurement=area, leak=leak),
        attacks=3,
        promise=promise,
    )


#: Accuracies and leaks that lie on each other, as private ones do; none is caught at 0.5.
POINTS = {
    "yes": [
        point(0.5, 0.30, 0.0, 0.501, "NO EVIDENCE"),
        point(1.0, 0.44, 0.011, 0.499, "NO EVIDENCE"),
        point(3.0, 0.45, 0.012, 0.505, "NO EVIDENCE"),
        point(8.0, 0.46, 0.011, 0.520, "INCONCLUSIVE"),
        point(None, 0.85, 0.31, 0.850, "LEAK"),
    ],
    "no": [point(8.0, 0.4, 0.05, 0.6, "LEAK"), point(None, 0.85, 0.31, 0.85, "LEAK")],
    "unneeded": [point(8.0, 0.4, 0.01, 0.5, "LEAK"), point(None, 0.4, 0.01, 0.5, "NO EVIDENCE")],
    "unknown": [point(8.0, 0.4, 0.01, 0.5, "INCONCLUSIVE")],
}


def sweep(helps):
    return SweepRecord(
        name="<clothes>",
        advice=recommend(POINTS[helps]),
        points=POINTS[helps],
        members=2000,
        others=2000,
        model="plain_cnn",
        settings=["target.fit.learning_rate=0.5"],
        plan={},
        safelight="0.1",
        machine="a machine",
        started="2026-01-01T00:00:00+00:00",
    )


@pytest.mark.parametrize("helps", POINTS)
def test_the_page_and_the_console_say_what_the_record_holds(helps):
    record = sweep(helps)
    assert record.advice.helps == helps
    content, told = html.unescape(page(record)), " ".join(text(record).split())
    for said in (content, told):
        assert title(record) in said
        assert lead(record) in said
        for caveat in CAVEATS:
            assert caveat in said
        for one in record.points:
            assert f"{one.auc.measurement.value:.3f}" in said
    assert content.count(" (recommended)") == (helps == "yes")
    assert max(len(line) for line in text(record).splitlines()) <= 100


def test_each_training_is_drawn_with_its_limits_and_what_it_promises():
    drawn = page(sweep("yes")).split('class="tradeoff"')[1].split("</svg>")[0]
    assert drawn.count('class="mark') == 5
    assert drawn.count('class="ci') == 10
    assert drawn.count('class="wall"') == 4
    assert drawn.count('class="mark leak"') == drawn.count('class="chosen"') == 1
    for name in ("ε = 0.5", "ε = 8", "no privacy"):
        assert f">{name}</text>" in drawn


def test_nothing_is_loaded_and_a_name_is_text():
    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            for name, value in attrs:
                assert name not in ("src", "href") or value.startswith("data:"), (tag, value)

    content = page(sweep("yes"))
    Links().feed(content)
    assert "<clothes>" not in content


#: Texts of the drawing that lie outside of it or on another one.
CRAMPED = """svg => {
  const box = one => one.getBoundingClientRect(), frame = box(svg);
  const texts = [...svg.querySelectorAll('text')];
  const out = texts.filter(one => box(one).left < frame.left - 1 || box(one).right > frame.right + 1
    || box(one).bottom > frame.bottom + 1 || box(one).top < frame.top - 1);
  const on = texts.filter((one, i) => texts.slice(i + 1).some(other =>
    box(one).left < box(other).right && box(other).left < box(one).right
    && box(one).top + 3 < box(other).bottom && box(other).top + 3 < box(one).bottom));
  return [...out, ...on].map(one => one.textContent);
}"""


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("helps", POINTS)
def test_the_page_fits_a_window_and_no_name_covers_another(browser: Browser, helps, width):
    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.set_content(page(sweep(helps)))
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.eval_on_selector(".tradeoff", CRAMPED) == []
    small = "svg => svg.getBoundingClientRect().width"
    assert opened.eval_on_selector(".tradeoff", small) >= 340
    opened.close()
