"""``safelight scores``."""

from pathlib import Path
from typing import Annotated

import typer

from safelight.errors import PlanError
from safelight.record.membership import Kind
from safelight.record.store import Run


def scores(
    members: Annotated[
        Path,
        typer.Argument(
            metavar="MEMBERS", help="npz, parquet or CSV: one number for each training example"
        ),
    ],
    nonmembers: Annotated[
        Path,
        typer.Argument(
            metavar="NONMEMBERS", help="the same of examples that the model never trained on"
        ),
    ],
    kind: Annotated[
        Kind,
        typer.Option(
            help="loss: cross-entropy, lower for members. probability: of the true class. score: "
            "any number, higher for members"
        ),
    ] = "loss",
    column: Annotated[
        str | None,
        typer.Option(help="the column or array to read; the only numeric one if not given"),
    ] = None,
    prior: Annotated[
        float, typer.Option(help="share of members among those an attacker would ask about")
    ] = 0.01,
    out: Annotated[
        Path | None,
        typer.Option(help="folder for scores.json and scores.html; older ones in it are replaced"),
    ] = None,
) -> None:
    """Judge membership scores of any model: can its training examples be told from others?

    A column named id, if both files have one, is checked for examples that come twice. The exit
    code is 0 whatever was found.
    """
    if not 0 < prior < 1:
        raise PlanError(f"--prior {prior:g} is not between 0 and 1; give a share such as 0.01")
    from safelight.auditing.score_files import read_pair
    from safelight.auditing.scores import assess
    from safelight.reports.scores import page, text

    record = assess(*read_pair(members, nonmembers, kind, column), kind, prior)
    typer.echo(text(record))
    if out is None:
        return
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlanError(f"cannot make {out}: {error.strerror}; check --out") from None
    folder = Run(out)
    folder.write("scores.json", (record.model_dump_json(indent=1) + "\n").encode())
    folder.write("scores.html", page(record).encode())
    typer.echo(f"Report: {out / 'scores.html'} (it tells an attacker what works: keep it private)")
