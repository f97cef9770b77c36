"""``safelight reproduce``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from safelight.cli.carry_out import carry_out
from safelight.errors import PlanError
from safelight.plan.plan import override
from safelight.record.store import Run


def reproduce(
    paper: Annotated[str, typer.Argument(help="split-inference")],
    scale: Annotated[
        Literal["quick", "full"],
        typer.Option(help="quick: minutes, few pictures; full: what the figures are quoted from"),
    ] = "quick",
    out: Annotated[
        Path | None, typer.Option(help="folder of the runs, taken up again where it was left")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="only this data set; may be repeated")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="any key of the plans, as in seeds=[0]")
    ] = None,
) -> None:
    """Measure a paper's tables anew, and set the published figures beside ours."""
    from safelight.auditing import reproduction
    from safelight.reports import comparison

    described = reproduction.load_paper(paper)
    plans = reproduction.plans(described, scale)
    for name in table or []:
        if name not in plans:
            raise PlanError(f"{paper} has no table {name!r}; choose from: {', '.join(plans)}")
    folder = out or Path("runs") / f"{paper}-{scale}"
    tables = []
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
        tables.append(reproduction.table(described, name, run.load()))
    text = comparison.render(described["title"], described["reference"], tables)
    (folder / "comparison.md").write_text(text)
    for one in tables:
        (folder / f"{one.name}.json").write_text(one.model_dump_json(indent=1) + "\n")
    typer.echo(text)
    typer.echo(f"Written to {folder / 'comparison.md'}; one run a table beside it, each resumable")
