"""The page of an audit of membership: what it says, and that it holds together in a browser."""

import dataclasses
import html
from html.parser import HTMLParser

import pytest
import torch
from playwright.sync_api import Browser

from safelight.attacks.membership.label_only import LabelOnly
from safelight.attacks.membership.lira import Lira
from safelight.attacks.membership.threshold import Threshold
from safelight.auditing.membership import MembershipSetting, audit
from safelight.auditing.setting import Setting
from safelight.cache import Cache
from safelight.plan.plan import parse_plan
from safelight.record.membership_audit import load_membership_record
from safelight.record.store import Run
from safelight.reports.membership import CAVEATS, checks, page, text, title
from safelight.targets.fit import fit
from safelight.testing.membership import RECIPE, arbitrary, target
from safelight.threats.membership_game import MembershipGame

PLAN = {
    "name": "a page",
    "data": {"source": "embedded", "public": {}, "victims": {}, "holdout": {}},
    "target": {"model": "lenet", "fit": RECIPE.model_dump()},
    "threats": [{"name": "membership_game"}],
    "attacks": [{"name": "membership/lira"}],
}


def made(kind, folder, facts=None):
    cache, roles = Cache(folder / "cache"), arbitrary()
    plan = parse_plan(PLAN, "the test's plan")
    one = dataclasses.replace(target(kind), facts=facts or {})
    base = Setting(plan, torch.device("cpu"), [], [], [], roles, one, torch.empty(0), cache)
    game = MembershipGame()
    attacks = [Lira(shadows=8), Threshold(), LabelOnly(views=1)]
    given = MembershipSetting(base, roles.private, [(game, one) for one in attacks], fit)
    run = Run(folder / "run")
    audit(given, run, lambda *told: None)
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A leak, and a promise that it breaks; and a target that knows nothing."""
    facts = {
        "privacy": {
            "epsilon": 1.0,
            "delta": 1e-5,
            "sampling": "Poisson",
            "sampling rate": 0.2,
            "accountant": "PRV",
            "neighbors": "one picture added or removed",
        }
    }
    return {
        "LEAK": made("everything", tmp_path_factory.mktemp("leak"), facts),
        "INCONCLUSIVE": made("nothing", tmp_path_factory.mktemp("open")),
    }


@pytest.mark.parametrize("outcome", ["LEAK", "INCONCLUSIVE"])
def test_the_page_says_what_the_record_holds(runs, outcome):
    record = load_membership_record(runs[outcome].folder)
    content = page(runs[outcome], "full")
    assert record.verdict.outcome == outcome
    assert outcome in content
    content = html.unescape(content)
    assert title(record) in content
    for one in record.findings:
        value = one.scores.auc.measurement.value
        assert f"{value:.3f}" in content
    for caveat in CAVEATS:
        assert caveat in content
    for check in checks(record):
        assert check.question in content


def test_the_promise_is_drawn_where_there_is_one(runs):
    assert 'class="region"' in page(runs["LEAK"], "full")
    assert "ε = 1" in page(runs["LEAK"], "full")
    assert 'class="region"' not in page(runs["INCONCLUSIVE"], "full")
    assert "Nothing is promised" in page(runs["INCONCLUSIVE"], "full")


def test_pictures_are_shown_blurred_or_left_out(runs):
    full, blurred, none = (page(runs["LEAK"], how) for how in ("full", "blurred", "none"))
    assert full.count("data:image/png") == blurred.count("data:image/png") == 10
    assert "data:image" not in none
    assert len(blurred) < len(full)


def test_the_page_loads_nothing_and_every_tag_is_closed(runs):
    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            for name, value in attrs:
                if name in ("src", "href"):
                    assert value.startswith("data:"), (tag, value)

    Links().feed(page(runs["LEAK"], "full"))


def test_the_console_tells_the_same(runs):
    told = text(load_membership_record(runs["LEAK"].folder))
    assert told.startswith("LEAK")
    assert "lira" in told
    assert max(len(line) for line in told.splitlines()) <= 100


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("outcome", ["LEAK", "INCONCLUSIVE"])
def test_the_page_fits_a_window(browser: Browser, runs, width, outcome):
    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.set_content(page(runs[outcome], "full"))
    wide = opened.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    opened.close()
