"""What varies in a record is asked, answered and drawn, in the field's words."""

import re

import pytest
from handmade import Maker, deep, knowing, repeated

from safelight.record.store import Run
from safelight.reports import html, markdown, sarif, terminal
from safelight.reports.adversaries import adversaries
from safelight.reports.curves import curves
from safelight.reports.sentences import headline, labels, watched

NAMES = [
    "white-box",
    "black-box, training set",
    "black-box, same distribution",
    "black-box, noise",
    "query-free, training set, known structure",
    "query-free, training set, different structure",
    "query-free, same distribution, known structure",
    "query-free, same distribution, different structure",
]


@pytest.fixture
def layers(gray: Maker) -> Run:
    return deep(gray)


@pytest.fixture
def people(gray: Maker) -> Run:
    return knowing(gray, "conv1", "relu1")


@pytest.fixture
def sends(gray: Maker) -> Run:
    return repeated(gray, "conv1", "relu1")


def test_depth_is_one_line_an_attack_over_every_layer(layers: Run) -> None:
    (depth,) = curves(layers.load())
    named, ssim = depth.charts
    assert depth.key == "depth"
    assert named.places[0] == "conv1"
    assert len(named.places) == 11
    assert [one.name for one in named.series] == [
        "decoder, black-box queries",
        "likelihood, black-box queries",
    ]
    assert [one.kind for one in ssim.references] == ["null", "oracle"]
    # A crash has no point and is no clean result; elsewhere the worse of two attacks counts.
    assert [len(one.points) for one in named.series] == [10, 11]
    assert depth.answer == [("LEAK", "conv1 to relu4"), ("NO EVIDENCE", "fc3")]


def test_layer_where_only_crashes_happened_is_inconclusive(gray: Maker) -> None:
    judged = []
    for where, status in (("conv1", "ok"), ("relu1", "error"), ("fc1", "ok")):
        one = gray.finding(where, where)
        judged.append((one, [gray.cell(one, 0, 0.38, status=status, reason="MemoryError")]))
    (depth,) = curves(gray.record(judged).load())
    assert depth.answer == [("INCONCLUSIVE", "relu1"), ("NO EVIDENCE", "conv1, fc1")]


def test_an_option_that_happens_to_spell_the_place_tells_lines_apart(gray: Maker) -> None:
    judged = []
    for where in ("conv1", "fc1"):
        for taps in ("conv1", "fc1"):
            options = {"cut": where, "knows": "weights", "taps": taps}
            one = gray.finding(f"{where}-{taps}", where, threat_options=options)
            judged.append((one, [gray.cell(one, 30, 0.7)]))
    (depth,) = curves(gray.record(judged).load())
    assert [one.name for one in depth.charts[0].series] == [
        "decoder, black-box queries, taps = conv1",
        "decoder, black-box queries, taps = fc1",
    ]
    assert [[p.where for p in one.points] for one in depth.charts[0].series] == [
        ["conv1", "fc1"],
        ["conv1", "fc1"],
    ]


def test_adversaries_are_listed_in_the_words_of_the_field(people: Run) -> None:
    (who,) = curves(people.load())  # eight lines over two cuts would be no chart
    assert who.key == "adversary"
    assert [one.title for one in who.charts] == [
        "Victims named among 100, conv1",
        "SSIM to the victim, conv1",
        "Victims named among 100, relu1",
        "SSIM to the victim, relu1",
    ]
    points = who.charts[0].series[0].points
    assert [one.where for one in points] == NAMES
    assert [one.note for one in points] == ["likelihood", *3 * ["decoder"], *4 * ["shadow"]]
    assert points[0].text == "40 of 40"
    assert who.answer[0] == (
        "LEAK",
        "white-box; black-box (all 3); query-free, training set, known structure; "
        "query-free, same distribution, known structure",
    )


def test_attacks_of_one_kind_of_adversary_stand_together(gray: Maker) -> None:
    judged = []
    for pictures in ("training set", "noise"):
        for steps in (300, 900):
            options = {"cut": "conv1", "knows": "queries", "pictures": pictures}
            one = gray.finding(
                f"{pictures}{steps}",
                "conv1",
                threat_options=options,
                attack_options={"steps": steps},
            )
            judged.append((one, [gray.cell(one, 30, 0.7)]))
    (who,) = curves(gray.record(judged).load())
    assert [(one.note, one.where) for one in who.charts[0].series[0].points] == [
        ("decoder, steps = 300", "black-box, training set"),
        ("decoder, steps = 300", "black-box, noise"),
        ("decoder, steps = 900", "black-box, training set"),
        ("decoder, steps = 900", "black-box, noise"),
    ]


def test_sends_are_in_order_of_their_number(sends: Run) -> None:
    often, depth = curves(sends.load())
    assert (often.key, depth.key) == ("sends", "depth")
    assert often.charts[0].places == ["1\u00d7", "4\u00d7", "16\u00d7", "64\u00d7"]
    assert [one.name for one in often.charts[0].series] == [
        "conv1, decoder, black-box queries",
        "relu1, decoder, black-box queries",
    ]
    assert often.answer == [("LEAK", "4\u00d7, 16\u00d7, 64\u00d7"), ("NO EVIDENCE", "1\u00d7")]


def test_more_lines_than_marks_make_more_charts(gray: Maker) -> None:
    run = repeated(gray, "conv1", "relu1", "pool1", "conv2", "fc1")
    depth, often = curves(run.load())
    assert (depth.key, often.key) == ("depth", "sends")
    assert [len(one.series) for one in depth.charts] == [4, 4]
    assert [len(one.series) for one in often.charts] == [4, 4, 1, 1]


@pytest.mark.parametrize("name", ["layers", "people", "sends"])
def test_every_format_answers(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    page = html.render(run, "none")
    for one in curves(run.load()):
        for text in (page, terminal.render(run, "none", width=400), markdown.render(run, "none")):
            assert one.question in text
            for _, places in one.answer:
                assert places in text
        for chart in one.charts:
            assert chart.spoken in page
            for series in chart.series:
                assert all(point.text in chart.spoken for point in series.points)


def test_names_of_adversaries_stand_whole_in_the_drawing(people: Run) -> None:
    page = html.render(people, "none")
    drawn = re.search(r'<svg class="rows".*?</svg>', page, re.DOTALL)
    assert drawn is not None
    groups = re.findall(r'<text class="group start"[^>]*>([^<]+) <tspan', drawn[0])
    assert groups == ["white-box", "black-box", "query-free"]
    names = re.findall(r'<text class="row start"[^>]*>([^<]*)<', drawn[0])
    assert names == [one.partition(", ")[2] for one in NAMES]
    assert drawn[0].count('<circle class="mark leak"') == 6


def test_labels_tell_adversaries_apart(people: Run) -> None:
    findings = people.load().findings
    named = labels(findings)
    assert len({(one.where, one.attack, one.detail) for one in named.values()}) == len(findings)
    assert len({str(one) for one in named.values()}) == len(findings)
    shadow = next(one for one in findings if one.attack == "inversion/shadow")
    assert named[shadow.id].detail == "query-free, training set, known structure"
    assert str(named[findings[0].id]) == "likelihood at conv1"
    assert "shadow at relu1 (query-free, same distribution, known structure)" in html.render(
        people, "none"
    )
    scan = sarif.render(people, "none")
    assert "shadow at conv1 (query-free, training set, known structure)" in scan


def test_attack_that_holds_back_is_said_to(gray: Maker) -> None:
    one = gray.finding("a", "conv1")  # a decoder in the hands of who knows the weights
    two = gray.finding("b", "conv1", threat_options={"cut": "conv1", "knows": "queries"})
    named = labels([one, two])
    assert named["a"].detail == "white-box, using black-box queries"
    assert named["b"].detail == "black-box"


def test_adversary_of_a_record_without_settings_has_no_name(gray: Maker) -> None:
    one = gray.finding("a", "conv1", threat="prediction_api", threat_options={"top": 1})
    assert adversaries([one]) == {"a": ""}
    assert labels([one])["a"].detail == "black-box queries"


@pytest.mark.parametrize(
    ("access", "knows", "pictures", "told"),
    [
        ("white-box", "weights", "same distribution", "who holds the model\u2019s weights rebuilt"),
        ("black-box queries", "queries", "noise", "inside, and who owns no pictures but random"),
        ("no queries", "cloud", "training set", "runs the cloud\u2019s part of the model but "),
        ("no queries", "cloud", "training set", "cannot query the device, and who owns the"),
        ("no queries", "nothing", "none", "can use no part of the model, and who owns no"),
        ("no queries", "weights", "same distribution", "does not even query the model rebuilt"),
    ],
)
def test_the_page_says_who_the_attacker_is(
    gray: Maker, access: str, knows: str, pictures: str, told: str
) -> None:
    options = {"cut": "conv1", "knows": knows, "pictures": pictures}
    one = gray.finding("f", "conv1", access=access, threat_options=options)
    assert told in headline(gray.record([(one, [gray.cell(one, 40, 0.9)])]).load()).lead


def test_a_defense_and_repeated_sends_are_said(gray: Maker) -> None:
    told = [
        watched(gray.finding("f", "conv1", threat_options={"cut": "conv1", "sends": n}, defense=by))
        for n, by in ((1, ""), (1, "dropout (rate 0.5)"), (16, ""))
    ]
    assert told == [
        "the message sent after conv1",
        "the message sent after conv1, behind dropout (rate 0.5)",
        "16 messages about each picture sent after conv1",
    ]
