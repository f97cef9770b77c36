"""``safelight report``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from safelight.record.store import Run
from safelight.reports.evidence import Evidence
from safelight.reports.render import render


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="the run's folder")],
    form: Annotated[
        Literal["html", "markdown", "sarif", "terminal"], typer.Option("--format")
    ] = "html",
    evidence: Annotated[
        Evidence, typer.Option(help="pictures: full, blurred to 4x4 blocks, or none")
    ] = "full",
    out: Annotated[
        Path | None, typer.Option(help="file to write; RUN/report.html for html, else the screen")
    ] = None,
) -> None:
    """Render a record again; nothing is recomputed."""
    run = Run(folder)
    text = render(run, form, evidence)
    if out is None and form == "html":
        run.write("report.html", text.encode())
        typer.echo(f"Report: {folder / 'report.html'}")
    elif out is None:
        typer.echo(text)
    else:
        Run(out.parent).write(out.name, text.encode())
