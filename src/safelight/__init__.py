"""Safelight: audit what a vision model leaks about the pictures it sees.

    >>> import safelight
    >>> plan = safelight.load_plan("demo")
    >>> record = safelight.audit(plan, "runs/demo")  # doctest: +SKIP

Everything else is imported from its own module; this front door imports nothing until used.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safelight.plan.plan import Plan
    from safelight.record.kinds import AnyRecord

__all__ = ["audit", "load_plan", "load_record"]


def audit(plan: "Plan", out: str | Path, *, resume: bool = False) -> "AnyRecord":
    """Run a plan and return its record, which is also in ``out`` beside its artifacts.

    Raises:
        SafelightError: the plan, data, model or folder cannot be used; one line says why.
    """
    from safelight.auditing.question import begin
    from safelight.record.store import Run

    return begin(plan)(Run(Path(out)), lambda *_: None, resume)


def load_plan(path: str | Path) -> "Plan":
    """Read a plan from a TOML file, or a preset by its name."""
    from safelight.plan.plan import load_plan as load

    return load(path)


def load_record(path: str | Path) -> "AnyRecord":
    """Read the record of a run."""
    from safelight.record.kinds import load_any

    return load_any(path)
