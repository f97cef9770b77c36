"""The entry point: gather the commands, turn what a user can mend into one line and exit code 2."""

import sys

import typer

from safelight.cli.audit import audit
from safelight.cli.cite import cite
from safelight.cli.convert import convert
from safelight.cli.demo import demo
from safelight.cli.encrypt import encrypt
from safelight.cli.explain import explain
from safelight.cli.filter import filter_app
from safelight.cli.gate import gate
from safelight.cli.inspect import inspect
from safelight.cli.list import list_components
from safelight.cli.privacy import privacy
from safelight.cli.report import report
from safelight.cli.reproduce import reproduce
from safelight.cli.scores import scores
from safelight.cli.study import study
from safelight.errors import SafelightError

app = typer.Typer(
    help="Audit what a vision model leaks about the pictures it sees.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(audit)
app.command()(study)
app.command()(report)
app.command()(gate)
app.command("list")(list_components)
app.command()(explain)
app.command()(cite)
app.command()(reproduce)
app.command()(inspect)
app.command()(scores)
app.command()(privacy)
app.command()(encrypt)
app.command()(convert)
app.add_typer(filter_app, name="filter")


def run() -> None:
    """Run the command line."""
    try:
        app()
    except SafelightError as error:
        typer.echo(f"safelight: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    run()
