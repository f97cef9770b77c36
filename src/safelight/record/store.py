"""The run folder: record.json and artifacts by content, written whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from math import isfinite
from pathlib import Path

from safelight.errors import RecordError
from safelight.record.reading import read
from safelight.record.record import SCHEMA_VERSION, Record


class Run:
    """A folder that holds one audit. Private to its user: it shows people's pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def record_file(self) -> Path:
        """The record's place."""
        return self.folder / "record.json"

    def create(self) -> None:
        """Make the folder.

        Raises:
            RecordError: it holds a record already, or cannot be made.
        """
        self._refuse_foreign()
        if self.record_file.exists():
            raise RecordError(
                f"{self.folder} holds a run already; give another --out, or continue it with "
                f"--resume {self.folder}"
            )
        try:
            (self.folder / "artifacts").mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
        except OSError as error:
            raise RecordError(f"cannot make {self.folder}: {error.strerror}; check --out") from None

    def _refuse_foreign(self) -> None:
        """Raise if the folder is no folder, or holds what no run has written."""
        own = {"record.json", "plan.toml", "report.html", "artifacts", "tuning.sqlite3"}
        try:
            found = {one.name for one in self.folder.iterdir()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise RecordError(
                f"cannot use {self.folder} as a run's folder: {error.strerror}; give another --out"
            ) from None
        if found - own:
            raise RecordError(
                f"{self.folder} holds other files ({sorted(found - own)[0]}); give another --out"
            )

    def clear(self, name: str) -> None:
        """Remove an older run of the plan ``name``, so that it can be made anew.

        Raises:
            RecordError: the folder holds something else.
        """
        self._refuse_foreign()
        if self.record_file.exists():
            try:
                other = self.load().name
            except RecordError:  # cut short or older: a run all the same, and to be replaced
                other = name
            if other != name:
                raise RecordError(f"{self.folder} is a run of {other}; give another --out")
        shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, record: Record) -> None:
        """Replace the record, whole."""
        for cell in record.cells:
            if not all(isfinite(value) for values in cell.scores.values() for value in values):
                raise RecordError(f"a score of cell {cell.id} is not a number; mend the attack")
        self.write("record.json", record.model_dump_json(indent=1).encode())

    def load(self) -> Record:
        """Read the record.

        Raises:
            RecordError: there is none, it is cut short, or of another version.
        """
        return load_record(self.folder)

    def keep(self, content: bytes, suffix: str) -> str:
        """Store an artifact and return its name, the sha256 of its content."""
        name = hashlib.sha256(content).hexdigest() + suffix
        file = self.folder / "artifacts" / name
        if not file.exists() or file.read_bytes() != content:
            self.write(f"artifacts/{name}", content)
        return name

    def artifact(self, name: str) -> bytes:
        """Return an artifact's content.

        Raises:
            RecordError: it is missing or is not what its name says.
        """
        try:
            content = (self.folder / "artifacts" / name).read_bytes()
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != name.partition(".")[0]:
            raise RecordError(
                f"artifact {name} of {self.folder} is missing or damaged; run the audit again"
            )
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file through a temporary one, so that it is there whole or as it was.

        Raises:
            RecordError: the disk is full or the folder cannot be written.
        """
        file = self.folder / name
        passing = None
        try:
            with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as stream:
                passing = Path(stream.name)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            passing.replace(file)  # temporary files are made with mode 0600
        except BaseException as error:
            if passing is not None:
                passing.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise RecordError(
                f"cannot write {file}: {error.strerror}; free some space or check the folder, then "
                f"continue with --resume {self.folder}"
            ) from None


def load_record(path: str | Path) -> Record:
    """Read the record of a run, by its folder or its record.json.

    Raises:
        RecordError: there is none, it is cut short, or of another kind or version.
    """
    return read(path, Record, SCHEMA_VERSION)
