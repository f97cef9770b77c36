"""Published rows on prediction APIs beside ours, as Markdown."""

from collections.abc import Sequence

from safelight.record.prediction_reproduction import AS_PUBLISHED, Row, difference
from safelight.record.record import Measurement
from safelight.record.verdict import LINE_UP, SMALLEST_GAIN
from safelight.reports import numbers

_HEAD = (
    "| adversary | published: SSIM / MSE | SSIM | between pairs | MSE | over the best null "
    "| named among 100 | times chance | verdicts | |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)

_PREFIX = "no queries: "

#: What the study's first question compares: the other inputs, each beside the output vector alone.
ALONE = f"{_PREFIX}output"
INPUTS = tuple(
    f"{_PREFIX}{inputs}"
    for inputs in (
        "gradient",
        "activations",
        "output and gradient",
        "output and activations",
        "gradient and activations",
        "all three",
    )
)


def render(title: str, reference: str, rows: Sequence[Row]) -> str:
    """Render the rows of one paper: a table for every defense, then its questions answered."""
    said = [
        f"# {title}: published beside ours",
        f"Published: {reference}. Ours: mean and 95 % interval over victims and, where there are "
        "several, over pairs of target and shadow; the standard deviation between pairs stands "
        "beside it. Differences are taken victim by victim and pair by pair. "
        "SSIM as the study has it (11x11 Gaussian window) where the record "
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
    """Set every other combination of inputs beside the output vector alone, and sum up."""
    bare = [one for one in rows if one.defense == "none"]
    alone = next((one for one in bare if one.name == ALONE and one.scores), None)
    if alone is None:
        return "The output vector alone was not run."
    lines: list[str] = []
    found: dict[str, list[str]] = {}
    for one in bare:
        if one.name not in INPUTS or not one.scores:
            continue
        gap, named = difference(one, alone, _score(one)), difference(one, alone, "named")
        if gap is None or named is None:
            continue
        name = one.name.removeprefix(_PREFIX)
        found.setdefault(_direction(gap, named), []).append(name)
        lines.append(
            f"- {name}: SSIM {_measured(gap, 3, signed=True)} beside the output vector alone, "
            f"share named {_measured(named, 3, signed=True)}"
        )
    if not lines:
        return "No other inputs were run."
    told = "; ".join(f"{what}: {', '.join(names)}" for what, names in found.items())
    return "\n".join(lines) + f"\n\nBeside the output vector alone, {told}."


def _direction(gap: Measurement, named: Measurement) -> str:
    """Return what an input does to SSIM and to the share named, where intervals leave no doubt."""
    signs = [_sign(gap), _sign(named)]
    if max(signs) > 0 > min(signs):
        return "better in one score and worse in the other"
    if any(signs):
        return "better" if sum(signs) > 0 else "worse"
    return "no difference found"


def _sign(gap: Measurement) -> int:
    if gap.low is not None and gap.low > 0:
        return 1
    return -1 if gap.high is not None and gap.high < 0 else 0


def _defenses(rows: Sequence[Row]) -> str:
    """Set every defended row beside the bare one, and say what each defense leaves."""
    lines: list[str] = []
    tried: dict[str, list[Row]] = {}
    for one in rows:
        bare = next(
            (other for other in rows if other.name == one.name and other.defense == "none"), None
        )
        if one.defense == "none" or bare is None:
            continue
        gap, named = difference(one, bare, _score(one)), difference(one, bare, "named")
        if gap is not None and named is not None:
            tried.setdefault(one.defense, []).append(one)
            lines.append(
                f"- {one.defense}, {one.name}: SSIM {_measured(gap, 3, signed=True)}, share named "
                f"{_measured(named, 3, signed=True)} beside the answers as they are; still "
                f"{numbers.number(one.times_chance, 1)} times chance"
            )
    if not lines:
        return "No defense was run on the pairs that were run without one."
    told = [f"- **{defense}** {_left(own)}" for defense, own in tried.items()]
    return "\n".join([*lines, "", "What is left of a picture:", "", *told])


def _left(rows: Sequence[Row]) -> str:
    """Say what adversaries who know a defense still have: pictures, something, or the class."""
    telling = [one.name for one in rows if _names(one)]
    if telling:
        return (
            "does not hide pictures: they are told from others of their class more often than by "
            f"chance ({', '.join(telling)})"
        )
    gains = [one.scores["gain"].low or 0.0 for one in rows]
    blurred = "nobody was found to tell them from others of it more often than by chance"
    if max(gains) > SMALLEST_GAIN:
        return f"blurs pictures towards their class: {blurred}, yet more than its template is left"
    return (
        f"leaves the class alone: {blurred}, and no gain above {SMALLEST_GAIN} SSIM over its "
        "template is certain"
    )


def _names(row: Row) -> bool:
    """Return whether victims are named more often than by guessing and by the template alone."""
    low = row.scores["named"].low
    return low is not None and low > max(1 / LINE_UP, row.template.get("named", 0.0))
