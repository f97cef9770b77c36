"""Pictures for a page: which victims, cut from the contact sheets, small enough to be inlined."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, PngImagePlugin

from safelight.errors import RecordError
from safelight.record.record import Baseline, Cell, Finding, Record
from safelight.record.store import Run
from safelight.reports.evidence import Evidence
from safelight.reports.sentences import headline, labels, ran

#: Pictures a row: as many as an eye takes in at once and a page has room for.
SHOWN = 10

#: Draws the random victims. Fixed, so that nobody can draw until the pictures suit them.
SEED = 0

#: Rows of rebuilt pictures; the findings beyond, worst first, stand in the tables only.
MOST_ROWS = 12

#: Characters that all pictures of a page may take, so that the page stays under 3 MB.
BUDGET = 2_200_000

#: Longest sides tried, in pixels, until the pictures fit the budget. Tiles are shown at about 84.
SIDES = (96, 64, 48, 32, 24)

#: Blocks a side of a blurred picture: too few to tell a face or a digit, enough to compare.
BLOCKS = 4

#: Above this side a picture is continuous enough for JPEG; below, PNG is smaller and exact.
LOSSLESS = 64


@dataclass(frozen=True)
class Tile:
    """One picture: a data URI, its text alternative, its SSIM to the victim if it has one."""

    uri: str
    alt: str
    ssim: float | None


@dataclass(frozen=True)
class Row:
    """One kind of picture of the same victims. ``kind`` is victim, leak, other, null or oracle."""

    kind: str
    title: str
    note: str
    tiles: list[Tile]


@dataclass(frozen=True)
class View:
    """One choice of victims, given as (number in the record, class name), and its rows."""

    key: str
    title: str
    note: str
    victims: list[tuple[int, str]]
    rows: list[Row]


@dataclass(frozen=True)
class Gallery:
    """What a page shows. ``left_out`` counts the findings whose pictures found no room."""

    views: list[View]
    left_out: int
    crisp: bool


@dataclass(frozen=True)
class _Source:
    """A row before it is cut: a sheet and one SSIM per victim."""

    kind: str
    title: str
    note: str
    alt: str
    artifact: str
    ssim: list[float] | None


def gallery(run: Run, record: Record, evidence: Evidence) -> Gallery | None:
    """Cut the rows of a page, or return None where nothing may or can be shown.

    Raises:
        RecordError: a contact sheet is missing, damaged, or smaller than its victims.
    """
    cells = _shown_cells(record)
    if evidence == "none" or not cells:
        return None
    sources = _sources(record, cells)
    choices = _choices(record, cells)

    sheets = {one.artifact: _open(run, one.artifact) for one in sources}
    for side in SIDES:

        def cut(name: str, victim: int, side: int = side) -> str:
            return _uri(_crop(sheets[name], name, record, victim), side, evidence)

        views = [_view(record, choice, sources, cut) for choice in choices]
        size = sum(len(tile.uri) for one in views for row in one.rows for tile in row.tiles)
        if size <= BUDGET:
            break
    shown = sum(one.kind in ("leak", "other") for one in sources)
    largest = max(record.victims_shape[1:])
    return Gallery(views, len(cells) - shown, evidence == "blurred" or largest <= LOSSLESS)


def drawn(record: Record) -> list[int]:
    """Return the same random victims of a record every time, in order."""
    total = len(record.victim_labels)
    some = np.random.default_rng(SEED).choice(total, min(SHOWN, total), replace=False)
    return sorted(some.tolist())


def cut_out(
    run: Run, record: Record, artifact: str, victims: Sequence[int], evidence: Evidence
) -> list[str]:
    """Return some victims' pictures of one sheet as data URIs.

    Raises:
        RecordError: the sheet is missing, damaged, or smaller than its victims.
    """
    sheet = _open(run, artifact)
    return [_uri(_crop(sheet, artifact, record, one), SIDES[0], evidence) for one in victims]


@dataclass(frozen=True)
class _Choice:
    key: str
    title: str
    note: str
    victims: list[int]


def _shown_cells(record: Record) -> dict[str, Cell]:
    """Return the first finished cell of every finding, by finding."""
    cells: dict[str, Cell] = {}
    for cell in record.cells:
        if cell.status == "ok" and cell.artifact:
            cells.setdefault(cell.finding, cell)
    return cells


def _leading(record: Record, cells: dict[str, Cell]) -> Finding:
    """Return the finding by which victims are ordered: the page's own, if it has pictures."""
    lead = headline(record).finding
    if lead is not None and lead.id in cells:
        return lead
    return next(one for one in ran(record) if one.id in cells)


def _choices(record: Record, cells: dict[str, Cell]) -> list[_Choice]:
    total = len(record.victim_labels)
    some = min(SHOWN, total)
    lead = _leading(record, cells)
    order = np.argsort(np.asarray(cells[lead.id].scores["ssim"]), kind="stable").tolist()
    middle = (total - some) // 2
    by = f"by SSIM of {labels(record.findings)[lead.id]}"
    return [
        _Choice(
            "random",
            "Random",
            f"{some} of {total} victims, drawn by a fixed seed ({SEED}): nobody picked them.",
            drawn(record),
        ),
        _Choice("worst", "Worst", f"The {some} least like the truth, {by}.", order[:some]),
        _Choice(
            "median",
            "Median",
            f"The {some} around the median, {by}.",
            order[middle : middle + some],
        ),
        _Choice("best", "Best", f"The {some} most like the truth, {by}.", order[::-1][:some]),
    ]


def _sources(record: Record, cells: dict[str, Cell]) -> list[_Source]:
    """Return the rows from top to bottom: victims, findings, the best null, the oracle."""
    names = labels(record.findings)
    rows = [_Source("victim", "Victim", "the private picture", "", record.victims_artifact, None)]
    for one in _most_telling(record, cells):
        name, cell = names[one.id], cells[one.id]
        several = sum(other.finding == one.id for other in record.cells) > 1
        rows.append(
            _Source(
                kind="leak" if one.verdict.outcome == "LEAK" else "other",
                title=f"{name.where}, {name.attack}",
                note=name.detail + (f", seed {cell.seed}" if several else ""),
                alt=f"rebuilt by {name}",
                artifact=cell.artifact,
                ssim=cell.scores["ssim"],
            )
        )
    best = next((one.best_null for one in record.findings if one.best_null), "")
    for null in record.baselines:
        if null.oracle or null.name == best:
            rows.append(_null_row(null))
    return rows


def _null_row(null: Baseline) -> _Source:
    ssim = null.scores["ssim"]
    if null.oracle:
        note = f"{null.name}: not an attack, it looks at the victim"
        return _Source("oracle", "For scale", note, f"{null.name}, for scale", null.artifact, ssim)
    note = f"{null.name}: anyone can make it, without the model"
    return _Source("null", "Best null", note, f"best null, {null.name}", null.artifact, ssim)


def _most_telling(record: Record, cells: dict[str, Cell]) -> list[Finding]:
    """Return the findings to show, in the record's order; leaks go first when room is short."""
    having = [one for one in record.findings if one.id in cells]
    ranked = sorted(having, key=lambda one: one.verdict.outcome != "LEAK")[:MOST_ROWS]
    kept = {one.id for one in ranked}
    return [one for one in having if one.id in kept]


def _view(
    record: Record,
    choice: _Choice,
    sources: Sequence[_Source],
    cut: Callable[[str, int], str],
) -> View:
    rows = []
    for source in sources:
        tiles = []
        for victim in choice.victims:
            what = f"Victim {victim}, {source.alt}" if source.alt else f"Victim {victim}"
            ssim = source.ssim[victim] if source.ssim else None
            tiles.append(Tile(cut(source.artifact, victim), what, ssim))
        rows.append(Row(source.kind, source.title, source.note, tiles))
    victims = [(one, record.classes[record.victim_labels[one]]) for one in choice.victims]
    return View(choice.key, choice.title, choice.note, victims, rows)


def _open(run: Run, name: str) -> Image.Image:
    try:
        # Not Image.open: its guard against huge pictures would refuse a sheet of many victims,
        # and other formats than PNG have no business here.
        image = PngImagePlugin.PngImageFile(io.BytesIO(run.artifact(name)))
        image.load()
    except (OSError, SyntaxError, ValueError):
        raise RecordError(
            f"artifact {name} of {run.folder} is not a PNG; run the audit again"
        ) from None
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _crop(sheet: Image.Image, name: str, record: Record, victim: int) -> Image.Image:
    _, height, width = record.victims_shape
    left = victim % record.sheet_columns * width
    top = victim // record.sheet_columns * height
    if left + width > sheet.width or top + height > sheet.height:
        raise RecordError(f"artifact {name} has no picture of victim {victim}; run the audit again")
    return sheet.crop((left, top, left + width, top + height))


def _uri(image: Image.Image, side: int, evidence: Evidence) -> str:
    if evidence == "blurred":
        image = image.resize((BLOCKS, BLOCKS), Image.Resampling.BOX)
    elif max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    form = "PNG" if max(image.size) <= LOSSLESS else "JPEG"
    image.save(stream, form, **({"optimize": True} if form == "PNG" else {"quality": 85}))
    content = base64.b64encode(stream.getvalue()).decode()
    return f"data:image/{form.lower()};base64,{content}"
