"""``safelight cite``."""

from pathlib import Path
from typing import Annotated

import typer

from safelight.record.kinds import load_any


def cite(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="the run's folder")],
) -> None:
    """Print the BibTeX of every method that a run used."""
    record = load_any(folder)
    for entry in dict.fromkeys(one.bibtex for one in record.components if one.bibtex):
        typer.echo(entry + "\n")
