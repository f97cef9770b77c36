"""A threat-model entry with measured values in place of words, and what moves them."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from safelight.record.generator_reproduction import (
    Entry,
    FactorRow,
    GeneratorReproduction,
    Level,
    Reached,
)
from safelight.record.record import Measurement
from safelight.reports import charts, numbers
from safelight.reports.sentences import plain
from safelight.reports.template import fill

#: What holds whatever was measured.
CAVEATS = (
    "An entry is about these attacks, this training and these pictures. NO EVIDENCE does not say "
    "that there is no memory, and INCONCLUSIVE says nothing at all: with few pictures an audit "
    "cannot tell a small leak from none.",
    "Intervals are over pictures. With one training a level they say nothing of another training "
    "of the same generator, which may remember more or less.",
    "Architectures are as large and as long in training as stands beside them. Where these "
    "differ, the entries do not say which architecture remembers more.",
    "In w+ nearly any picture is reconstructed, trained on or not: only members against others "
    "count.",
    "What was not varied here: weight decay and dropout, the attacker's knowledge of a person "
    "beyond own pictures, faces.",
)

#: What is said to help, and where that is measured.
MITIGATION = (
    "differential privacy, data selection, output filters",
    "not measured here: audit the same plan with a defense such as dp_gan",
)

#: What the columns and words of both tables mean.
NOTES = (
    "AUC: how often a training picture scores higher than another; chance is 0.5. TPR: share of "
    "training pictures caught where 1% of the others are called so. Their intervals hold for all "
    "tests of an audit together (95%). Extracted: a claimed picture lies nearer to the training "
    "picture than half of its mean distance to the 50 nearest pictures that nobody trained on; "
    "falsely: the same rule on pictures never trained on.",
    "A comparison is the AUC of the first level less that of the last. Its interval holds for all "
    "comparisons together (95%, percentile bootstrap). Paired: both levels were asked about the "
    "very same pictures, which are drawn together. Confirmed: the interval lies above 0; refuted: "
    "below; open: it holds 0.",
)

_FACTORS = (
    "| factor | said | attack | AUC at each level | difference | paired | |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


@dataclass(frozen=True)
class Part:
    """One line of an entry: what it is about, its word, and what was measured."""

    name: str
    word: str
    value: str
    outcome: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Figure:
    """One factor: the sentence, the chart of its levels, and (attack, leak) of each series."""

    name: str
    sentence: str
    chart: Markup
    series: list[tuple[str, bool]]


def markdown(made: GeneratorReproduction) -> str:
    """Render everything as Markdown."""
    said = [
        f"# {plain(made.title)}: what was said, and what was measured",
        f"Said: {made.reference}. Measured: the {made.scale} scale, safelight {made.safelight}.",
        "\n".join(f"- {one}" for one in headlines(made)),
        *NOTES,
        "## What moves it",
    ]
    if made.factors:
        said += ["\n".join(f"- {one}" for one in sentences(made))]
        said += ["\n".join([*_FACTORS, *(_celled(_cells(one)) for one in made.factors)])]
    if made.missing:
        said.append(f"Not measured, for not both ends were run: {', '.join(made.missing)}.")
    for one in made.entries:
        said += [f"## {plain(one.architecture)}", "\n".join(_table(made, one))]
    said += ["## What this cannot tell", "\n".join(f"- {one}" for one in CAVEATS)]
    return "\n\n".join(said) + "\n"


def page(made: GeneratorReproduction) -> str:
    """Render everything as one self-contained HTML page."""
    return fill(
        "generator_comparison.html.j2",
        made=made,
        headlines=headlines(made),
        entries=[(one, parts(made, one)) for one in made.entries],
        figures=figures(made),
        rows=[(one, _cells(one)) for one in made.factors],
        notes=NOTES,
        caveats=CAVEATS,
        sample=charts.sample,
        plain=plain,
    )


def parts(made: GeneratorReproduction, entry: Entry) -> list[Part]:
    """Return the lines of an entry, in the order in which a threat model has them."""
    trainings = "1 training" if entry.trainings == 1 else f"{entry.trainings} trainings"
    found = [
        Part(
            "Asset",
            "the training set",
            f"{entry.trained_on}; {entry.candidates:,} of {entry.pictures:,} and as many that it "
            f"never saw are asked about; {entry.classes} classes",
        ),
        Part(
            "Affected component",
            "the trained model and its run function",
            f"{entry.architecture}, {entry.parameters:,} weights, {entry.steps:,} steps, "
            f"{trainings}",
        ),
        Part("Attacker", "auxiliary information helps", f"owns {entry.owned:,} other pictures"),
    ]
    found += [_access(made, entry, one) for one in entry.reached]
    found += [Part("Not run", "", one) for one in entry.not_run]
    verdicts = _counted(entry.verdicts)
    found.append(
        Part(
            "Effort",
            "significant resources",
            f"{entry.queries:,} pictures made, {numbers.duration(entry.seconds)}",
        )
    )
    severity = f"{entry.severity}: {entry.reason}"
    found.append(Part("Severity", made.words.get("severity", ""), severity, verdicts, _kind(entry)))
    found.append(Part("Mitigation", *MITIGATION))
    if entry.failed:
        found.append(Part("Controls that failed", "", "; ".join(entry.failed)))
    return found


def sentences(made: GeneratorReproduction) -> list[str]:
    """Return one sentence for each factor."""
    return [_sentence(own) for own in _by_factor(made.factors)]


def headlines(made: GeneratorReproduction) -> list[str]:
    """Return the findings: what was confirmed, refuted or left open of all that is said."""
    said: dict[str, list[str]] = {}
    for claim in dict.fromkeys(one.said for one in made.factors):
        own = [one for one in made.factors if one.said == claim]
        outcomes = {one.outcome for one in own}
        if len(outcomes) == 1:
            several = len({one.attack for one in own}) > 1
            name = outcomes.pop().capitalize() + (", whatever the attack" if several else "")
        elif {"confirmed", "refuted"} <= outcomes:
            name = "Comparisons contradict each other"
        else:
            name = f"{min(outcomes - {'open'}).capitalize()} in some comparisons, open in others"
        said.setdefault(name, []).append(claim)
    return [plain(f"{name}: {'; '.join(claims)}.") for name, claims in said.items()]


def figures(made: GeneratorReproduction) -> list[Figure]:
    """Return one figure for each factor."""
    found = []
    for own in _by_factor(made.factors):
        places = [one.name for one in own[0].levels]
        series = [charts.Series(row.attack, [_placed(one) for one in row.levels]) for row in own]
        coin = charts.Reference("chance", "a coin", 0.5)
        sentence = _sentence(own)
        found.append(
            Figure(
                own[0].factor,
                sentence,
                charts.curve(places, series, [coin], False, f"Member AUC. {sentence}"),
                [(row.attack, any(one.leak for one in row.levels)) for row in own],
            )
        )
    return found


def _by_factor(rows: Sequence[FactorRow]) -> list[list[FactorRow]]:
    names = dict.fromkeys(one.factor for one in rows)
    return [[one for one in rows if one.factor == name] for name in names]


def _placed(level: Level) -> charts.Point:
    return charts.Point(level.name, level.auc, level.low, level.high, level.leak)


def _sentence(rows: Sequence[FactorRow]) -> str:
    first, last = rows[0].levels[0].name, rows[0].levels[-1].name
    named = first != rows[0].attack.partition(" against ")[0]
    told = ", ".join(
        f"{numbers.number(one.difference, 3, signed=True)} ({_between(one)}"
        + (f", {one.outcome}) by {_by(one.attack)}" if named else f", {one.outcome})")
        for one in rows
    )
    name = rows[0].factor[0].upper() + rows[0].factor[1:]
    return plain(f"{name}: with {first} in place of {last} the member AUC differs by {told}.")


def _by(attack: str) -> str:
    return attack if attack.startswith("pictures") else f"the {attack}"


def _between(row: FactorRow) -> str:
    measured = Measurement(
        value=row.difference,
        low=row.low,
        high=row.high,
        level=row.level,
        n=row.members,
        seeds=row.trainings,
        chance=0.0,
        worse="higher",
        unit="difference of AUC",
    )
    return numbers.interval(measured, 3, signed=True)


def _access(made: GeneratorReproduction, entry: Entry, one: Reached) -> Part:
    value = (
        f"AUC {numbers.number(one.auc.value, 3)} ({numbers.interval(one.auc, 3)}), TPR at 1% FPR "
        f"{numbers.percent(one.tpr.value or 0.0)} ({numbers.percent_interval(one.tpr)})"
    )
    if one.extracted:
        had, falsely = (", ".join(map(str, own)) for own in (one.extracted, one.falsely))
        n = entry.candidates
        value = f"{had} of {n} extracted, {falsely} of {n} falsely; {value}"
    name = f"{one.attack[0].upper()}{one.attack[1:]} ({one.access})"
    kind = "leak" if "LEAK" in one.outcomes else "open"
    kind = "clear" if set(one.outcomes) == {"NO EVIDENCE"} else kind
    return Part(name, made.words.get(one.attack, ""), value, _counted(one.outcomes), kind)


def _counted(outcomes: Sequence[str]) -> str:
    """Write outcomes of one training as they are, of several with their numbers."""
    names = dict.fromkeys(outcomes)
    if len(outcomes) == 1:
        return outcomes[0]
    return ", ".join(f"{name} in {outcomes.count(name)} of {len(outcomes)}" for name in names)


def _kind(entry: Entry) -> str:
    if "LEAK" in entry.verdicts:
        return "leak"
    return "clear" if set(entry.verdicts) == {"NO EVIDENCE"} else "open"


def _table(made: GeneratorReproduction, entry: Entry) -> list[str]:
    lines = ["| | in words | measured | verdict |", "| --- | --- | --- | --- |"]
    for one in parts(made, entry):
        lines.append(_celled((one.name, one.word, one.value, one.outcome)))
    return lines


def _celled(cells: Sequence[str]) -> str:
    return "| " + " | ".join(plain(cell).replace("|", "/") for cell in cells) + " |"


def _cells(row: FactorRow) -> list[str]:
    levels = "; ".join(f"{one.name}: {numbers.number(one.auc, 3)}" for one in row.levels)
    sides = {"members": row.members_paired, "others": row.others_paired}
    paired = " and ".join(name for name, both in sides.items() if both) or "no"
    return [
        row.factor,
        row.said,
        row.attack,
        levels,
        f"{numbers.number(row.difference, 3, signed=True)} ({_between(row)})",
        paired,
        row.outcome,
    ]
