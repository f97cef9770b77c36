import sys
from typing import NamedTuple

import pytest

from safelight.cli.main import run


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch, capsys):
    """Type a command and return its exit code, output and errors."""

    def type_in(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["safelight", *(str(word) for word in words)])
        capsys.readouterr()
        try:
            run()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Outcome(code, *capsys.readouterr())

    return type_in
