"""The page of an inspection: its sentences, its pictures, and how it looks in a real browser."""

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from safelight.reports.inspection import (
    Attributes,
    Detections,
    Diversity,
    Duplicates,
    Group,
    Inspection,
    Metadata,
    Outliers,
    Overlap,
    Picture,
    points,
    render,
    summary,
)


def picture(seed: int, side: int = 28, color: bool = False) -> Picture:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (side, side, 3) if color else (side, side), dtype=np.uint8)
    return Picture(f"class {seed}/a long name of a file {seed}.png", "", Image.fromarray(pixels))


NOTHING = Inspection(
    source="shop",
    made="2026-01-02",
    version="0.1.0",
    seconds=12.3,
    pictures=1200,
    size="of 784 pixels",
    unreadable=(),
    duplicates=Duplicates(0, 0, 0, 0, 0, ()),
    overlaps=(Overlap("shop", "test set", 1200, 0, 0, ()),),
    outliers=Outliers(0, 1200, 10, ()),
    diversity=(Diversity("all", 1200, 33.3, 322),),
    metadata=Metadata(1200, 0, (), ()),
    attributes=Attributes(400, ("age", "zip"), 7, 0, (("disease", 3, 0.21),)),
    skipped=(("Faces", "give --faces"),),
    settings=(("Compared at", "28 x 28 pixels"),),
)

EVERYTHING = dataclasses.replace(
    NOTHING,
    unreadable=(("a.jpg", "no picture in a known format"),),
    duplicates=Duplicates(
        1, 8, 1, 1, 2, (Group("9 pictures, the same pixels", 9, (picture(1), picture(1, 200))),)
    ),
    overlaps=(
        Overlap("shop", "test set", 1200, 3, 1, (Group("the same pixels", 2, (picture(2),)),)),
    ),
    outliers=Outliers(2, 1191, 10, (picture(3), picture(4, 90, color=True))),
    diversity=(Diversity("all", 1200, 33.3, 322), Diversity("<b>cats</b>", 600, 2.0, 322)),
    metadata=Metadata(1200, 5, (("place", 2), ("time", 5)), (("x.jpg", "place, time"),)),
    attributes=Attributes(400, ("age", "zip"), 1, 12, (("disease", 1, 0.9),)),
    detections=(
        Detections("faces", 4, 1199, "Frontal faces only.", (picture(5),)),
        Detections("license plates", 1, 1199, "Most are missed.", (picture(6, 60),)),
    ),
)


def test_the_gravest_finding_comes_first() -> None:
    told = points(EVERYTHING)
    assert [one.kind for one in told] == sorted(
        (one.kind for one in told), key=["leak", "open", "clear"].index
    )
    assert told[0].text == "4 of 1,200 pictures of shop are in test set too: 3 exactly, 1 nearly"


def test_every_finding_is_a_sentence_with_its_number() -> None:
    text = summary(EVERYTHING)
    for sentence in (
        "2 of 1,200 files tell where the picture was taken (GPS).",
        "12 of 400 rows can be singled out by age, zip (k = 1).",
        "4 of 1,199 pictures show faces.",
        "1 of 1,199 pictures shows license plates.",
        "9 of 1,200 pictures repeat another one: 8 exactly, 1 nearly.",
        "2 of 1,191 pictures lie far from all others.",
        "1 file cannot be read",
    ):
        assert sentence in text


def test_a_group_that_tells_its_value_is_a_finding_even_where_nobody_is_alone() -> None:
    told = Attributes(400, ("age",), 9, 0, (("disease", 1, 0.5),))
    kinds = {one.text: one.kind for one in points(dataclasses.replace(NOTHING, attributes=told))}
    assert kinds["Knowing age tells the disease of some rows (l = 1)"] == "leak"


@pytest.mark.parametrize("found", [NOTHING, EVERYTHING])
def test_never_calls_the_data_clean(found: Inspection) -> None:
    for text in (summary(found), render(found, "full")):
        assert "It cannot show that pictures hold no personal data." in " ".join(text.split())
        assert not re.search(r"free of|is clean|is safe|anonymous", text, re.IGNORECASE)


def images(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_evidence_is_shown_blurred_or_not_at_all() -> None:
    assert max(one.width for one in images(render(EVERYTHING, "full"))) == 128
    assert {one.size for one in images(render(EVERYTHING, "blurred"))} == {(4, 4)}
    assert images(render(EVERYTHING, "none")) == []
    assert "<img" not in render(EVERYTHING, "none")


def test_names_are_text() -> None:
    page = render(dataclasses.replace(EVERYTHING, source="<script>x</script>"), "full")
    assert "<script" not in page
    assert "&lt;b&gt;cats" in page


@pytest.mark.parametrize("found", [NOTHING, EVERYTHING], ids=["nothing", "everything"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_is_seen_whole(
    browser: Browser, tmp_path: Path, found: Inspection, width: int, scheme: str
) -> None:
    file = tmp_path / "inspection.html"
    file.write_text(render(found, "full"))
    asked: list[str] = []
    complaints: list[str] = []
    with browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    ) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(file.as_uri())
        assert [one for one in asked if one != file.as_uri() and not one.startswith("data:")] == []
        assert complaints == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("[...document.images].every(one => one.naturalWidth > 0)")
        title = page.get_by_role("heading", level=1)
        box = title.bounding_box()
        assert box is not None
        assert box["y"] < 200
        expected = points(found)[0].text if found is EVERYTHING else "Nothing that was looked for"
        assert expected in title.inner_text()
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shade = [int(one) for one in re.findall(r"\d+", paper)]
        assert min(shade) > 200 if scheme == "light" else max(shade) < 60


def test_every_finding_leads_to_its_section(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "inspection.html"
    file.write_text(render(EVERYTHING, "none"))
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(file.as_uri())
        targets = page.evaluate(
            "[...document.querySelectorAll('.points a')].map(one => one.getAttribute('href'))"
        )
        assert len(targets) == len(points(EVERYTHING)) - 1
        assert all(page.locator(target).count() == 1 for target in targets)
