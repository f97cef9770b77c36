"""``safelight inspect``."""

import os
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from safelight.errors import PlanError
from safelight.reports import inspection as page
from safelight.reports.evidence import Evidence

if TYPE_CHECKING:
    from safelight.cli.inspected import Copy, Inspected

#: By this a file is known to be a page that may be replaced.
_OURS = b"a Safelight inspection</title>"

#: What no inspection looks for, and why.
_NEVER = (
    ("Who or what is shown", "pictures are compared by their pixels, not by their content"),
    ("File names", "they may name people; they stay as they are, also in a cleaned copy"),
)

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="a folder of pictures, a data set as plans name it, or a plan.toml: all its roles",
    ),
]
Split = Annotated[str, typer.Option(help="split of a data set, sliced as in train[:1000]")]
Against = Annotated[
    str | None, typer.Option(help="a folder or data set that should share no picture with DATA")
]
AgainstSplit = Annotated[
    str | None, typer.Option(help="its split; without --against, of DATA itself")
]
Attributes = Annotated[
    Path | None, typer.Option(help="CSV or parquet file of attributes, one row a person")
]
Quasi = Annotated[str, typer.Option(help="its columns that others may know, as in age,zip")]
Sensitive = Annotated[str, typer.Option(help="its columns that nobody may learn")]
Faces = Annotated[bool, typer.Option("--faces", help="look for faces (10 ms a picture)")]
Plates = Annotated[
    bool, typer.Option("--plates", help="look for license plates; --text finds more")
]
Text = Annotated[bool, typer.Option("--text", help="look for text (up to 1 s a picture)")]
Near = Annotated[float, typer.Option(min=0, help="largest difference of near duplicates")]
Outlier = Annotated[float, typer.Option(min=0, help="robust deviations that make an outlier")]
Out = Annotated[Path, typer.Option(help="the page to write")]
Write = Annotated[
    Path | None, typer.Option(help="a new folder, for a copy without duplicates and metadata")
]
Drop = Annotated[bool, typer.Option("--drop-outliers", help="leave outliers out of the copy, too")]
Hide = Annotated[
    Literal["fill", "pixelate", "blur"] | None,
    typer.Option(help="what was detected, in the copy; who is pixelated or blurred can be named"),
]
Pictures = Annotated[Evidence, typer.Option(help="full, blurred to 4x4 blocks, or none")]


def inspect(
    data: Data,
    split: Split = "train",
    against: Against = None,
    against_split: AgainstSplit = None,
    attributes: Attributes = None,
    quasi: Quasi = "",
    sensitive: Sensitive = "",
    faces: Faces = False,
    plates: Plates = False,
    text: Text = False,
    near: Near = 0.28,
    outlier: Outlier = 2.5,
    out: Out = Path("inspection.html"),
    write: Write = None,
    drop_outliers: Drop = False,
    hide: Hide = None,
    evidence: Pictures = "full",
) -> None:
    """List what pictures hold: copies, overlap, outliers, metadata, attributes, faces, text.

    DATA is never changed. No inspection can show that pictures hold no personal data.
    """
    started = time.monotonic()
    _check_out(out)
    if attributes is None and (quasi or sensitive):
        raise PlanError("--quasi and --sensitive name columns of a file; add --attributes FILE")
    if write is None and (hide or drop_outliers):
        raise PlanError("--hide and --drop-outliers change a copy; add --write FOLDER")
    if hide and not (faces or plates or text):
        raise PlanError("--hide hides what is detected; add --faces, --plates or --text")
    with Console(stderr=True).status("Loading PyTorch and reading the pictures") as status:
        from safelight.cli import inspected as parts

        table = parts.attributes(attributes, _listed(quasi), _listed(sensitive))
        detectors = parts.detectors(faces, plates, text)
        sets = parts.open_sets(data, split, against, against_split)
        if write is not None:
            parts.check_copy(write, sets)
        looked = parts.Inspected.at(sets, near, outlier, detectors)
        status.update(f"Comparing {len(looked.seen):,} pictures with each other")
        found = _found(looked, table, started)
        _write(out, page.render(found, evidence))
        copy = None if write is None else looked.write_copy(write, drop_outliers, hide)
    typer.echo(page.summary(found))
    if copy is not None:
        typer.echo(f"Copy: {write} ({_copied(copy, drop_outliers, hide, list(detectors))})")
    typer.echo(f"Report: {out} (it shows and names pictures: keep it private)")


def _found(looked: "Inspected", table: page.Attributes | None, started: float) -> page.Inspection:
    """Put together what was found."""
    return page.Inspection(
        source=looked.sets.name,
        made=datetime.now(UTC).date().isoformat(),
        version=metadata.version("safelight"),
        pictures=int(looked.among.sum()),
        size=looked.size(),
        unreadable=looked.seen.unreadable,
        duplicates=looked.duplicates(),
        overlaps=tuple(looked.overlap(*pair) for pair in looked.sets.compared),
        outliers=looked.outliers(),
        diversity=looked.diversity(),
        metadata=looked.metadata(),
        attributes=table,
        detections=looked.detections(),
        skipped=_skipped(looked, table),
        settings=looked.settings(),
        seconds=time.monotonic() - started,
    )


def _copied(copy: "Copy", drop_outliers: bool, hide: str | None, sought: list[str]) -> str:
    """Say what a copy holds, and what was done to it."""
    without = "no duplicates, no outliers" if drop_outliers else "no duplicates"
    told = f"{copy.pictures:,} pictures, {without}, no metadata"
    if hide is None:
        return told
    done = {"fill": "filled", "pixelate": "pixelated", "blur": "blurred"}[hide]
    told += f"; {' and '.join(sought)} {done} in {copy.hidden:,}: what was missed is still there"
    were = "was" if copy.small == 1 else "were"
    return told + (f"; {copy.small:,} {were} too small to be searched" if copy.small else "")


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _skipped(looked: "Inspected", table: page.Attributes | None) -> tuple[tuple[str, str], ...]:
    """Say what was not looked for, and how to."""
    ways = (
        ("Faces", "faces", "give --faces, with the extra safelight[faces]"),
        ("License plates", "license plates", "give --plates, with safelight[faces], and --text"),
        ("Text in pictures", "text", "give --text, with the extra safelight[text]"),
    )
    gaps = [(name, how) for name, what, how in ways if what not in looked.detectors]
    if not any(one.files for one in looked.sets.inspected):
        gaps.append(("Metadata of files", "a data set gives pixels; inspect a folder of files"))
    if table is None:
        gaps.append(("Attributes", "give a table with --attributes, and its --quasi columns"))
    ignored = sum(one.ignored for one in looked.sets.inspected)
    if ignored:
        gaps.append(("Other files", f"{ignored:,} beside the pictures were not opened or copied"))
    return (*gaps, *_NEVER)


def _check_out(out: Path) -> None:
    """Raise before any work if the page cannot be written."""
    if not out.parent.is_dir():
        raise PlanError(f"{out.parent} is not a folder; make it, or give another --out")
    if out.is_dir() or (out.exists() and _OURS not in out.read_bytes()[:4000]):
        raise PlanError(f"{out} exists and is no inspection; give another --out, or remove it")


def _write(out: Path, text: str) -> None:
    """Write the page whole or not at all, readable by its user alone."""
    passing = None
    try:
        with tempfile.NamedTemporaryFile(dir=out.parent, delete=False) as stream:  # mode 0600
            passing = Path(stream.name)
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        passing.replace(out)
    except BaseException as error:
        if passing is not None:
            passing.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise PlanError(
            f"cannot write {out}: {error.strerror}; free some space or give another --out"
        ) from None
