"""Published rows on prediction APIs beside ours, as Markdown."""

from collections.abc import Sequence

from safelight.record.prediction_reproduction import AS_PUBLISHED, Row, difference
from safelight.record.record import Measurement
from safelight.reports import numbers

_HEAD = (
    "| adversary | published: SSIM / MSE | SSIM | between pairs | MSE | over the best null "
    "| named among 100 | times chance | verdicts | |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)

#: Rows whose inputs the study's first question compares, beside the output vector alone.
ALONE = "no queries: output"

_INPUTS = "no queries: "


def render(title: str, reference: str, rows: Sequence[Row]) -> str:
    """Render the rows of one paper: a table for every defense, then its questions answered."""
    said = [
        f"# {title}: published beside ours",
        f"Published: {reference}. Ours: mean and 95 % interval over victims, whose scores are "
        "averaged over pairs of target and shadow first; the standard deviation between pairs "
        "stands beside it. SSIM as the study has it (11x11 Gaussian window) where the record "
        "holds it, else with a 7x7 window; gains are over the best null with a 7x7 window.",
    ]
    for defense in dict.fromkeys(one.defense for one in rows):
        own = [one for one in rows if one.defense == defense]
        said += [f"## {_titled(defense)}", _null(own), "\n".join([*_HEAD, *map(_line, own)])]
    said += ["## Which inputs help?", _inputs(rows)]
    said += ["## Do rounding and truncation protect the picture?", _defenses(rows)]
    return "\n\n".join(said) + "\n"


def _titled(defense: str) -> str:
    return "Answers as they are" if defense == "none" else f"Answers, {defense}"


def _score(row: Row) -> str:
    return AS_PUBLISHED if AS_PUBLISHED in row.scores else "ssim"


def _null(rows: Sequence[Row]) -> str:
    known = next((one for one in rows if one.template), None)
    if known is None:
        return "Nothing was run."
    score, mse = known.template[_score(known)], known.template["mse"]
    return (
        f"Null, a constant picture per class: SSIM {numbers.number(score, 3)}, MSE "
        f"{numbers.number(mse, 4)}, which every published figure is to be read beside."
    )


def _line(row: Row) -> str:
    told = "" if row.published is None else f"{row.published[0]:.4f} / {row.published[1]:.4f}"
    if not row.scores:
        return "| " + " | ".join([row.name, told, "not run", *[""] * 7]) + " |"
    score, named = row.scores[_score(row)], row.scores["named"]
    outcomes = ", ".join(dict.fromkeys(row.outcomes))
    cells = [
        row.name,
        told,
        _measured(score, 3),
        numbers.number(row.spread[_score(row)], 3) if row.pairs > 1 else "one pair",
        _measured(row.scores["mse"], 4),
        _measured(row.scores["gain"], 3, signed=True),
        f"{numbers.count(named)} ({numbers.percent_interval(named)})",
        numbers.number(row.times_chance, 1),
        outcomes,
        "a control failed" if row.controls_passed is False else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _measured(measurement: Measurement, digits: int, signed: bool = False) -> str:
    value = numbers.number(measurement.value, digits, signed)
    return f"{value} ({numbers.interval(measurement, digits, signed)})"


def _inputs(rows: Sequence[Row]) -> str:
    bare = [one for one in rows if one.defense == "none"]
    alone = next((one for one in bare if one.name == ALONE and one.scores), None)
    if alone is None:
        return "The output vector alone was not run."
    lines = []
    for one in bare:
        if not one.name.startswith(_INPUTS) or one.name == ALONE or not one.scores:
            continue
        gap, named = difference(one, alone, _score(one)), difference(one, alone, "named")
        if gap is not None and named is not None:
            lines.append(
                f"- {one.name.removeprefix(_INPUTS)}: SSIM {_measured(gap, 3, signed=True)} "
                f"beside the output vector alone ({_direction(gap)}), share named "
                f"{_measured(named, 3, signed=True)}"
            )
    return "\n".join(lines) or "No other inputs were run."


def _direction(gap: Measurement) -> str:
    if gap.low is not None and gap.low > 0:
        return "they help"
    if gap.high is not None and gap.high < 0:
        return "they hurt"
    return "no difference found"


def _defenses(rows: Sequence[Row]) -> str:
    lines = []
    for one in rows:
        bare = next(
            (other for other in rows if other.name == one.name and other.defense == "none"), None
        )
        if one.defense == "none" or bare is None:
            continue
        gap, named = difference(one, bare, _score(one)), difference(one, bare, "named")
        if gap is not None and named is not None:
            lines.append(
                f"- {one.defense}, {one.name}: SSIM {_measured(gap, 3, signed=True)}, share named "
                f"{_measured(named, 3, signed=True)} beside the answers as they are; still "
                f"{numbers.number(one.times_chance, 1)} times chance"
            )
    return "\n".join(lines) or "No defense was run."
