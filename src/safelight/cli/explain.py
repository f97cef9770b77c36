"""``safelight explain``."""

from typing import Annotated

import typer

from safelight import catalog


def explain(
    name: Annotated[str, typer.Argument(help="as in `safelight list`")],
) -> None:
    """Explain one component: what it does, needs and offers, its options and its reference."""
    typer.echo(catalog.explain(catalog.kind_of(name), name))
