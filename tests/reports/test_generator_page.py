"""The page of an audit of a generator: what it says, and that it holds together in a browser."""

import html
from html.parser import HTMLParser

import pytest
import torch
from playwright.sync_api import Browser

from safelight.attacks.extraction.generator_samples import GeneratorSamples
from safelight.attacks.extraction.latent_search import LatentSearch
from safelight.attacks.membership.generator_distance import GeneratorDistance
from safelight.auditing.generator import audit
from safelight.auditing.generator_setting import GeneratorSetting
from safelight.plan.plan import parse_plan
from safelight.record.generator import load_generator_record
from safelight.record.store import Run
from safelight.reports.generator import CAVEATS, WIDE, checks, page, text, title
from safelight.testing.generators import world
from safelight.threats.released_generator import ReleasedGenerator

PLAN = {
    "name": "a page",
    "data": {"source": "embedded", "public": {}, "holdout": {}},
    "target": {"model": "generator"},
    "threats": [{"name": "released_generator"}],
    "attacks": [{"name": "membership/density_ratio"}],
}
ATTACKS = (
    GeneratorDistance(samples=800),
    GeneratorSamples(samples=800, claims=80),
    LatentSearch(guide="similar", space="w+", searches=60, steps=3, samples=200),
    GeneratorDistance(calibrate="generator"),
)


def made(kind, folder):
    here, threat = world(kind), ReleasedGenerator(discriminator=True)
    given = GeneratorSetting(
        parse_plan(PLAN, "the test's plan"),
        torch.device("cpu"),
        [(threat, attack) for attack in ATTACKS],
        here.networks,
        here.twin,
        here.members,
        here.others,
        here.reference,
    )
    run = Run(folder / "run")
    audit(given, run, lambda *told: None)
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return {
        "LEAK": made("everything", tmp_path_factory.mktemp("leak")),
        "INCONCLUSIVE": made("nothing", tmp_path_factory.mktemp("open")),
    }


@pytest.mark.parametrize("outcome", ["LEAK", "INCONCLUSIVE"])
def test_the_page_says_what_the_record_holds(runs, outcome):
    record = load_generator_record(runs[outcome].folder)
    content = html.unescape(page(runs[outcome], "full"))
    assert record.verdict.outcome == outcome
    assert outcome in content
    assert title(record) in content
    for one in record.findings:
        if one.scores is not None:
            assert f"{one.scores.auc.measurement.value:.3f}" in content
        if one.found is not None:
            assert f"{round(one.found.members.value * 60)} of 60" in content
    for told in (*CAVEATS, WIDE):
        assert told in content
    for check in checks(record):
        assert check.question in content
    assert "NOT RUN" in content
    assert "needs twin" in content


def test_members_stand_beside_others_and_only_extracted_ones_are_framed(runs):
    record = load_generator_record(runs["LEAK"].folder)
    content = page(runs["LEAK"], "full")
    assert content.count("Training pictures</h3>") == content.count("it never saw</h3>") == 2
    called = sum(one > -0.5 for one in record.findings[1].shown.other_scores)
    assert content.count('<div class="had">') == 12 + called


def test_pictures_can_be_blurred_or_left_out(runs):
    full, blurred, none = (page(runs["LEAK"], one) for one in ("full", "blurred", "none"))
    assert full.count("data:image/png") == blurred.count("data:image/png") == 2 * 48 + 36
    assert full != blurred
    assert "data:image" not in none


def test_the_console_says_the_same(runs):
    for run in runs.values():
        record = load_generator_record(run.folder)
        said = " ".join(text(record).split())
        assert record.verdict.outcome in said
        assert title(record) in said
        assert WIDE in said
        assert all(len(one) <= 100 for one in text(record).splitlines())


class _Tags(HTMLParser):
    VOID = frozenset({"meta", "img", "link", "br", "input"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        assert not {"src", "href"} & names.keys() or names.get("src", "").startswith("data:")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.VOID or (tag not in self.open):
            return
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


def test_the_page_is_whole_and_loads_nothing(runs):
    reader = _Tags()
    reader.feed(page(runs["LEAK"], "full"))
    assert not reader.open


def test_the_page_fits_a_phone_and_asks_for_nothing(runs, browser: Browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page(runs["LEAK"], "full"))
    for width in (380, 1280):
        view = browser.new_page(viewport={"width": width, "height": 800})
        asked, complaints = [], []
        view.on("request", lambda one, asked=asked: asked.append(one.url))
        view.on("console", lambda one, complaints=complaints: complaints.append(one.text))
        view.goto(file.as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert [one for one in asked if not one.startswith("data:")] == [file.as_uri()]
        assert not complaints
        view.close()
