"""``safelight privacy``."""

from pathlib import Path
from typing import Annotated

import typer

from safelight.cli.carry_out import carry_out_leg
from safelight.cli.plan_options import Device, Setting, overrides
from safelight.errors import PlanError
from safelight.plan.plan import load_plan
from safelight.record.membership_audit import MembershipRecord
from safelight.record.store import Run
from safelight.reports.evidence import Evidence


def privacy(
    plan: Annotated[str, typer.Argument(help="a TOML file, or a preset: membership, ...")],
    epsilons: Annotated[
        str, typer.Option(help="as in 0.5,1,3,8,none, where none is without privacy")
    ] = "0.5,1,3,8,none",
    out: Annotated[
        Path | None,
        typer.Option(
            help="folder of the audits, taken up again where it was left; "
            "runs/<plan's name>-privacy if not given"
        ),
    ] = None,
    private: Annotated[
        list[str] | None,
        typer.Option(
            help="a key of the plan for private training alone, as in "
            "target.fit.learning_rate=0.25; may be repeated"
        ),
    ] = None,
    device: Device = None,
    setting: Setting = None,
    evidence: Annotated[
        Evidence, typer.Option(help="pictures in the audits' reports: full, blurred or none")
    ] = "full",
) -> None:
    """Does differential privacy help? Audit membership at several epsilons, and recommend one.

    Each epsilon is an audit with a folder and a report of its own; the sweep's page shows what
    accuracy each keeps, what the best attack still tells, and what is promised.
    """
    given = load_plan(plan, overrides(setting, None, device))
    from safelight.auditing import privacy_sweep as sweeping
    from safelight.reports.privacy_sweep import page, text

    legs = sweeping.legs(given, sweeping.read_epsilons(epsilons), private or [])
    folder = out or Path("runs") / f"{given.name}-privacy"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlanError(f"cannot make {folder}: {error.strerror}; check --out") from None
    records = []
    for number, leg in enumerate(legs, 1):
        typer.echo(f"{leg.plan.name} ({number} of {len(legs)})", err=True)
        records.append(carry_out_leg(leg, folder, evidence, MembershipRecord))
    record = sweeping.gather(given, legs, records, private or [])
    sweep = Run(folder)
    sweep.write("privacy.json", (record.model_dump_json(indent=1) + "\n").encode())
    sweep.write("report.html", page(record).encode())
    typer.echo(text(record))
    typer.echo(
        f"Report: {folder / 'report.html'}; each audit has its own in "
        f"{', '.join(leg.folder for leg in legs)}"
    )
