"""Read what an audit wrote, or say what is wrong with the file."""

import json
from pathlib import Path
from typing import TypeVar

import pydantic

from safelight.errors import RecordError

Model = TypeVar("Model", bound=pydantic.BaseModel)


def read(
    path: str | Path,
    model: type[Model],
    version: int,
    kind: str = "",
    name: str = "record.json",
) -> Model:
    """Read a record by its folder or its file.

    Args:
        path: of the folder, or of the file in it.
        model: what the file holds.
        version: of the schema that can be read.
        kind: what the file says it is; the first kind of record says nothing.
        name: of the file in a folder.

    Raises:
        RecordError: there is none, it is cut short, damaged, or of another kind or version.
    """
    file = Path(path)
    file = file / name if file.is_dir() else file
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise RecordError(f"no record at {file}: {error.strerror}; give a run's folder") from None
    except ValueError:
        raise RecordError(
            f"{file} is cut short or not a record; give another --out and run the audit again"
        ) from None
    content = content if isinstance(content, dict) else {}
    if content.get("kind", "") != kind:
        told = f"is not a record of kind {kind!r}" if kind else "is a record of another kind"
        raise RecordError(f"{file} {told}; give another run's folder")
    if content.get("schema_version") != version:
        raise RecordError(
            f"{file} has schema version {content.get('schema_version')}, this safelight reads "
            f"{version}; use the safelight that wrote it, or run the audit again"
        )
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RecordError(f"{file} is damaged at {where}; run the audit again") from None
