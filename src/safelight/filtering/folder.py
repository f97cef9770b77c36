"""The folder of a filter: its protected pictures, thresholds, tokens and decisions. Private."""

import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pydantic
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from safelight.errors import DataError, RecordError
from safelight.filtering.engine import Classifier, Filter
from safelight.filtering.index import Index, load_index
from safelight.filtering.policy import SCHEMA_VERSION, Policy

#: Files of a filter's folder.
POLICY, PROTECTED, RESERVE = "policy.json", "protected.safetensors", "reserve.safetensors"
TOKENS, DECISIONS, SECRET = "tokens.json", "decisions.sqlite", "secret"

_OWN = {POLICY, PROTECTED, RESERVE, TOKENS, DECISIONS, SECRET}


@dataclass(frozen=True)
class FilterFolder:
    """A folder that holds one filter."""

    path: Path

    def file(self, name: str) -> Path:
        """Return the place of one of its files."""
        return self.path / name

    def check_free(self, replace: bool) -> None:
        """Raise unless a filter may be written here; ask before any work.

        Raises:
            RecordError: it holds other files, or a filter that may not be replaced.
        """
        try:
            found = {one.name for one in self.path.iterdir()}
        except FileNotFoundError:
            found = set()
        except OSError as error:
            raise RecordError(
                f"cannot use {self.path} for a filter: {error.strerror}; give another --out"
            ) from None
        foreign = {one for one in found if not one.startswith(DECISIONS)} - _OWN
        if foreign:
            raise RecordError(
                f"{self.path} holds other files ({sorted(foreign)[0]}); give another --out"
            )
        if POLICY in found and not replace:
            raise RecordError(
                f"{self.path} holds a filter already; give another --out, or --replace to "
                "calibrate it anew and keep its decisions and tokens"
            )

    def create(self, replace: bool) -> None:
        """Make the folder, or take over one that holds a filter: see ``check_free``.

        Raises:
            RecordError: it may not be used or cannot be made.
        """
        self.check_free(replace)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise RecordError(f"cannot make {self.path}: {error.strerror}; check --out") from None

    def save(self, index: Index, policy: Policy, reserve: Tensor | None) -> None:
        """Write a filter; the thresholds last, for without them nothing is served."""
        self.file(POLICY).unlink(missing_ok=True)
        self.write(PROTECTED, safetensors.torch.save({"pictures": index.pictures}))
        if reserve is None:
            self.file(RESERVE).unlink(missing_ok=True)
        else:
            self.write(RESERVE, safetensors.torch.save({"pictures": reserve.contiguous()}))
        if not self.file(SECRET).exists():
            self.write(SECRET, secrets.token_bytes(32))
        self.write(POLICY, (policy.model_dump_json(indent=1) + "\n").encode())

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all, readable by its user alone (mode 0600).

        Raises:
            RecordError: the disk is full or the folder cannot be written.
        """
        passing = None
        try:
            with tempfile.NamedTemporaryFile(dir=self.path, delete=False) as stream:
                passing = Path(stream.name)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            passing.replace(self.file(name))
        except BaseException as error:
            if passing is not None:
                passing.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise RecordError(
                f"cannot write {self.file(name)}: {error.strerror}; free some space or check the "
                "folder"
            ) from None

    def policy(self) -> Policy:
        """Read the thresholds.

        Raises:
            DataError: there are none, or they are damaged or of another version.
        """
        remedy = "make them with safelight filter calibrate"
        try:
            content = json.loads(self.file(POLICY).read_bytes())
        except OSError as error:
            raise DataError(f"no filter at {self.path}: {error.strerror}; {remedy}") from None
        except ValueError:
            raise DataError(f"{self.file(POLICY)} is damaged; {remedy}") from None
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise DataError(f"{self.file(POLICY)} is of version {version}; {remedy}")
        try:
            return Policy.model_validate(content)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(one) for one in first["loc"])
            raise DataError(
                f"{self.file(POLICY)} is damaged ({place}: {first['msg']}); {remedy}"
            ) from None

    def load(self, classifier: Classifier | None = None) -> Filter:
        """Read the filter, checked against what its thresholds were calibrated with.

        Raises:
            DataError: a part is missing, damaged or of another filter.
        """
        policy = self.policy()
        index = load_index(self.file(PROTECTED), policy.protected.sha256)
        return Filter(index, policy, classifier)

    def reserve(self) -> Tensor:
        """Return the pictures that may be shown instead, [n, channels, height, width] bytes.

        Raises:
            DataError: there are none.
        """
        try:
            found = safetensors.torch.load_file(self.file(RESERVE))["pictures"]
        except (OSError, KeyError, safetensors.SafetensorError):
            found = torch.zeros(0, 1, 1, 1)
        if found.ndim != 4 or found.dtype != torch.uint8 or not len(found):
            raise DataError(
                f"{self.path} has no pictures to show instead; calibrate it with --reserve DATA"
            )
        return found

    def secret(self) -> bytes:
        """Return the key by which replacements are picked.

        Raises:
            DataError: it is missing.
        """
        try:
            return self.file(SECRET).read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot read {self.file(SECRET)}: {error.strerror}; calibrate the filter again"
            ) from None
