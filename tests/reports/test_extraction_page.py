"""The page of an audit of released weights: what it says, what it shows, how it fits."""

import re
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser

from safelight.auditing.sheets import COLUMNS, sheet
from safelight.errors import RecordError
from safelight.record.extraction import (
    ExtractionCell,
    ExtractionFinding,
    ExtractionRecord,
    Nearest,
    Searched,
    inconclusive,
    judge,
    overall,
    planted_control,
    unrelated_control,
)
from safelight.record.membership import Compared
from safelight.record.record import Component, Measurement, Provenance, Role, TargetFacts
from safelight.record.store import Run
from safelight.reports.extraction import best_of, page, text

N = 40


def measured(value, low=None, high=None, unit="share"):
    return Measurement(
        value=value,
        low=low,
        high=high,
        level=0.95,
        n=N,
        seeds=1,
        chance=None,
        worse="higher",
        unit=unit,
    )


def found(value, p, reach):
    low, high = max(value - 0.1, 0), min(value + 0.1, 1)
    return Compared(measurement=measured(value, low, high), reach=reach, p=p)


def finding(name, area, share, controls):
    auc, extracted = found(*area, 0.65), found(*share, 0.175)
    return ExtractionFinding(
        id=name,
        threat="released_model",
        threat_options={"knows": "weights"},
        attack=name,
        attack_options={},
        access="white-box",
        verdict=judge(auc, extracted, controls),
        auc=auc,
        extracted=extracted,
        measurements={
            "coverage": measured(0.8),
            "ssim of members": measured(0.9, 0.8, 1.0, "SSIM"),
            "ssim of others": measured(0.5, 0.4, 0.6, "SSIM"),
            "ssim rule": measured(1.0),
            "ssim rule on others": measured(0.98),
        },
        roc=[(0, 0), (0, share[0]), (0.5, 0.95), (1, 1)],
        controls=controls,
        seconds=73.0,
    )


class Maker:
    """Makes a run by hand."""

    def __init__(self, folder: Path, channels: int = 1) -> None:
        self.run = Run(folder)
        self.run.create()
        draw = torch.Generator().manual_seed(0)
        self.pictures = torch.rand(2, N, channels, 16, 16, generator=draw)
        self.sheets = [self.run.keep(sheet(one), ".png") for one in self.pictures]
        good = planted_control(found(0.98, 0.0005, 0.65), found(0.9, 0.0005, 0.175))
        self.controls = [good, unrelated_control(0.4, 0.51, 0)]

    def nearest(self, place: int) -> Nearest:
        likeness = [0.3 + 0.01 * one for one in range(N)]
        return Nearest(
            likeness=likeness, ssim=likeness, candidate=[0] * N, artifact=self.sheets[place]
        )

    def record(self, findings, **changes) -> Run:
        cells = [
            ExtractionCell(
                id=one.id,
                finding=one.id,
                seed=0,
                status="ok",
                candidates=80,
                members=self.nearest(0),
                others=self.nearest(1),
                budgets=[(2**power, 0.5 + 0.05 * power) for power in range(8)],
            )
            for one in findings
            if not one.skipped and one.auc
        ]
        content = {
            "status": "complete",
            "name": "made",
            "verdict": overall(findings),
            "target": TargetFacts(
                name="mlp",
                parameters=1796010,
                weights_sha256="a" * 64,
                trained_on="40 pictures",
                accuracy=measured(0.8, 0.7, 0.9),
                cut_points={},
                facts={"training accuracy": 1.0},
            ),
            "roles": [
                Role(name="training set", source="made", count=N, classes={"a": N}, sha256="b")
            ],
            "classes": ["a"],
            "image_shape": list(self.pictures.shape[2:]),
            "member_labels": [0] * N,
            "members_artifact": self.sheets[0],
            "others_artifact": self.sheets[1],
            "nearest_others": list(range(N)),
            "nearest_others_likeness": [0.5] * N,
            "sheet_columns": COLUMNS,
            "findings": findings,
            "cells": cells,
            "components": [
                Component(kind="attack", name="<b>x</b>", options={}, summary="an attack")
            ],
            "shuffles": 2000,
            "plan": {},
            "provenance": Provenance(
                safelight="0",
                commit="",
                python="3",
                packages={},
                machine="a machine",
                device="cpu",
                started="2026-01-01T00:00:00+00:00",
            ),
            "seconds": 74.0,
        }
        record = ExtractionRecord(**content | changes)
        self.run.write("record.json", record.model_dump_json().encode())
        return self.run


LEAK = ((0.97, 0.0005), (0.8, 0.0005))
CLEAR = ((0.52, 0.4), (0.02, 0.5))


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "run")


def leaking(maker: Maker) -> Run:
    one = finding("extraction/row_space", *LEAK, maker.controls)
    other = finding("extraction/kkt", *CLEAR, maker.controls)
    idle = other.model_copy(
        update={
            "id": "idle",
            "attack": "extraction/other",
            "skipped": "no dense layer",
            "verdict": inconclusive("not run: no dense layer"),
            "auc": None,
            "extracted": None,
            "measurements": {},
            "controls": [],
        }
    )
    return maker.record([other, one, idle])


def test_the_page_leads_with_the_finding_and_shows_what_was_trained_on(maker):
    html = page(leaking(maker), "full")
    assert re.search(r"<h1>Your training set is in the weights: 32.of.40 pictures", html)
    assert html.index("What can be read out") < html.index("Training pictures against others")
    assert html.index("Training pictures against others") < html.index("Every number")
    rows = ["Training picture", "extraction/row_space, of 80", "Nearest held-out picture"]
    places = [html.index(one) for one in rows]
    assert places == sorted(places)
    assert "100% beside 98%" in html  # the literature's rule beside its null
    assert "no dense layer" in html
    assert "<b>x</b>" not in html


def test_the_page_asks_nothing_of_anybody(maker):
    html = page(leaking(maker), "full")
    assert "default-src 'none'" in html
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert "<script" not in html


def test_evidence_can_be_blurred_or_left_out(maker):
    run = leaking(maker)
    full, blurred, none = (page(run, one) for one in ("full", "blurred", "none"))
    assert full.count("<img") == blurred.count("<img") == 4 * 10 * 4
    assert "<img" not in none
    assert max(map(len, re.findall(r"data:image/png;base64,[^\"]+", blurred))) < 200
    assert "This page shows training pictures" not in blurred


@pytest.mark.parametrize(
    ("scores", "title"),
    [
        (((0.8, 0.001), (0.05, 0.2)), "tell training pictures from others, though no picture"),
        (CLEAR, "No evidence that training pictures"),
    ],
)
def test_other_verdicts_have_their_own_words(maker, scores, title):
    run = maker.record([finding("extraction/kkt", *scores, maker.controls)])
    assert title in page(run, "none")
    assert title in " ".join(text(run).split())


def test_settings_of_one_attack_are_told_apart_by_what_differs(maker):
    base = finding("extraction/kkt", *CLEAR, maker.controls)
    settings = [{"space": "pixels", "steps": 9}, {"space": "row space", "steps": 9}]
    both = [base.model_copy(update={"id": one["space"], "attack_options": one}) for one in settings]
    run = maker.record(both)
    html, plain = page(run, "none"), " ".join(text(run).split())
    for one in settings:
        assert f"<small>space = {one['space']}</small>" in html
        assert f"extraction/kkt (space = {one['space']})" in html
        assert f"Control, extraction/kkt (space = {one['space']})" in plain
    assert "steps" not in plain
    assert "space =" not in page(maker.record(both[:1]), "none")


def test_a_part_that_was_scored_is_told_beside_the_whole(maker):
    sets = [
        Role(name=name, source="made", count=count, classes={"a": count}, sha256=name)
        for name, count in (("training set", 59_000), ("scored", N), ("held out", N))
    ]
    run = maker.record([finding("extraction/kkt", *LEAK, maker.controls)], roles=sets)
    html, plain = page(run, "full"), " ".join(text(run).split())
    for told in (plain, html):
        assert "Scored: 40 of 59,000 training pictures, drawn at random" in told
        assert re.search("32.of.40 pictures that were scored were read out", told)
    assert "<b>59,000 pictures</b><small>40 of them scored, 100% right in training" in html
    assert "10 of 40 scored training pictures, drawn by a fixed seed" in html
    whole = maker.record([finding("extraction/kkt", *LEAK, maker.controls)])
    assert "scored" not in re.sub(
        r"Every picture is scored by|<style>.*</style>", "", page(whole, "full")
    )


def test_options_that_were_chosen_on_shadows_are_told_with_what_mattered(maker):
    how = Searched(
        ranges={"stationary": (1, 100), "variation": (0.01, 1)},
        trials=20,
        shadows=2,
        auc=0.83,
        importance={"variation": 0.25, "stationary": 0.75},
    )
    one = finding("extraction/network_inversion", *CLEAR, maker.controls).model_copy(
        update={"searched": how, "attack_options": {"stationary": 42.5, "variation": 0.0625}}
    )
    run = maker.record([one])
    html, plain = page(run, "none"), " ".join(text(run).split())
    assert "the best of 20 trials on 2 shadow models" in plain
    assert "What mattered: stationary 75%, variation 25%." in plain
    section = html[html.index("How options were chosen") :]
    assert section.index("stationary") < section.index("variation")
    assert 'width="150.0"' in section
    assert "42.5000" in section
    assert "How options were chosen" not in page(leaking(Maker(maker.run.folder / "b")), "none")


def test_the_curve_of_more_candidates_rises_from_chance_with_the_auc():
    curve = best_of([(1, 0.5), (2, 0.6), (8, 1.0)])
    places = [tuple(map(float, one.split(","))) for one in curve.split()]
    assert places == [(8.0, 48.0), (82.7, 40.0), (232.0, 8.0)]
    assert best_of([]) == ""
    assert best_of([(1, 0.5)]) == "8.0,48.0"


def test_an_unfinished_audit_says_so(maker):
    one = finding("extraction/kkt", *CLEAR, []).model_copy(
        update={"auc": None, "extracted": None, "verdict": inconclusive("not run yet")}
    )
    run = maker.record([one], status="running", verdict=None)
    assert "This audit is not finished." in page(run, "full")
    assert "This audit is not finished." in text(run)


def test_the_text_holds_the_numbers(maker):
    lines = " ".join(text(leaking(maker)).split())
    assert "LEAK, critical" in lines
    assert "32 of 40" in lines
    assert "0.970" in lines
    assert "Control, extraction/kkt, unrelated candidates: passed" in lines


def test_a_sheet_that_is_too_small_is_refused(maker):
    run = leaking(maker)
    small = run.keep(sheet(maker.pictures[0, :3]), ".png")
    one = finding("extraction/row_space", *LEAK, maker.controls)
    with pytest.raises(RecordError, match="has no picture"):
        page(maker.record([one], members_artifact=small), "full")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_is_seen_whole(browser: Browser, tmp_path, width, channels):
    run = leaking(Maker(tmp_path / "run", channels))
    file = tmp_path / "page.html"
    file.write_text(page(run, "full"))
    with browser.new_context(viewport={"width": width, "height": 900}) as context:
        opened = context.new_page()
        complaints: list[str] = []
        asked: list[str] = []
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(file.as_uri())
        assert complaints == []
        assert [one for one in asked if not one.startswith(("data:", "file:"))] == []
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
        widths = "[...document.images].map(one => one.naturalWidth)"
        assert min(opened.evaluate(widths)) > 0
        opened.get_by_text("Worst", exact=True).click()
        assert opened.get_by_text("least found", exact=False).is_visible()
