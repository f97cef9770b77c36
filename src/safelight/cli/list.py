"""``safelight list``."""

from typing import Annotated

import typer

from safelight import catalog
from safelight.plan.plan import presets
from safelight.reports import FORMATS


def list_components(
    kind: Annotated[str | None, typer.Argument(help=", ".join(catalog.ROOMS))] = None,
) -> None:
    """List what exists: threats, attacks, classifiers, reports, and the plans that are shipped."""
    for one in [kind] if kind else catalog.ROOMS:
        typer.echo(f"{one}")
        for name in catalog.names(one):
            typer.echo(f"  {name:<24} {catalog.summary(one, name)}")
    if kind is None:
        typer.echo(f"plan\n  {', '.join(presets())}")
        typer.echo(f"report\n  {', '.join(FORMATS)}")
