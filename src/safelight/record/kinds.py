"""The records that an audit can leave, by the question that it asked."""

import json
from pathlib import Path

from safelight.errors import RecordError
from safelight.record.extraction import ExtractionRecord, load_extraction
from safelight.record.generator import GeneratorRecord, load_generator_record
from safelight.record.membership_audit import MembershipRecord, load_membership_record
from safelight.record.record import Record
from safelight.record.store import load_record

#: What a run's folder may hold: pictures rebuilt from messages, a training set told from other
#: pictures, one read out of weights, or one that a generator remembers.
AnyRecord = Record | MembershipRecord | ExtractionRecord | GeneratorRecord


def load_any(path: str | Path) -> AnyRecord:
    """Read the record of a run, whatever was asked, by its folder or its record.json.

    Raises:
        RecordError: there is none, or one of each of several audits, it is cut short, or of
            another version.
    """
    file = Path(path)
    several = sorted(one.parent.name for one in file.glob("*/record.json"))
    if several and not (file / "record.json").is_file():
        raise RecordError(
            f"{file} holds several audits; give the folder of one: {', '.join(several)}"
        )
    file = file / "record.json" if file.is_dir() else file
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        content = {}  # the reader below says what is wrong with it
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind == "membership":
        return load_membership_record(file)
    if kind == "generator":
        return load_generator_record(file)
    return load_extraction(file) if kind == "extraction" else load_record(file)
