"""What a verdict takes for granted stands beside it, in every format."""

import json
import re
from typing import Any

import pytest
from handmade import HOSTILE, Maker

from safelight.record.record import Dependence, Record
from safelight.record.store import Run
from safelight.reports import html, markdown, terminal
from safelight.reports.evidence import Evidence
from safelight.reports.sentences import assumed, dependences, headline

LINES = ["The enclave keeps its contents", f"Nothing is read by {HOSTILE}"]
LABEL = "Assumed, not measured"


def dependence(**changes: Any) -> Dependence:
    content: dict[str, Any] = {
        "where": "fc1",
        "what": "bytes into the enclave",
        "unit": "bytes",
        "pictures": 40,
        "rounds": 2,
        "typical": 668.0,
        "low": 564.0,
        "high": 777.0,
        "by_picture": 1.0,
        "by_picture_p": 0.001,
        "by_class": 0.183,
        "by_class_p": 0.02,
    }
    return Dependence(**content | changes)


def enclave(maker: Maker, where: str, hits: int = 1, ssim: float = 0.38) -> Any:
    one = maker.finding(f"f-{where}", where, threat="trusted_execution", assumptions=LINES)
    return one, [maker.cell(one, hits, ssim)]


@pytest.fixture
def sealed(gray: Maker) -> Run:
    """A run whose verdict is NO EVIDENCE if an enclave holds."""
    own = [enclave(gray, "fc1"), enclave(gray, "conv1")]
    return gray.record(own, dependences=[dependence()])


def shown(run: Run) -> dict[str, str]:
    page = re.sub(r"<style>.*?</style>", "", html.render(run, "none"), flags=re.DOTALL)
    return {
        "html": re.sub(r"\s+", " ", page),
        "markdown": markdown.render(run, "none"),
        "terminal": re.sub(r"\s+", " ", terminal.render(run, "none", 400)),
    }


def test_assumptions_stand_beside_the_verdict_before_any_table(sealed: Run) -> None:
    for name, text in shown(sealed).items():
        top = text[: text.index("<table" if name == "html" else "Where")]
        assert "NO EVIDENCE" in top, name
        assert "under assumptions" in top, name
        assert "if what is assumed holds" in top, name
        assert LABEL in top, name
        assert "trusted execution at fc1, trusted execution at conv1" in top.replace("\\", ""), name
        assert "The enclave keeps its contents" in top, name


def test_every_finding_that_rests_on_them_says_so(gray: Maker) -> None:
    split = gray.finding("f-split", "conv1")
    run = gray.record([enclave(gray, "fc1"), (split, [gray.cell(split, 1, 0.38)])])
    rows = [one for one in markdown.render(run, "none").split("\n") if one.startswith("| `")]
    assert ["under assumptions" in row for row in rows] == [True, False]
    page = html.render(run, "none")
    assert page.count("<b>under assumptions</b>") == 2  # verdict and row
    assert terminal.render(run, "none", 160).count("under assumptions") == 2  # verdict and row


def test_a_leak_is_labeled_if_its_own_finding_rests_on_them(gray: Maker) -> None:
    split = gray.finding("f-split", "conv1")
    run = gray.record([enclave(gray, "fc1"), (split, [gray.cell(split, 39, 0.9)])])
    head = headline(run.load())
    assert (head.outcome, head.given) == ("LEAK", "")
    assert assumed(run.load()) == [("trusted execution at fc1", assumed(run.load())[0][1])]
    leaking = gray.record([enclave(gray, "fc1", 39, 0.9), (split, [gray.cell(split, 1, 0.38)])])
    head = headline(leaking.load())
    assert (head.outcome, head.given) == ("LEAK", "under assumptions")
    assert "if what is assumed holds" not in head.title


def test_a_run_that_assumes_nothing_says_nothing_of_it(clean: Run, mixed: Run) -> None:
    for run in (clean, mixed):
        assert not assumed(run.load())
        for text in shown(run).values():
            assert LABEL not in text
            assert "under assumptions" not in text
            assert "Tested apart" not in text


@pytest.mark.parametrize("evidence", ["full", "none"])
def test_hostile_assumptions_stay_text(sealed: Run, evidence: Evidence) -> None:
    assert "<script>alert" not in html.render(sealed, evidence)
    assert "\x1b" not in terminal.render(sealed, evidence)
    assert "@everyone" not in markdown.render(sealed, evidence)


def test_dependences_are_told_with_their_p_values(gray: Maker) -> None:
    same = dependence(typical=24.0, low=24.0, high=24.0, what="bytes out of the enclave")
    run = gray.record([enclave(gray, "fc1")], dependences=[dependence(), same])
    told = dependences(run.load())
    assert told == [
        "Bytes into the enclave at fc1: 668 bytes (564 to 777 over 40 pictures); on the picture it "
        "depends (concordance 1.00 over 2 rounds, p = 0.001), on its class no dependence is seen "
        "(18.3% of the variance, p = 0.020)",
        "Bytes out of the enclave at fc1: 24 bytes for each of 40 pictures",
    ]
    for text in shown(run).values():
        assert "Tested apart" in text
        assert "564 to 777 over 40 pictures" in text


def test_a_record_of_before_loads_and_assumes_nothing(clean: Run) -> None:
    content = json.loads(clean.record_file.read_text())
    del content["dependences"]
    for one in content["findings"]:
        del one["assumptions"]
    old = Record.model_validate(content)
    assert old == clean.load()
    assert old.findings[0].assumptions == []


def test_what_is_tested_apart_is_no_part_of_the_measurements_hash(gray: Maker) -> None:
    own = [enclave(gray, "fc1")]
    prints = {
        gray.record(own, dependences=found).load().measurements_sha256()
        for found in ([], [dependence()], [dependence(typical=1.0)])
    }
    assert len(prints) == 1
