"""``safelight reproduce``."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from safelight.cli.carry_out import carry_out
from safelight.errors import PlanError
from safelight.plan.plan import Plan, override
from safelight.record.store import Run

Scale = Literal["quick", "full"]

#: Sets what was measured beside what was said: description, runs by name, and folder to a text.
Compare = Callable[[Mapping[str, Any], Mapping[str, Run], Path], str]


def reproduce(
    paper: Annotated[
        str,
        typer.Argument(
            help="split-inference, network-inversion, shadow-reconstructions, stylegan-leakage"
        ),
    ],
    scale: Annotated[
        Scale,
        typer.Option(help="quick: minutes, few pictures; full: what the figures are quoted from"),
    ] = "quick",
    out: Annotated[
        Path | None, typer.Option(help="folder of the runs, taken up again where it was left")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(help="only this data set, architecture or variant; may be repeated"),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="any key of the plans, as in seeds=[0]")
    ] = None,
) -> None:
    """Measure a paper's tables anew, and set the published figures beside ours.

    stylegan-leakage is a threat model without figures: its words are replaced by measured values.
    """
    from safelight.auditing import reproduction

    described = reproduction.load_paper(paper)
    plans, compare = _of(described, scale)
    for name in table or []:
        if name not in plans:
            raise PlanError(f"{paper} has no table {name!r}; choose from: {', '.join(plans)}")
    folder = out or Path("runs") / f"{paper}-{scale}"
    runs = {}
    for name in table or plans:
        run = Run(folder / name)
        plan = override(plans[name], setting or [], f"the reproduction of {name}")
        carry_out(
            plan,
            run.folder,
            "full",
            resume=run.record_file.is_file(),
            brief=True,
            again=f"safelight reproduce {paper} --scale {scale} --out {folder}",
        )
        runs[name] = run
    text = compare(described, runs, folder)
    Run(folder).write("comparison.md", text.encode())
    typer.echo(text)
    typer.echo(f"Written to {folder / 'comparison.md'}; one run a table beside it, each resumable")


def _of(described: Mapping[str, Any], scale: Scale) -> tuple[dict[str, Plan], Compare]:
    """Return the plans of a description, by its kind, and what compares their runs."""
    from safelight.auditing import (
        extraction_reproduction,
        generator_reproduction,
        prediction_reproduction,
        reproduction,
    )

    if "factors" in described:
        return generator_reproduction.plans(described, scale), partial(_words, scale)
    if "architectures" in described:
        return extraction_reproduction.plans(described, scale), _weights
    if "pairs" in described:
        return prediction_reproduction.plans(described, scale), _answers
    return reproduction.plans(described, scale), _messages


def _messages(described: Mapping[str, Any], runs: Mapping[str, Run], folder: Path) -> str:
    """Set pictures rebuilt from messages beside the paper's, and keep a table each."""
    from safelight.auditing import reproduction
    from safelight.reports import comparison

    tables = [reproduction.table(described, name, run.load()) for name, run in runs.items()]
    for one in tables:
        Run(folder).write(f"{one.name}.json", (one.model_dump_json(indent=1) + "\n").encode())
    return comparison.render(described["title"], described["reference"], tables)


def _answers(described: Mapping[str, Any], runs: Mapping[str, Run], folder: Path) -> str:
    """Set pictures rebuilt from answers beside the paper's, and keep the rows."""
    from safelight.auditing import prediction_reproduction
    from safelight.reports import prediction_comparison

    records = {name: run.load() for name, run in runs.items()}
    rows = prediction_reproduction.rows(described, records)
    kept = ",\n".join(one.model_dump_json() for one in rows)
    Run(folder).write("rows.json", f"[{kept}]\n".encode())
    return prediction_comparison.render(described["title"], described["reference"], rows)


def _words(
    scale: Scale,
    described: Mapping[str, Any],
    runs: Mapping[str, Run],
    folder: Path,
) -> str:
    """Put measured values in place of a threat model's words; keep them, and a page."""
    from safelight.auditing import generator_reproduction
    from safelight.record.generator import load_generator_record
    from safelight.reports import generator_comparison

    records = {name: load_generator_record(run.folder) for name, run in runs.items()}
    made = generator_reproduction.gather(described, scale, records)
    Run(folder).write("comparison.json", (made.model_dump_json(indent=1) + "\n").encode())
    Run(folder).write("comparison.html", generator_comparison.page(made).encode())
    return generator_comparison.markdown(made)


def _weights(described: Mapping[str, Any], runs: Mapping[str, Run], _: Path) -> str:
    """Set training pictures read out of weights beside what the paper claims."""
    from safelight.auditing import extraction_reproduction
    from safelight.record.extraction import load_extraction
    from safelight.reports import extraction_comparison

    records = {name: load_extraction(run.folder) for name, run in runs.items()}
    rows = [
        row
        for name, record in records.items()
        for row in extraction_reproduction.rows(described, name, record)
    ]
    claims = extraction_reproduction.claims(described, records)
    return extraction_comparison.render(described["title"], described["reference"], rows, claims)
