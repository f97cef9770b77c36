import pytest
from handmade import Maker

from safelight.record.store import Run
from safelight.reports.sentences import headline, labels, plain, untried


@pytest.mark.parametrize(
    ("hits", "ssim", "severity", "begins", "carrier"),
    [
        (40, 0.90, "critical", "Your users\u2019 pictures leak: 40 of 40", "named"),
        (40, 0.50, "high", "Your users\u2019 pictures leak: 40 of 40", "named"),
        (12, 0.38, "medium", "Some of your users\u2019 pictures leak: 12 of 40", "named"),
        (0, 0.60, "medium", "Your users\u2019 pictures show through: what was rebuilt", "gain"),
        (0, 0.47, "low", "Your users\u2019 pictures leave a trace: what was rebuilt", "gain"),
    ],
)
def test_leak_is_told_as_strongly_as_it_was_measured(
    gray: Maker, hits: int, ssim: float, severity: str, begins: str, carrier: str
) -> None:
    one = gray.finding("f", "conv1")
    head = headline(gray.record([(one, [gray.cell(one, hits, ssim)])]).load())
    assert (head.outcome, head.severity, head.carrier) == ("LEAK", severity, carrier)
    assert head.title.startswith(begins)
    assert "privacy score" not in f"{head.title}{head.lead}".lower()
    assert ("nearest picture" in head.lead) == (severity == "critical")
    assert "40 victims" in head.lead


def test_mean_over_seeds_is_rounded_down_in_the_title(gray: Maker) -> None:
    one = gray.finding("f", "conv1")
    cells = [gray.cell(one, 40, 0.9), gray.cell(one, 39, 0.9, seed=1)]
    head = headline(gray.record([(one, cells)]).load())
    assert "39 of 40" in head.title
    assert "39.5 of 40" in head.measured


def test_leading_finding_is_the_worst(mixed: Run) -> None:
    head = headline(mixed.load())
    assert head.finding is not None
    assert head.finding.id == "f-leak"
    assert "1 of 4 findings is a leak. 2 of 4 could not be judged." in head.lead


def test_crash_is_never_a_clean_result(gray: Maker) -> None:
    fine, crash = gray.finding("fine", "fc1"), gray.finding("crash", "conv1")
    broken = gray.cell(crash, 0, 0.3, status="error", reason="MemoryError: full", artifact="")
    head = headline(gray.record([(fine, [gray.cell(fine, 0, 0.38)]), (crash, [broken])]).load())
    assert head.outcome == "INCONCLUSIVE"
    assert "MemoryError: full" in head.lead
    assert "1 of 2 findings stay open" in head.lead


def test_record_with_nothing_that_fits(gray: Maker) -> None:
    one = gray.finding("f", "conv1", skipped="it needs the weights")
    head = headline(gray.record([(one, [])]).load())
    assert head.outcome == "INCONCLUSIVE"
    assert "no attack fits" in head.lead


def test_labels_tell_findings_apart_by_what_differs(gray: Maker) -> None:
    findings = [
        gray.finding("a", "conv1"),
        gray.finding("b", "conv1", attack_options={"steps": 900}),
        gray.finding("c", "relu1"),
        gray.finding("d", "relu1", attack="extraction/decoder"),
    ]
    named = labels(findings)
    assert named["a"].detail == "black-box queries, steps = 300"
    assert named["b"].detail == "black-box queries, steps = 900"
    assert named["c"].detail == "black-box queries"
    assert {named["c"].attack, named["d"].attack} == {"inversion/decoder", "extraction/decoder"}


def test_untried_lines_become_commands(mixed: Run) -> None:
    gaps = untried(mixed.load())
    assert gaps[0] == (
        "Other cuts (b<i>, c)",
        "safelight audit plan.toml --set 'threats.0.cut=[\"b<i>\"]' --out runs/more-1",
    )
    assert gaps[1] == ("Whatever nobody thought of", "")


def test_plain_is_one_line_without_control_characters() -> None:
    assert plain("a\nb\x1b[2Jc\u202ed") == "a b [2Jc d"
