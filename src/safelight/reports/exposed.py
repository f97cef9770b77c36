"""Pictures of the members that an attack tells most surely, small enough to be inlined."""

import base64
import io
from dataclasses import dataclass

from PIL import Image, PngImagePlugin

from safelight.errors import RecordError
from safelight.record.membership_audit import AttackFinding, MembershipRecord
from safelight.record.store import Run
from safelight.reports.evidence import Evidence

#: Most exposed members that a page shows.
SHOWN = 10

#: Blocks a side of a blurred picture, and the side that larger pictures are shrunk to.
BLOCKS, SIDE = 4, 96


@dataclass(frozen=True)
class Tile:
    """One exposed member: its picture as a data URI, its class and number, its score."""

    uri: str
    name: str
    score: str


def tiles(
    run: Run, record: MembershipRecord, worst: AttackFinding, evidence: Evidence
) -> list[Tile]:
    """Cut a finding's most exposed members from the record's sheet.

    Raises:
        RecordError: the sheet is missing or damaged.
    """
    if evidence == "none" or not record.exposed_artifact:
        return []
    try:
        sheet = PngImagePlugin.PngImageFile(io.BytesIO(run.artifact(record.exposed_artifact)))
        sheet.load()
    except (OSError, SyntaxError, ValueError):
        raise RecordError(
            f"artifact {record.exposed_artifact} of {run.folder} is not a PNG; run the audit again"
        ) from None
    _, height, width = record.picture_shape
    cut = []
    for row, score in zip(worst.exposed[:SHOWN], worst.exposed_scores, strict=False):
        place = record.exposed_members.index(row)
        left, top = place % record.sheet_columns * width, place // record.sheet_columns * height
        name = record.classes[record.exposed_labels[place]]
        picture = sheet.crop((left, top, left + width, top + height))
        cut.append(Tile(_uri(picture, evidence), f"{name}, picture {row}", f"{score:.3g}"))
    return cut


def _uri(picture: Image.Image, evidence: Evidence) -> str:
    picture = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    if evidence == "blurred":
        picture = picture.resize((BLOCKS, BLOCKS), Image.Resampling.BOX)
    elif max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
