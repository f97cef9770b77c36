"""``safelight demo``."""

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli.carry_out import carry_out
from safelight.plan.plan import load_plan
from safelight.record.store import Run


def demo(
    out: Annotated[Path, typer.Option(help="the run's folder; an older demo in it is replaced")] = (
        Path("runs/demo")
    ),
) -> None:
    """Audit a small digit classifier on real digits: offline, in about a minute."""
    plan = load_plan("demo")
    Run(out).clear(plan.name)
    carry_out(plan, out, "full")
