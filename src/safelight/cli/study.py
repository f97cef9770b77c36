"""``safelight study``."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from safelight.cli.carry_out import carry_out
from safelight.cli.plan_options import Device, Seeds, Setting, overrides
from safelight.plan.plan import load_plan
from safelight.reports.evidence import Evidence

#: The keys of ``safelight.auditing.studies.STUDIES``, which is not imported here: it needs torch.
Question = Literal["depth", "knowledge", "repeats"]


def study(
    question: Annotated[
        Question,
        typer.Argument(
            help="depth: every layer of the model is watched, which is safe to cut at? "
            "knowledge: every kind of adversary at the plan's cuts, what must one know? "
            "repeats: each picture is sent 1, 4, 16 and 64 times with fresh noise (the plan's "
            "defense; Gaussian, as strong as the message, if it has none), how fast is the noise "
            "averaged out?"
        ),
    ],
    plan: Annotated[str, typer.Argument(help="a TOML file, or a preset: demo, mnist, ...")],
    out: Annotated[
        Path | None, typer.Option(help="the run's folder; runs/<plan's name>-<question> if not")
    ] = None,
    seeds: Seeds = None,
    device: Device = None,
    setting: Setting = None,
    evidence: Annotated[
        Evidence, typer.Option(help="pictures in the report: full, blurred or none")
    ] = "full",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the study's plan and its cost, attack nothing")
    ] = False,
) -> None:
    """Vary one thing over a plan and audit each: the layer, the adversary, or the sends.

    A study is an audit of another plan, which the run keeps: go on with an unfinished one by
    safelight audit --resume RUN.
    """
    given = load_plan(plan, overrides(setting, seeds, device))
    with Console(stderr=True).status("Loading PyTorch, the pictures and the model"):
        from safelight.auditing.studies import STUDIES

        resolved = STUDIES[question](given)
    if dry_run:
        from safelight.auditing.estimate import estimate

        typer.echo(estimate(resolved))
        return
    carry_out(resolved, out or Path("runs") / resolved.name, evidence)
