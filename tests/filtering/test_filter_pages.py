"""The review page in a real browser: log in, look, decide by keys, and nothing from elsewhere."""

import json
import re
import sqlite3
from collections.abc import Iterator

import pytest
import torch
from chromium import opened_browser
from playwright.sync_api import Browser, BrowserContext, Page
from serving import Served, near, packed

from safelight.filtering.folder import DECISIONS
from safelight.filtering.tokens import Tokens


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture
def busy(serve, digits) -> Served:
    """A service with some outputs that wait for review."""
    served: Served = serve()
    served.submit(packed(torch.cat([digits.fresh[:120], near(digits.protected[:40], 0.17)])))
    return served


def log_in(context: BrowserContext, served: Served) -> tuple[Page, list[str]]:
    """Open the queue as ann; the list gathers complaints and foreign addresses."""
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on(
        "request",
        lambda one: None if one.url.startswith((served.address, "data:")) else told.append(one.url),
    )
    page.goto(served.address)
    page.get_by_label("Token").fill(served.reviewer)
    page.keyboard.press("Enter")
    page.wait_for_url("**/review")
    return page, told


def verdicts(served: Served) -> list[tuple[str, str]]:
    base = sqlite3.connect(served.folder.file(DECISIONS))
    try:
        return base.execute("SELECT verdict, who FROM verdicts ORDER BY at").fetchall()
    finally:
        base.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_pages_are_seen_whole(busy, browser, width, scheme):
    with browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme
    ) as context:
        page, told = log_in(context, busy)
        for name in ("review", "decided", "monitor"):
            page.goto(f"{busy.address}/{name}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            assert page.get_by_role("heading", level=1).is_visible()
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            shade = [int(one) for one in re.findall(r"\d+", paper)]
            assert min(shade) > 200 if scheme == "light" else max(shade) < 60
        page.goto(f"{busy.address}/review")
        card = page.locator(".card").first
        pictures = card.locator("img")
        assert [one.evaluate("one => one.naturalWidth") for one in pictures.all()] == [28, 28]
        left, right = (one.bounding_box() for one in pictures.all())
        assert left["y"] == right["y"]  # beside each other
        assert left["x"] + left["width"] <= right["x"]
        assert left["width"] >= 150
        assert card.get_by_role("button", name="Approve").is_visible()
        assert told == []


def test_a_card_shows_the_distances_that_were_recorded(busy, browser):
    base = sqlite3.connect(busy.folder.file(DECISIONS))
    (told,) = base.execute(
        "SELECT told FROM decisions WHERE decision = 'review' ORDER BY seq LIMIT 1"
    ).fetchone()
    base.close()
    with browser.new_context() as context:
        page, _ = log_in(context, busy)
        text = page.locator(".card").first.inner_text()
        for _, value, block, review in json.loads(told):
            assert all(f"{one:.3f}" in text for one in (value, block, review))
        assert page.locator(".card").first.locator("td.near").count() >= 1


def test_a_reviewer_works_by_keys_and_is_named(busy, browser):
    with browser.new_context() as context:
        page, told = log_in(context, busy)
        first, second = (page.locator(".card").nth(at).get_attribute("data-id") for at in (0, 1))
        before = page.locator(".card").count()
        page.keyboard.press("j")
        with page.expect_navigation():
            page.keyboard.press("a")
        assert page.locator(".card").first.get_attribute("data-id") == first
        with page.expect_navigation():
            page.keyboard.press("r")
        ids = [one.get_attribute("data-id") for one in page.locator(".card").all()]
        assert first not in ids
        assert second not in ids
        assert verdicts(busy) == [("approve", "ann"), ("reject", "ann")]
        assert page.locator(".card").count() <= before
        page.get_by_role("link", name="Decided").click()
        page.wait_for_url("**/decided")
        rows = page.locator("tbody tr")
        assert rows.count() == 2
        assert "REJECTED" in rows.nth(0).inner_text()
        assert "ann" in rows.nth(0).inner_text()
        assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", rows.nth(1).inner_text())
        assert told == []


def test_a_verdict_reaches_the_client(busy, browser):
    base = sqlite3.connect(busy.folder.file(DECISIONS))
    names = base.execute(
        "SELECT id FROM decisions WHERE decision = 'review' ORDER BY seq"
    ).fetchone()
    base.close()
    own = {"Authorization": f"Bearer {busy.client}"}
    with browser.new_context() as context:
        page, _ = log_in(context, busy)
        with page.expect_navigation():
            page.locator(".card").first.get_by_role("button", name="Approve").click()
    status, content, _ = busy.ask("GET", f"/v1/outputs/{names[0]}", None, own)
    assert status == 200
    assert b'"decision":"allow","reviewed":true' in content


def test_two_reviewers_do_not_overrule_each_other(busy, browser):
    with browser.new_context() as context:
        first, _ = log_in(context, busy)
        second = context.new_page()
        second.goto(f"{busy.address}/review")
        with first.expect_navigation():
            first.locator(".card").first.get_by_role("button", name="Reject").click()
        with second.expect_navigation():
            second.locator(".card").first.get_by_role("button", name="Approve").click()
        assert "decided already, by ann" in second.get_by_role("alert").inner_text()
        assert verdicts(busy) == [("reject", "ann")]


def test_the_cookie_is_out_of_reach_and_the_token_in_no_address(busy, browser):
    with browser.new_context() as context:
        page, _ = log_in(context, busy)
        (cookie,) = context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert cookie["value"] != busy.reviewer
        assert page.evaluate("document.cookie") == ""
        assert busy.reviewer not in page.url + page.content()
        with page.expect_navigation():
            page.get_by_role("button", name="Log out").click()
        page.goto(f"{busy.address}/review")
        assert page.url.endswith("/login")


def test_only_a_reviewer_gets_in(busy, browser):
    with browser.new_context() as context:
        page = context.new_page()
        for token in ("wrong", busy.client):
            page.goto(f"{busy.address}/monitor")
            assert page.url.endswith("/login")
            page.get_by_label("Token").fill(token)
            with page.expect_navigation():
                page.get_by_role("button", name="Log in").click()
            assert "no reviewer's token" in page.get_by_role("alert").inner_text()
            assert context.cookies() == []


def test_a_form_from_elsewhere_does_nothing(busy, browser):
    with browser.new_context() as context:
        page, _ = log_in(context, busy)
        name = page.locator(".card").first.get_attribute("data-id")
        good = page.locator("input[name=form]").first.get_attribute("value")
        (cookie,) = context.cookies()
    base = {
        "Cookie": f"safelight_session={cookie['value']}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    path = f"/review/{name}"
    for body, headers, status in (
        ("verdict=approve", base, 403),
        ("verdict=approve&form=guess", base, 403),
        (f"verdict=approve&form={good}", {**base, "Origin": "http://evil.example"}, 403),
        (f"verdict=approve&form={good}", {**base, "Cookie": ""}, 303),
        (f"verdict=maybe&form={good}", base, 404),
    ):
        assert busy.ask("POST", path, body.encode(), headers)[0] == status, body
    assert verdicts(busy) == []
    body = f"verdict=approve&form={good}".encode()
    assert busy.ask("POST", path, body, {**base, "Origin": busy.address})[0] == 303
    assert verdicts(busy) == [("approve", "ann")]
    Tokens(busy.folder).revoke("ann")
    assert busy.ask("GET", "/review", None, base)[2]["Location"] == "/login"


def test_a_client_is_held_and_lifted_by_hand(busy, browser, digits):
    with browser.new_context() as context:
        page, _ = log_in(context, busy)
        page.goto(f"{busy.address}/monitor")
        with page.expect_navigation():
            page.get_by_role("button", name="Hold").click()
        assert page.get_by_text("HELD", exact=True).is_visible()
        _, told = busy.submit(packed(digits.fresh[200:203]))
        assert {one["decision"] for one in told["outputs"]} == {"block"}
        with page.expect_navigation():
            page.get_by_role("button", name="Lift").click()
        assert not page.get_by_text("HELD", exact=True).is_visible()
        _, told = busy.submit(packed(digits.fresh[200:240]))
        assert "allow" in {one["decision"] for one in told["outputs"]}


def test_names_are_text_and_headers_are_strict(busy):
    status, content, headers = busy.ask("GET", "/login")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    nonces = re.findall(rb'nonce="([^"]+)"', content)
    assert nonces
    assert all(one.decode() in policy for one in nonces)
    again = busy.ask("GET", "/login")[2]["Content-Security-Policy"]
    assert again != policy
