"""The options by which a command changes the plan that it is given."""

from collections.abc import Sequence
from typing import Annotated

import typer

Seeds = Annotated[str | None, typer.Option(help="attack seeds, as in 0,1,2")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="any key of the plan, as in data.victims.count=500; may be repeated"
    ),
]


def overrides(setting: Sequence[str] | None, seeds: str | None, device: str | None) -> list[str]:
    """Return the options as ``dotted.key=value`` items."""
    items = list(setting or [])
    items += [f"seeds=[{seeds}]"] if seeds is not None else []
    items += [f"device='{device}'"] if device is not None else []
    return items
