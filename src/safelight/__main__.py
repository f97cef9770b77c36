"""``python -m safelight``."""

from safelight.cli.main import run

run()
