"""``safelight audit``."""

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli.carry_out import carry_out
from safelight.cli.compare_defenses import compare_defenses
from safelight.cli.plan_options import Device, Seeds, Setting, overrides
from safelight.errors import PlanError
from safelight.plan.plan import load_plan, parse_plan
from safelight.record.kinds import load_any
from safelight.reports.evidence import Evidence


def audit(
    plan: Annotated[
        str | None, typer.Argument(help="a TOML file, or a preset: demo, mnist, ...")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="the run's folder; runs/<plan's name> if not given")
    ] = None,
    seeds: Seeds = None,
    device: Device = None,
    setting: Setting = None,
    resume: Annotated[
        Path | None, typer.Option(help="go on with the unfinished run in this folder")
    ] = None,
    evidence: Annotated[
        Evidence, typer.Option(help="pictures in the report: full, blurred or none")
    ] = "full",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the resolved plan and its cost, attack nothing")
    ] = False,
) -> None:
    """Run a plan: what can be rebuilt, told or read out of the model, and how sure is that?"""
    if resume is not None:
        if plan or out or seeds or device or setting or dry_run:
            raise PlanError("--resume takes the plan from the run; give nothing but --evidence")
        if (resume / "plan.toml").is_file() and not (resume / "record.json").is_file():
            begun = load_plan(resume / "plan.toml")
            if begun.defenses:
                compare_defenses(begun, resume, evidence)
            else:  # stopped before its first record
                (resume / "plan.toml").unlink()
                carry_out(begun, resume, evidence)
            return
        old = load_any(resume)
        carry_out(parse_plan(old.plan, str(resume)), resume, evidence, resume=True)
        return
    if plan is None:
        raise PlanError("no plan given; name a TOML file or a preset, or --resume a run")
    resolved = load_plan(plan, overrides(setting, seeds, device))
    if dry_run:
        from safelight.auditing.estimate import estimate
        from safelight.auditing.scorecard import legs

        typer.echo(estimate(resolved))
        if resolved.defenses:
            typer.echo(
                f"# {len(legs(resolved))} audits like this one: without a defense and behind each; "
                "behind what changes messages, attackers are tried knowing it and not knowing it"
            )
        return
    if resolved.defenses:
        compare_defenses(resolved, out or Path("runs") / resolved.name, evidence)
        return
    carry_out(resolved, out or Path("runs") / resolved.name, evidence)
