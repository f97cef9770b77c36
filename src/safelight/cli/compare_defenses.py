"""Run a scorecard for a person: an audit for each candidate, then all of them beside each other."""

from pathlib import Path

import typer

from safelight.cli.carry_out import carry_out_leg
from safelight.errors import PlanError
from safelight.plan.plan import Plan, load_plan, to_toml
from safelight.record.record import Record
from safelight.record.store import Run
from safelight.reports.evidence import Evidence


def compare_defenses(plan: Plan, folder: Path, evidence: Evidence) -> None:
    """Audit a plan behind each of its candidates, going on with what is there, and recommend."""
    from safelight.auditing import scorecard
    from safelight.reports.scorecard import page, text

    legs = scorecard.legs(plan)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlanError(f"cannot make {folder}: {error.strerror}; check --out") from None
    run = Run(folder)
    _refuse_others(folder, plan, {leg.folder for leg in legs})
    folder.chmod(0o700)
    run.write("plan.toml", to_toml(plan).encode())
    records = []
    for number, leg in enumerate(legs, 1):
        typer.echo(f"{leg.folder} ({number} of {len(legs)})", err=True)
        records.append(carry_out_leg(leg, folder, evidence, Record))
    record = scorecard.gather(plan, legs, records)
    run.write("scorecard.json", (record.model_dump_json(indent=1) + "\n").encode())
    run.write("report.html", page(run, record, evidence).encode())
    typer.echo(text(record))
    typer.echo(
        f"Report: {folder / 'report.html'} (it shows people's pictures: keep it private); each "
        f"audit has its own in {', '.join(leg.folder for leg in legs)}"
    )


def _refuse_others(folder: Path, plan: Plan, legs: set[str]) -> None:
    """Refuse a folder that holds anything but an earlier scorecard of the same plan."""
    known = legs | {"plan.toml", "scorecard.json", "report.html"}
    others = sorted(one.name for one in folder.iterdir() if one.name not in known)
    if others:
        raise PlanError(f"{folder} holds {others[0]}; give another --out for the scorecard")
    if (folder / "plan.toml").is_file() and load_plan(folder / "plan.toml") != plan:
        raise PlanError(f"{folder} holds the scorecard of another plan; give another --out")
