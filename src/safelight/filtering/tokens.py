"""Who may ask, and who may review: tokens, kept only as hashes.

A token has 256 random bits, so that one pass of sha256 hides it: there is nothing to guess. One
that somebody brings must be as long.
"""

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from safelight.errors import DataError, PlanError
from safelight.filtering.folder import TOKENS, FilterFolder

Role = Literal["client", "reviewer"]

#: Characters of a token that somebody brings: 32 hexadecimal ones are 128 bits.
SHORTEST = 32


@dataclass(frozen=True)
class Holder:
    """Whose token it is. A client submits outputs, a reviewer decides about them."""

    name: str
    role: Role


class Tokens:
    """The tokens of a filter, read again whenever the file has changed."""

    def __init__(self, folder: FilterFolder) -> None:
        self._folder = folder
        self._file: Path = folder.file(TOKENS)
        self._read: tuple[int, int] | None = None
        self._known: dict[str, dict[str, str]] = {}

    def holder(self, token: str) -> Holder | None:
        """Return whose token it is, or None. Takes as long whoever's it is.

        Raises:
            DataError: the file of tokens is damaged: nobody may ask.
        """
        found = None
        given = _hash(token)
        for name, one in self._all().items():
            if hmac.compare_digest(given, one["sha256"]):
                found = Holder(name, "reviewer" if one["role"] == "reviewer" else "client")
        return found

    def names(self) -> list[tuple[Holder, str]]:
        """Return everybody who has a token, and since when."""
        return [
            (Holder(name, "reviewer" if one["role"] == "reviewer" else "client"), one["made"])
            for name, one in sorted(self._all().items())
        ]

    def add(self, name: str, role: Role, token: str | None = None) -> str:
        """Give somebody a token and return it; only its hash is kept.

        Raises:
            PlanError: the name is taken or unfit, or the given token is too short.
        """
        if not re.fullmatch(r"[\w][\w .@-]{0,63}", name):
            raise PlanError(f"{name!r} is no name; use 1 to 64 letters, digits, spaces or . @ - _")
        if token is not None and (len(token) < SHORTEST or not re.fullmatch(r"[!-~]+", token)):
            raise PlanError(
                f"the token is too short or holds spaces; give {SHORTEST} printable characters or "
                "more, or none to have one made"
            )
        known = self._all()
        if name in known:
            raise PlanError(f"{name} has a token; revoke it first with --revoke")
        token = token or secrets.token_urlsafe(32)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        self._save({**known, name: {"role": role, "sha256": _hash(token), "made": made}})
        return token

    def revoke(self, name: str) -> None:
        """Take somebody's token; a running service knows at once.

        Raises:
            PlanError: nobody of that name has one.
        """
        known = self._all()
        if name not in known:
            raise PlanError(f"{name} has no token; see safelight filter token FOLDER")
        self._save({key: one for key, one in known.items() if key != name})

    def _save(self, known: dict[str, dict[str, str]]) -> None:
        self._folder.write(TOKENS, (json.dumps(known, indent=1) + "\n").encode())
        self._read = None

    def _all(self) -> dict[str, dict[str, str]]:
        try:
            state = self._file.stat()
            stamp = (state.st_mtime_ns, state.st_ino)
            if stamp != self._read:
                known = json.loads(self._file.read_bytes())
                self._known = {
                    str(name): {key: str(one[key]) for key in ("role", "sha256", "made")}
                    for name, one in known.items()
                }
                self._read = stamp
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"cannot read {self._file}: {error}; remove it and give new tokens with safelight "
                "filter token"
            ) from None
        return self._known


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
