"""The formats without pictures: Markdown, SARIF and the terminal."""

import json
import re
from typing import Any

import pytest

from safelight.record.store import Run
from safelight.reports import FORMATS, markdown, sarif, terminal


@pytest.fixture
def scan(mixed: Run) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(sarif.render(mixed, "full"))
    return content


def test_formats_are_the_renderers() -> None:
    assert FORMATS == ("html", "markdown", "sarif", "terminal")


def test_markdown_has_one_whole_row_a_finding(mixed: Run) -> None:
    text = markdown.render(mixed, "full")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 5
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 9
    assert text.startswith("## Safelight: LEAK, critical\n")
    assert "39 of 40" in text
    assert "![" not in text


def test_markdown_neutralizes_what_github_would_act_on(mixed: Run) -> None:
    text = markdown.render(mixed, "full")
    assert "<script" not in text.replace("\\<", "")
    assert "@everyone" not in text
    assert "\x1b" not in text


def test_markdown_names_failed_controls(mixed: Run) -> None:
    assert "blind at conv1: planted leak failed" in markdown.render(mixed, "full")


def test_sarif_is_a_log_of_one_run(scan: dict[str, Any]) -> None:
    assert scan["version"] == "2.1.0"
    (run,) = scan["runs"]
    rules = [one["id"] for one in run["tool"]["driver"]["rules"]]
    assert rules == ["inversion/decoder", "inversion/blind", "inversion/likelihood"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert (result["level"] == "none") == (result["kind"] != "fail")
    assert run["invocations"][0]["startTimeUtc"] == "2026-01-02T03:04:05Z"


def test_sarif_results_are_leaks_and_open_questions(scan: dict[str, Any]) -> None:
    results = scan["runs"][0]["results"]
    found = {
        one["partialFingerprints"]["safelightFinding/v1"]: (one["kind"], one["level"])
        for one in results
    }
    assert found == {
        "f-leak": ("fail", "error"),
        "f-blind": ("open", "none"),
        "f-crash": ("open", "none"),
    }
    leak = results[0]
    assert "of 40 victims are named among 100" in leak["message"]["text"]
    assert leak["properties"]["measurements"]["named"]["chance"] == 0.01
    assert leak["properties"]["bestNull"]["ssim"]["value"] == pytest.approx(0.4)
    counts = scan["runs"][0]["properties"]["findings"]
    assert counts == {"leak": 1, "noEvidence": 1, "inconclusive": 2, "skipped": 1}


def test_sarif_reports_crashes_and_skipped_pairs_of_the_tool(scan: dict[str, Any]) -> None:
    (invocation,) = scan["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    (crash,) = invocation["toolExecutionNotifications"]
    assert crash["level"] == "error"
    assert crash["associatedRule"]["id"] == "inversion/likelihood"
    (skipped,) = invocation["toolConfigurationNotifications"]
    assert "it needs the weights" in skipped["message"]["text"]


def test_sarif_names_no_place_of_this_machine(mixed: Run) -> None:
    text = sarif.render(mixed, "full")
    assert str(mixed.folder) not in text
    assert "file:" not in text
    uris = re.findall(r'"uri": "([^"]+)"', text)
    assert set(uris) == {"record.json"}


def test_terminal_fits_its_width_but_for_commands(mixed: Run) -> None:
    lines = terminal.render(mixed, "full", width=80).splitlines()
    assert all(len(line) <= 80 for line in lines if "safelight " not in line)
    assert lines[0] == "LEAK, critical"


def test_terminal_tells_the_verdict_the_findings_and_what_is_next(mixed: Run) -> None:
    text = terminal.render(mixed, "full")
    assert "pictures leak: 39 of 40" in text
    assert "NO EVIDENCE" in text
    assert f"safelight report {mixed.folder}" in text
    assert f"safelight gate {mixed.folder} --fail-on critical" in text
    # A command that is broken over lines could not be copied.
    command = f"safelight audit {mixed.folder}/plan.toml --set 'threats.0.cut=[\"b<i>\"]'"
    assert command in text


def test_terminal_passes_no_control_characters_on(mixed: Run) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", terminal.render(mixed, "full"))


def test_terminal_of_an_unfinished_run_says_how_to_finish_it(unfinished: Run) -> None:
    assert f"safelight audit --resume {unfinished.folder}" in terminal.render(unfinished, "full")


@pytest.mark.parametrize("renderer", [markdown, sarif, terminal])
@pytest.mark.parametrize("name", ["clean", "undecided", "unfinished"])
def test_other_verdicts_render(renderer: Any, name: str, request: pytest.FixtureRequest) -> None:
    text = renderer.render(request.getfixturevalue(name), "none")
    assert {"clean": "NO EVIDENCE"}.get(name, "INCONCLUSIVE") in text
