"""Seeds that are derived, never global: the same names give the same stream, in any order."""

import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Seeds:
    """A root seed and the path of names that led here."""

    root: int
    path: tuple[str, ...] = ()

    def child(self, *names: str) -> "Seeds":
        """Return the seeds of a named part of the work."""
        return Seeds(self.root, (*self.path, *names))

    def integer(self) -> int:
        """Return this node's seed, uniform on [0, 2**63)."""
        text = json.dumps([self.root, *self.path])  # unambiguous: a name may hold any character
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
