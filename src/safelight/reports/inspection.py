"""The page of a data inspection: one HTML file that fetches nothing, its finding first."""

import base64
import io
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from safelight.reports import numbers
from safelight.reports.evidence import Evidence
from safelight.reports.pictures import BLOCKS, LOSSLESS
from safelight.reports.template import fill

#: Longest side of a picture on the page, in pixels.
_SIDE = 128

#: What a page says of the pictures on it, and of itself.
_EVIDENCE = {
    "full": "This page shows pictures of the data as they are, and names files. Keep it as "
    "private as the data itself.",
    "blurred": f"Pictures on this page are pixelated to {BLOCKS} x {BLOCKS} blocks (blurred "
    "evidence). It still names files: keep it private.",
    "none": "This page holds no pictures (evidence withheld). It still names files: keep it "
    "private.",
}

#: Said on every page and after every summary.
CAVEAT = (
    "An inspection lists what it looked for and found. It cannot show that pictures hold no "
    "personal data."
)

#: Below this many rows that agree, a table is worth a look: the customary least k.
_FEW = 5


@dataclass(frozen=True)
class Picture:
    """One picture to show, its name, and a word on it."""

    name: str
    note: str
    image: Image.Image


@dataclass(frozen=True)
class Group:
    """Pictures that belong side by side; ``size`` counts also those that are not shown."""

    title: str
    size: int
    shown: tuple[Picture, ...]


@dataclass(frozen=True)
class Duplicates:
    """Groups of copies, and the pictures beyond the first of each: exact and near ones apart.

    A group with both counts as both, and once among all groups.
    """

    exact_groups: int
    exact_spare: int
    near_groups: int
    near_spare: int
    all_groups: int
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Overlap:
    """How many of the ``of`` pictures of one set are in another: exactly, or only nearly."""

    first: str
    second: str
    of: int
    exact: int
    near: int
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Outliers:
    """Pictures far from their k-th nearest neighbor; ``of`` counts a copied picture once.

    ``neighbors`` is k, or 0 where there are too few pictures.
    """

    count: int
    of: int
    neighbors: int
    shown: tuple[Picture, ...]


@dataclass(frozen=True)
class Diversity:
    """The effective number of different pictures in a class or in all of them."""

    name: str
    pictures: int
    effective: float
    most: int


@dataclass(frozen=True)
class Metadata:
    """What files tell beside pixels. ``kinds``: (kind, files); ``examples``: (file, kinds)."""

    files: int
    telling: int
    kinds: tuple[tuple[str, int], ...]
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Attributes:
    """Anonymity of a table; ``sensitive``: (name, l, t)."""

    rows: int
    quasi: tuple[str, ...]
    k: int
    alone: int
    sensitive: tuple[tuple[str, int, float], ...]


@dataclass(frozen=True)
class Detections:
    """Pictures in which something was detected: ``what`` is faces, license plates or text.

    ``note``: what its detector is known to miss and to claim.
    """

    what: str
    count: int
    of: int
    note: str
    shown: tuple[Picture, ...]

    @property
    def key(self) -> str:
        """The name of its section on the page."""
        return self.what.replace(" ", "-")


@dataclass(frozen=True)
class Inspection:
    """Everything that an inspection found, ready to be told."""

    source: str
    made: str
    version: str
    seconds: float
    pictures: int
    size: str
    unreadable: tuple[tuple[str, str], ...]
    duplicates: Duplicates
    overlaps: tuple[Overlap, ...]
    outliers: Outliers
    diversity: tuple[Diversity, ...]
    metadata: Metadata | None = None
    attributes: Attributes | None = None
    detections: tuple[Detections, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True)
class Point:
    """One finding as a sentence. ``kind``: leak (someone is exposed), open (look), clear."""

    kind: Literal["leak", "open", "clear"]
    text: str
    key: str


def points(found: Inspection) -> list[Point]:
    """Return every finding as a sentence, the gravest first."""
    every = [_overlap(one) for one in found.overlaps]
    every += _metadata(found.metadata) + _attributes(found.attributes)
    every += [_detections(one) for one in found.detections]
    every += [_duplicates(found), _outliers(found.outliers)]
    if found.unreadable:
        files = _many(len(found.unreadable), "file")
        every.append(
            Point(
                "open", f"{files} cannot be read: nothing is said of what is in there", "unreadable"
            )
        )
    rank = {"leak": 0, "open": 1, "clear": 2}
    return sorted(every, key=lambda one: rank[one.kind])


def summary(found: Inspection) -> str:
    """Return the findings as lines of text, for a terminal."""
    head = f"{found.source}: {_many(found.pictures, 'picture')}, {numbers.duration(found.seconds)}"
    return "\n".join([head, *(f"- {one.text}." for one in points(found)), CAVEAT])


def render(found: Inspection, evidence: Evidence) -> str:
    """Render an inspection as one self-contained HTML page."""
    told = points(found)
    return fill(
        "inspection.html.j2",
        number=numbers.number,
        many=_many,
        inline=lambda image: _inline(image, evidence),
        found=found,
        points=told if told[0].kind == "clear" else told[1:],
        head=told[0],
        facts=_facts(found),
        evidence=evidence,
        sensitive=_EVIDENCE[evidence],
        caveat=CAVEAT,
    )


def _overlap(one: Overlap) -> Point:
    if not one.exact + one.near:
        text = f"No picture of {one.first} was found in {one.second}"
        return Point("clear", text, "overlap")
    text = (
        f"{one.exact + one.near:,} of {_many(one.of, 'picture')} of {one.first} "
        f"{'is' if one.exact + one.near == 1 else 'are'} in {one.second} too: "
        f"{_both(one.exact, one.near)}"
    )
    return Point("leak", text, "overlap")


def _metadata(one: Metadata | None) -> list[Point]:
    if one is None:
        return []
    if not one.telling:
        return [Point("clear", "No metadata was found in the files", "metadata")]
    counts = dict(one.kinds)
    told = [
        Point(
            "leak",
            f"{counts[kind]:,} of {_many(one.files, 'file')} {_do(counts[kind], verb)} {what}",
            "metadata",
        )
        for kind, verb, what in (
            ("place", "tell", "where the picture was taken (GPS)"),
            ("person", "name", "a person (artist, owner or copyright)"),
            ("serial number", "hold", "a serial number, which links pictures of one camera"),
        )
        if counts.get(kind)
    ]
    carry = _do(one.telling, "carry")
    some = f"{one.telling:,} of {_many(one.files, 'file')} {carry} metadata beside the pixels"
    return told or [Point("open", some, "metadata")]


def _attributes(one: Attributes | None) -> list[Point]:
    if one is None:
        return []
    by = ", ".join(one.quasi)
    if one.alone:
        text = f"{one.alone:,} of {_many(one.rows, 'row')} can be singled out by {by} (k = 1)"
        told = [Point("leak", text, "attributes")]
    else:
        text = f"Every row shares its {by} with {one.k - 1:,} others at least (k = {one.k})"
        told = [Point("open" if one.k < _FEW else "clear", text, "attributes")]
    known = [name for name, least, _ in one.sensitive if least == 1]
    if known and one.k > 1:
        text = f"Knowing {by} tells the {', '.join(known)} of some rows (l = 1)"
        told.append(Point("leak", text, "attributes"))
    return told


def _detections(one: Detections) -> Point:
    if not one.count:
        text = f"No {one.what} were detected, which does not say that there are none"
        return Point("clear", text, one.key)
    text = f"{one.count:,} of {_many(one.of, 'picture')} {_do(one.count, 'show')} {one.what}"
    return Point("leak", text, one.key)


def _duplicates(found: Inspection) -> Point:
    one = found.duplicates
    spare = one.exact_spare + one.near_spare
    if not spare:
        return Point("clear", "No picture was found twice", "duplicates")
    text = (
        f"{spare:,} of {_many(found.pictures, 'picture')} {_do(spare, 'repeat')} another one: "
        f"{_both(one.exact_spare, one.near_spare)}"
    )
    return Point("open", text, "duplicates")


def _outliers(one: Outliers) -> Point:
    if not one.neighbors:
        return Point("clear", "The pictures are too few to tell which stand alone", "outliers")
    if not one.count:
        return Point("clear", "No picture lies far from all others", "outliers")
    lie = _do(one.count, "lie")
    text = f"{one.count:,} of {_many(one.of, 'picture')} {lie} far from all others"
    return Point("open", text, "outliers")


def _facts(found: Inspection) -> list[tuple[str, str, str]]:
    """Return the facts row: what, its value, a word more."""
    copies, whole = found.duplicates, found.diversity[0]
    told = found.metadata
    return [
        ("Pictures", f"{found.pictures:,}", found.size),
        ("Exact copies", f"{copies.exact_spare:,}", f"in {_many(copies.exact_groups, 'group')}"),
        ("Near copies", f"{copies.near_spare:,}", f"in {_many(copies.near_groups, 'group')}"),
        ("Outliers", f"{found.outliers.count:,}", "far from all others"),
        ("Diversity", numbers.number(whole.effective, 1), f"effective, of at most {whole.most}"),
        ("Metadata", f"{told.telling:,}", "files that tell something")
        if told
        else ("Metadata", "none", "a data set, no files"),
        ("Time", numbers.duration(found.seconds), f"{_many(len(found.skipped), 'gap')} below"),
    ]


def _both(exact: int, near: int) -> str:
    parts = [(exact, "exactly"), (near, "nearly")]
    return ", ".join(f"{count:,} {how}" for count, how in parts if count)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _do(count: int, verb: str) -> str:
    """Return a verb as it follows so many of something."""
    if count != 1:
        return verb
    return f"{verb[:-1]}ies" if verb.endswith("ry") else f"{verb}s"


def _inline(image: Image.Image, evidence: Evidence) -> str:
    """Return a picture as a data URI, as small as it is shown."""
    image = image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")
    if evidence == "blurred":
        image = image.resize((BLOCKS, BLOCKS), Image.Resampling.BOX)
    else:
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    form = "PNG" if max(image.size) <= LOSSLESS else "JPEG"
    stream = io.BytesIO()
    image.save(stream, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
