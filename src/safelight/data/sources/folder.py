"""A folder on this machine: one subfolder of pictures a class, parquet, or the files of SVHN."""

import glob
import tempfile
from pathlib import Path

import datasets

from safelight.data.sources import svhn
from safelight.data.sources.source import Split
from safelight.data.sources.table import as_split
from safelight.errors import DataError


def open_split(folder: Path, split: str, size: int | None, channels: int | None) -> Split:
    """Open one split of a folder: SVHN as it is published, or a layout that ``datasets`` reads.

    Raises:
        DataError: the folder has no such split, or nothing that can be read.
    """
    if glob.has_magic(str(folder)):  # datasets reads the path as a pattern
        raise DataError(f"cannot read {folder}: its path holds *, ? or [; rename the folder")
    if svhn.splits_in(folder):
        return svhn.open_split(folder, split, size, channels)
    datasets.disable_progress_bars()  # seconds at most, and the audit shows its own
    try:
        # A private, passing cache: other people's pictures are not left in a shared one.
        with tempfile.TemporaryDirectory() as cache:
            rows = datasets.load_dataset(
                str(folder), split=split, cache_dir=cache, keep_in_memory=True
            )
    except (ValueError, RuntimeError, OSError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"cannot read split {split!r} of {folder}: {_first_line(error)}; check data.*.split, "
            "and that the folder holds a subfolder of pictures per class (two or more), or parquet"
        ) from None
    finally:
        datasets.enable_progress_bars()
    return as_split(rows, folder.name, size, channels)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".;") or type(error).__name__
