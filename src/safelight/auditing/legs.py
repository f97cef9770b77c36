"""The audits that one question is made of: each has a plan and a folder of its own."""

from dataclasses import dataclass
from typing import TypeVar

from safelight.errors import RecordError
from safelight.plan.plan import Plan
from safelight.record.kinds import AnyRecord, load_any
from safelight.record.store import Run

Kind = TypeVar("Kind", bound=AnyRecord)


@dataclass(frozen=True)
class Leg:
    """One audit of several that will stand beside each other, and the name of its folder."""

    folder: str
    plan: Plan

    def record(self, run: Run, kind: type[Kind]) -> Kind:
        """Return what this audit left in its folder, finished or not.

        Raises:
            RecordError: there is nothing, or the folder holds another audit.
        """
        found = load_any(run.folder)
        same = self.plan.model_dump(mode="json", exclude_none=True)
        if not isinstance(found, kind) or found.plan != same:
            raise RecordError(f"{run.folder} holds the audit of another plan; give another --out")
        return found
