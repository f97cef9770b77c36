"""``safelight gate``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from safelight.record.compare import at_least, new_since, unfinished
from safelight.record.kinds import load_any


def gate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="the run's folder")],
    fail_on: Annotated[
        Literal["low", "medium", "high", "critical"],
        typer.Option(help="the mildest leak that fails"),
    ] = "low",
    baseline: Annotated[
        Path | None, typer.Option(help="an older run: only what is new or worse since then fails")
    ] = None,
) -> None:
    """Pass or fail a record, for CI.

    Exit code 0: nothing at or above the severity. 1: findings. 2: wrong use. 3: incomplete, so
    that nothing can be cleared.
    """
    record = load_any(folder)
    findings = at_least(record, fail_on)
    if baseline is not None:
        findings = new_since(record, findings, load_any(baseline))
    for one in findings:
        typer.echo(f"{one.verdict.severity}: {one.where} / {one.attack}: {one.verdict.reason}")
    if findings:
        raise typer.Exit(1)
    open_ends = unfinished(record)
    for reason in open_ends:
        typer.echo(f"incomplete: {reason}")
    if open_ends:
        raise typer.Exit(3)
    typer.echo(f"no leak at or above {fail_on}{' that is new' if baseline else ''}")
