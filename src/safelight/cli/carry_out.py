"""Run an audit for a person: a progress bar, the record, the report, a summary."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from safelight.plan.plan import Plan
from safelight.record.kinds import AnyRecord
from safelight.record.store import Run
from safelight.reports.evidence import Evidence

if TYPE_CHECKING:
    from safelight.auditing.legs import Leg

Kind = TypeVar("Kind", bound=AnyRecord)


def carry_out(
    plan: Plan,
    folder: Path,
    evidence: Evidence,
    *,
    resume: bool = False,
    brief: bool = False,
    again: str = "",
) -> None:
    """Audit, keep everything in the folder, and print what was found unless ``brief``.

    Interrupted, it says how to go on (``again``, or the resuming of an audit) and exits with 130.
    """
    console = Console()
    with console.status("Loading PyTorch, the pictures and the model"):
        from safelight.auditing.question import begin
        from safelight.reports.render import render

        audit = begin(plan)
    run = Run(folder)
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("starting", total=None)

            def tell(doing: str, done: int, total: int) -> None:
                bar.update(task, description=doing, completed=done, total=total)

            audit(run, tell, resume)
    except KeyboardInterrupt:
        again = again or f"safelight audit --resume {folder}"
        typer.echo(f"stopped; continue with: {again}", err=True)
        raise typer.Exit(130) from None
    run.write("report.html", render(run, "html", evidence).encode())
    if brief:
        return
    typer.echo(render(run, "terminal", evidence))
    typer.echo(f"Report: {folder / 'report.html'} (it shows people's pictures: keep it private)")


def carry_out_leg(leg: "Leg", folder: Path, evidence: Evidence, kind: type[Kind]) -> Kind:
    """Run one audit of several, go on with it, or take what it found when it was finished.

    Raises:
        RecordError: its folder holds another audit.
    """
    run = Run(folder / leg.folder)
    begun = run.record_file.is_file()
    if begun and (found := leg.record(run, kind)).status == "complete":
        return found
    again = "the same command"
    carry_out(leg.plan, run.folder, evidence, resume=begun, brief=True, again=again)
    return leg.record(run, kind)
