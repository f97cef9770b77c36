"""A published table beside ours, as Markdown."""

from collections.abc import Sequence

from safelight.record.record import Measurement
from safelight.record.reproduction import Figures, Row, Table
from safelight.reports import numbers

_HEAD = (
    "| cut | adversary | published: dB / SSIM | ours, their way | ours: PSNR, dB | SSIM "
    "| over the best null | named among 100 | seeds: dB | |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)


def render(title: str, reference: str, tables: Sequence[Table]) -> str:
    """Render the tables of one paper.

    ``ours, their way`` is on the first victim of each class, with SSIM in the range of each claim;
    all other figures are over all victims, SSIM with data range 1, with 95 % intervals.
    """
    said = [
        f"# {title}: published beside ours",
        f"Published: {reference}. *Their way*: ten pictures, the first of each class, and SSIM in "
        "the range of each reconstruction. *Ours*: all victims, SSIM with data range 1; mean and "
        "95 % interval over victims (each figure for itself), which knows nothing of the spread "
        "between seeds: the mean of each stands beside it. A published figure counts as beaten "
        "where both of our lower limits and every seed lie above it.",
    ]
    for table in tables:
        said += [f"## {table.name}", _setting(table), "\n".join([*_HEAD, *map(_line, table.rows)])]
        said.append(_summary(table))
    return "\n\n".join(said) + "\n"


def _setting(table: Table) -> str:
    best = max((value, name) for name, value in table.nulls.items() if name != "nearest public")
    right = f", {numbers.percent(table.accuracy)} right" if table.accuracy else ""
    return (
        f"Target {table.target}{right}; victims: {table.data}. Best null: {best[1]}, SSIM "
        f"{numbers.number(best[0], 3)}. safelight {table.provenance['commit'][:12]}, "
        f"{table.provenance['machine']}, {table.provenance['device']}."
    )


def _line(row: Row) -> str:
    cells = [row.cut, row.adversary, _figures(row.published), _figures(row.as_published)]
    if not row.scores:
        return "| " + " | ".join([*cells, "not run", "", "", "", "", ""]) + " |"
    named = row.scores["named"]
    cells += [
        _measured(row.scores["psnr"], 1),
        _measured(row.scores["ssim"], 3),
        _measured(row.scores["gain"], 3),
        f"{numbers.count(named)} ({numbers.percent_interval(named)})",
        _seeds(row),
        {True: "beaten", False: "not beaten", None: ""}[row.beaten]
        + (" (a control failed)" if row.controls_passed is False else ""),
    ]
    return "| " + " | ".join(cells) + " |"


def _seeds(row: Row) -> str:
    each = zip(row.seeds, row.by_seed["psnr"], strict=True)
    return ", ".join(f"{seed}: {numbers.number(psnr, 1)}" for seed, psnr in each)


def _figures(figures: Figures | None) -> str:
    if figures is None:
        return ""
    return f"{numbers.number(figures.psnr, 2)} / {numbers.number(figures.ssim, 3)}"


def _measured(measurement: Measurement, digits: int) -> str:
    value = numbers.number(measurement.value, digits)
    return f"{value} ({numbers.interval(measurement, digits)})"


def _summary(table: Table) -> str:
    judged = [row for row in table.rows if row.beaten is not None]
    beaten = sum(bool(row.beaten) for row in judged)
    missing = sum(row.published is not None and not row.scores for row in table.rows)
    left = f"; {missing} were not run" if missing else ""
    lost = [f"{row.cut} / {row.adversary}" for row in judged if not row.beaten]
    shortfall = f" Not beaten: {', '.join(lost)}." if lost else ""
    return f"{beaten} of {len(judged)} published cells are beaten{left}.{shortfall}"
