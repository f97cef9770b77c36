"""The threat-model entry with measured values: what the page and the text say of a record."""

import html
from html.parser import HTMLParser

import pytest
from handmade import HOSTILE
from playwright.sync_api import Browser

from safelight.record.generator_reproduction import (
    Entry,
    FactorRow,
    GeneratorReproduction,
    Level,
    Reached,
)
from safelight.record.record import Measurement
from safelight.reports.generator_comparison import (
    CAVEATS,
    NOTES,
    figures,
    headlines,
    markdown,
    page,
    parts,
    sentences,
)


def measured(value, low, high, n=64, unit="AUC"):
    return Measurement(
        value=value,
        low=low,
        high=high,
        level=0.95,
        n=n,
        seeds=1,
        chance=0.5,
        worse="higher",
        unit=unit,
    )


def reached(attack, outcome="LEAK", extracted=(), falsely=(), trainings=1):
    return Reached(
        attack=attack,
        access="white-box",
        auc=measured(0.8231, 0.6712, 0.9138),
        tpr=measured(0.328, 0.2149, 0.4571, unit="share"),
        extracted=list(extracted),
        falsely=list(falsely),
        outcomes=[outcome] * trainings,
    )


def factor(name, attack, difference, low, high, levels=(("few", 0.9), ("many", 0.6))):
    return FactorRow(
        factor=name,
        said="fewer leak more",
        attack=attack,
        levels=[
            Level(name=one, auc=auc, low=auc - 0.05, high=auc + 0.05, leak=auc > 0.8)
            for one, auc in levels
        ],
        difference=difference,
        low=low,
        high=high,
        level=0.99,
        members_paired=True,
        others_paired=False,
        members=64,
        others=64,
        trainings=1,
    )


def entry(**changes):
    content = {
        "architecture": "DCGAN",
        "parameters": 41377,
        "steps": 2000,
        "pictures": 512,
        "candidates": 64,
        "owned": 800,
        "classes": 10,
        "trained_on": "512 pictures of digits",
        "trainings": 1,
        "verdicts": ["LEAK"],
        "severity": "medium",
        "reason": "members stand out",
        "reached": [
            reached("weights"),
            reached("crowds of pictures", extracted=[12], falsely=[1]),
        ],
        "not_run": ["discriminator: needs a discriminator"],
        "failed": ["planted leak: found in 3 of 100"],
        "queries": 8000,
        "seconds": 61.0,
    }
    return Entry(**content | changes)


def made(**changes):
    content = {
        "title": "Leakage",
        "reference": "an entry in words",
        "words": {"weights": "feasible", "severity": "high"},
        "scale": "quick",
        "entries": [entry()],
        "factors": [
            factor("training-set size", "weights", 0.3012, 0.1, 0.5),
            factor("training-set size", "pictures alone", -0.02, -0.2, 0.1),
            factor(
                "style mixing",
                "mixed styles against pictures alone",
                -0.1,
                -0.2,
                -0.01,
                (("mixed styles", 0.6), ("pictures alone", 0.7)),
            ),
        ],
        "missing": ["capacity"],
        "machine": "a machine",
        "safelight": "0.1.0",
    }
    return GeneratorReproduction(**content | changes)


def test_every_word_stands_beside_what_was_measured():
    told = {one.name: one for one in parts(made(), entry())}
    assert told["Weights (white-box)"].word == "feasible"
    assert told["Weights (white-box)"].value == (
        "AUC 0.823 (0.671 to 0.914), TPR at 1% FPR 32.8% (21.4 to 45.8%)"
    )
    assert told["Crowds of pictures (white-box)"].value.startswith(
        "12 of 64 extracted, 1 of 64 falsely; AUC"
    )
    assert told["Severity"].word == "high"
    assert told["Severity"].value == "medium: members stand out"
    assert "64 of 512" in told["Asset"].value
    assert "41,377 weights, 2,000 steps, 1 training" in told["Affected component"].value
    assert told["Not run"].value == "discriminator: needs a discriminator"


def test_several_trainings_are_counted():
    own = entry(
        trainings=3,
        verdicts=["LEAK", "INCONCLUSIVE", "LEAK"],
        reached=[reached("weights", extracted=[3, 0, 9], falsely=[0, 0, 1], trainings=3)],
    )
    told = {one.name: one for one in parts(made(), own)}
    assert told["Severity"].outcome == "LEAK in 2 of 3, INCONCLUSIVE in 1 of 3"
    assert told["Weights (white-box)"].value.startswith("3, 0, 9 of 64 extracted, 0, 0, 1 of 64")


@pytest.mark.parametrize(
    ("outcomes", "kind"),
    [
        (["LEAK", "NO EVIDENCE"], "leak"),
        (["NO EVIDENCE", "NO EVIDENCE"], "clear"),
        (["NO EVIDENCE", "INCONCLUSIVE"], "open"),
    ],
)
def test_nothing_is_clear_that_one_training_leaves_open(outcomes, kind):
    own = entry(verdicts=outcomes, trainings=2)
    assert next(one for one in parts(made(), own) if one.name == "Severity").kind == kind


def test_each_factor_has_one_sentence_and_one_figure():
    told = sentences(made())
    assert told == [
        "Training-set size: with few in place of many the member AUC differs by +0.301 (+0.100 to "
        "+0.500, confirmed) by the weights, \N{MINUS SIGN}0.020 (\N{MINUS SIGN}0.200 to +0.100, "
        "open) by pictures alone.",
        "Style mixing: with mixed styles in place of pictures alone the member AUC differs by "
        "\N{MINUS SIGN}0.100 (\N{MINUS SIGN}0.200 to \N{MINUS SIGN}0.010, refuted).",
    ]
    drawn = figures(made())
    assert [one.sentence for one in drawn] == told
    assert [len(one.series) for one in drawn] == [2, 1]
    assert drawn[0].chart.count("<circle") == drawn[0].chart.count("mark") / 2
    assert drawn[0].series[0] == ("weights", True)
    assert drawn[1].series == [("mixed styles against pictures alone", False)]


def test_claims_are_summed_up_by_whether_attacks_agree():
    one, two, three = made().factors
    claims = [
        one.model_copy(update={"said": "few leak"}),
        two.model_copy(update={"said": "few leak"}),
        three.model_copy(update={"said": "mixing exposes"}),
        one.model_copy(update={"said": "mixed signs"}),
        three.model_copy(update={"said": "mixed signs"}),
        *(
            row.model_copy(
                update={"said": "length leaks", "difference": 0.3, "low": 0.1, "high": 0.5}
            )
            for row in (one, two)
        ),
    ]
    assert headlines(made(factors=claims)) == [
        "Confirmed in some comparisons, open in others: few leak.",
        "Refuted: mixing exposes.",
        "Comparisons contradict each other: mixed signs.",
        "Confirmed, whatever the attack: length leaks.",
    ]


def test_page_and_text_say_the_same():
    text, content = markdown(made()), html.unescape(page(made()))
    for told in (
        *headlines(made()),
        *sentences(made()),
        *NOTES,
        *CAVEATS,
        "0.823 (0.671 to 0.914)",
        "capacity",
    ):
        assert told in text
        assert told in content
    assert "| members |" in text  # paired by members alone
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| ")}
    assert widths == {5, 8}


def test_nothing_measured_is_said_so():
    bare = made(factors=[], entries=[], missing=["capacity", "outliers"])
    assert "not both ends were run: capacity, outliers" in markdown(bare)
    assert "not both ends were run: capacity, outliers" in page(bare)
    assert "<figure>" not in page(bare)


def test_hostile_text_stays_text():
    content = page(
        made(
            title=HOSTILE,
            entries=[entry(architecture=HOSTILE, failed=[HOSTILE], trained_on=HOSTILE)],
            factors=[factor(HOSTILE, HOSTILE, 0.1, 0.0, 0.2)],
        )
    )
    assert "<script>" not in content
    assert "\x1b" not in content
    text = markdown(made(entries=[entry(trained_on="a | b\nc")]))
    assert "a / b" in text


class _Tags(HTMLParser):
    VOID = frozenset({"meta", "img", "link", "br"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        assert not {"src", "href"} & dict(attrs).keys()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


def test_the_page_is_whole_and_loads_nothing():
    reader = _Tags()
    reader.feed(page(made()))
    assert not reader.open


def test_the_page_fits_a_phone(browser: Browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page(made()))
    for width in (380, 1280):
        view = browser.new_page(viewport={"width": width, "height": 800})
        asked = []
        view.on("request", lambda one, asked=asked: asked.append(one.url))
        view.goto(file.as_uri())
        assert asked == [file.as_uri()]
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        view.close()
