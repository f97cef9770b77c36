"""The page in a real browser: what is seen, what is fetched, how it fits."""

from collections.abc import Callable

import pytest
from handmade import Maker, deep, knowing, repeated
from playwright.sync_api import Browser, Page

from safelight.record.store import Run
from safelight.reports import html


def _open(page: Page, run: Run, evidence: str = "full") -> list[str]:
    """Open the report of a run and return every address that was asked for."""
    file = run.folder / "report.html"
    file.write_text(html.render(run, evidence))  # type: ignore[arg-type]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    return [one for one in asked if one != file.as_uri() and not one.startswith("data:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_page_is_seen_whole(browser: Browser, mixed: Run, width: int, scheme: str) -> None:
    with browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    ) as context:
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        assert _open(page, mixed) == []
        assert complaints == []
        widths = "[...document.images].map(one => one.naturalWidth)"
        assert min(page.evaluate(widths)) > 0
        title = page.get_by_role("heading", level=1)
        assert title.is_visible()
        assert "pictures leak" in title.inner_text()
        assert page.get_by_text("LEAK", exact=True).first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


#: The names in a drawing that lie outside of it or on another name (tilted names aside).
CRAMPED = """svg => {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')].filter(one => one.textContent.trim());
  const box = one => one.getBoundingClientRect();
  const out = texts.filter(one => box(one).left < frame.left - 1 || box(one).right > frame.right + 1
    || box(one).bottom > frame.bottom + 1 || box(one).top < frame.top - 1);
  const flat = texts.filter(one => !one.hasAttribute('transform'));
  const on = flat.filter((one, i) => flat.slice(i + 1).some(other =>
    box(one).left < box(other).right && box(other).left < box(one).right
    && box(one).top + 3 < box(other).bottom && box(other).top + 3 < box(one).bottom));
  return [...out, ...on].map(one => one.textContent);
}"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("study", [deep, knowing, repeated])
def test_every_name_in_a_chart_can_be_read(
    browser: Browser, gray: Maker, study: Callable[..., Run], width: int
) -> None:
    run = study(gray) if study is deep else study(gray, "conv1", "relu1")
    with browser.new_context(viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        assert _open(page, run) == []
        drawings = page.locator("svg.curve, svg.rows").all()
        assert len(drawings) >= 2
        for one in drawings:
            assert one.evaluate(CRAMPED) == []
            letters = one.evaluate(
                "svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width * 11"
            )
            assert letters > 9.5  # pixels: below, nobody reads it on a phone
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_page_follows_the_color_scheme(browser: Browser, mixed: Run) -> None:
    papers = []
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:  # type: ignore[arg-type]
            page = context.new_page()
            _open(page, mixed)
            papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = ([int(x) for x in one[4:-1].split(",")] for one in papers)
    assert min(light) > 200
    assert max(dark) < 60


def test_switch_works_without_scripts(browser: Browser, mixed: Run) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        _open(page, mixed)
        assert page.locator(".view-random").is_visible()
        page.get_by_text("Worst", exact=True).click()
        assert page.locator(".view-worst").is_visible()
        assert not page.locator(".view-random").is_visible()
        page.keyboard.press("ArrowRight")
        assert page.locator(".view-median").is_visible()


def test_columns_are_aligned_and_names_of_rows_stay_in_sight(browser: Browser, mixed: Run) -> None:
    with browser.new_context(viewport={"width": 420, "height": 900}) as context:
        page = context.new_page()
        _open(page, mixed)
        table = page.locator(".view-random .pictures")
        for column in range(2, 5):
            boxes = [one.bounding_box() for one in table.locator(f"td:nth-child({column})").all()]
            assert len({round(box["x"]) for box in boxes if box}) == 1
        scroll = page.locator(".view-random .scroll")
        name = table.locator("tbody th").first
        before = name.bounding_box()
        scroll.evaluate("one => one.scrollLeft = 200")
        after = name.bounding_box()
        assert before is not None
        assert after is not None
        assert before["x"] == after["x"]


def test_page_prints_on_a4(browser: Browser, mixed: Run) -> None:
    # 210 mm less two margins of 14 mm, at 96 pixels an inch.
    with browser.new_context(viewport={"width": 688, "height": 1000}) as context:
        page = context.new_page()
        page.emulate_media(media="print")
        _open(page, mixed)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
