"""``safelight cite``."""

from pathlib import Path
from typing import Annotated

import typer

from safelight.record.store import load_record


def cite(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="the run's folder")],
) -> None:
    """Print the BibTeX of every method that a run used."""
    record = load_record(folder)
    for entry in dict.fromkeys(one.bibtex for one in record.components if one.bibtex):
        typer.echo(entry + "\n")
