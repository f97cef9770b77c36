import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import handmade
import numpy as np
import pytest

from safelight.record.store import Run
from safelight.reports import html
from safelight.reports.evidence import Evidence

EVIDENCE: tuple[Evidence, ...] = ("full", "blurred", "none")


class _Page(HTMLParser):
    """What a browser would make of a page: its elements, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("evidence", EVIDENCE)
def test_page_fetches_nothing_and_runs_nothing(mixed: Run, evidence: Evidence) -> None:
    text = html.render(mixed, evidence)
    assert not re.search(r"url\(|@import", text)
    page = _Page(text)
    fetched = {"src", "href", "srcset", "action", "data", "poster", "background", "xlink:href"}
    asked = [val for _, given in page.elements for key, val in given.items() if key in fetched]
    assert all((one or "").startswith("data:image/") for one in asked)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?https?:""", text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "a", "form"}
    assert not [key for _, given in page.elements for key in given if key.startswith("on")]
    policy = next(one for one in page.all("meta") if "http-equiv" in one)["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_hostile_names_stay_text(mixed: Run) -> None:
    text = html.render(mixed, "full")
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "b<i>" not in text


def test_everything_that_was_found_stands_on_the_page(mixed: Run) -> None:
    said = _Page(html.render(mixed, "full")).text
    assert "Your users\N{RIGHT SINGLE QUOTATION MARK} pictures leak" in said
    for part in (
        "severity critical",
        "NO EVIDENCE",
        "failed where a leak was planted",
        "error: ValueError",
        "not run: it needs the weights",
        "4 of 5 passed",
        "interval on this page covers 98.75%",
        "computed without randomness",
        "safelight audit plan.toml --set",
        "--out runs/more",
        "Whatever nobody thought of",
        "Deeper in the network",
        "@misc{he2019",
        "record.json",
    ):
        assert part in said


def test_naming_leads_with_its_chance_and_interval(mixed: Run) -> None:
    said = _Page(html.render(mixed, "full")).text
    assert "39 of 40 victims named among 100" in said
    assert "Guessing names 0.4 of 40" in said
    assert re.search(r"98.8% interval: [78]\d\.\d to 100%", said)


def test_rows_are_the_victims_the_claims_the_null_and_the_oracle(mixed: Run) -> None:
    page = _Page(html.render(mixed, "full"))
    pictures = page.all("img")
    shown = 4 * 10 * (1 + 3 + 2)  # views x victims x (victims, finished findings, baselines)
    assert len(pictures) == shown
    assert all(one["alt"] and (one["src"] or "").startswith("data:image/") for one in pictures)
    assert len({one["alt"] for one in pictures if "best null" in (one["alt"] or "")}) > 10
    assert "not an attack, it looks at the victim" in page.text


def test_random_victims_do_not_depend_on_how_well_they_were_rebuilt(tmp_path: Path) -> None:
    drawn = []
    for name, ssim in (("one", 0.9), ("two", 0.5)):
        maker = handmade.Maker(tmp_path / name, 1)
        finding = maker.finding("f", "conv1")
        cell = maker.cell(finding, 40, ssim)
        scores = cell.scores | {"ssim": cell.scores["ssim"][:: -1 if name == "two" else 1]}
        run = maker.record([(finding, [cell.model_copy(update={"scores": scores})])])
        alts = [one["alt"] for one in _Page(html.render(run, "full")).all("img")][:10]
        drawn.append(alts)
    assert drawn[0] == drawn[1]


def test_switch_orders_victims_by_the_leading_finding(gray: handmade.Maker) -> None:
    finding = gray.finding("f", "conv1")
    page = _Page(html.render(gray.record([(finding, [gray.cell(finding, 40, 0.9)])]), "full"))
    victims = [one["alt"] or "" for one in page.all("img") if "," not in (one["alt"] or "")]
    worst, median, best = victims[10:20], victims[20:30], victims[30:40]
    # The maker's SSIM rises with the victim's number.
    assert worst == [f"Victim {number}" for number in range(10)]
    assert median == [f"Victim {number}" for number in range(15, 25)]
    assert best == [f"Victim {number}" for number in range(39, 29, -1)]


@pytest.mark.parametrize("name", ["mixed", "colored"])
def test_full_tiles_are_the_pictures_themselves(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    page = _Page(html.render(run, "full"))
    first = next(one for one in page.all("img") if "," not in (one["alt"] or ""))
    number = int((first["alt"] or "").split()[1])
    shown = handmade.decode(first["src"] or "")
    truth = np.random.default_rng(0).random((40, 16, 16, 1 if name == "mixed" else 3))[number]
    assert np.array_equal(shown.reshape(truth.shape), (truth * 255).round())


@pytest.mark.parametrize("name", ["mixed", "colored"])
def test_blurred_tiles_hold_sixteen_blocks_at_most(
    name: str, request: pytest.FixtureRequest
) -> None:
    page = _Page(html.render(request.getfixturevalue(name), "blurred"))
    assert page.all("img")
    for one in page.all("img"):
        pixels = handmade.decode(one["src"] or "")
        assert pixels.shape[:2] == (4, 4)
        assert len(np.unique(pixels.reshape(16, -1), axis=0)) <= 16
    assert "pixelated to 4 x 4 blocks" in page.text


def test_no_evidence_no_pictures_but_all_the_numbers(mixed: Run) -> None:
    page = _Page(html.render(mixed, "none"))
    assert page.all("img") == []
    assert "data:image" not in html.render(mixed, "none")
    assert "holds no pictures" in page.text
    assert "39 of 40" in page.text


@pytest.mark.parametrize("evidence", EVIDENCE)
def test_page_says_that_it_is_sensitive(mixed: Run, evidence: Evidence) -> None:
    said = _Page(html.render(mixed, evidence)).text
    assert "Confidential." in said
    assert ("still sensitive" in said) == (evidence != "full")


def test_no_evidence_is_not_said_as_a_proof(clean: Run) -> None:
    page = _Page(html.render(clean, "full"))
    assert "within what was tried" in page.text
    assert "and no others" in page.text
    assert "leak: " not in page.text.split("What the attacker gets")[0]
    assert "is-leak" not in (page.all("body")[0]["class"] or "")


@pytest.mark.parametrize("name", ["undecided", "unfinished"])
def test_inconclusive_is_said_to_be_no_clean_result(
    name: str, request: pytest.FixtureRequest
) -> None:
    said = _Page(html.render(request.getfixturevalue(name), "full")).text
    assert "cannot say whether" in said
    assert "not a clean result" in said


def test_page_of_an_unfinished_run_has_no_pictures_to_show(unfinished: Run) -> None:
    page = _Page(html.render(unfinished, "full"))
    assert page.all("img") == []
    assert "nothing rebuilt to show" in page.text
    assert "holds no pictures" in page.text


def test_one_place_makes_no_curve(clean: Run) -> None:
    assert "Deeper in the network" not in html.render(clean, "full")


def test_twelve_places_make_a_curve_with_every_place(gray: handmade.Maker) -> None:
    places = [f"features.block{number}.conv" for number in range(12)]
    judged = []
    for number, place in enumerate(places):
        one = gray.finding(f"f{number}", place)
        judged.append((one, [gray.cell(one, 40 - 3 * number, 0.9 - 0.05 * number)]))
    target = handmade.target().model_copy(
        update={"cut_points": {place: [8] for place in reversed(places)}}
    )
    text = html.render(gray.record(judged, target=target), "none")
    svg = re.search(r'<svg class="curve".*?</svg>', text, re.DOTALL)
    assert svg is not None
    names = re.findall(r'class="tick end"[^>]*rotate[^>]*>([^<]+)<', svg[0])
    assert names == ["\N{HORIZONTAL ELLIPSIS}" + place[-13:] for place in reversed(places)]


def test_charts_have_text_alternatives(mixed: Run) -> None:
    page = _Page(html.render(mixed, "none"))
    for one in page.all("svg"):
        assert one.get("aria-label") or one.get("aria-hidden") == "true"
    spoken = [one["aria-label"] or "" for one in page.all("svg") if one.get("aria-label")]
    assert any("best null" in one and "interval" in one for one in spoken)
    assert any("conv1" in one and "fc1" in one for one in spoken)


def test_large_color_pictures_of_many_findings_stay_under_three_megabytes(tmp_path: Path) -> None:
    maker = handmade.Maker(tmp_path / "large", 3, side=128)
    judged = []
    for number in range(14):
        one = maker.finding(f"f{number}", "conv1", attack_options={"steps": number})
        judged.append((one, [maker.cell(one, 40, 0.9)]))
    text = html.render(maker.record(judged), "full")
    assert len(text.encode()) < 3_000_000
    assert "2 findings have no row here" in text


def test_same_run_same_page(mixed: Run) -> None:
    assert html.render(mixed, "full") == html.render(mixed, "full")


def test_reports_import_no_torch() -> None:
    import subprocess

    code = (
        "import sys\n"
        "from safelight.reports import html, markdown, sarif, terminal\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
