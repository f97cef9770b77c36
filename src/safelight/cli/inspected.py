"""Put what an inspection finds into the words and pictures of its page."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from safelight.data.inspection import (
    alignment,
    anonymity,
    cleaned,
    detection,
    diversity,
    duplicates,
    outliers,
)
from safelight.data.inspection.collection import Collection, Pixels, of_images, open_collection
from safelight.data.inspection.duplicates import Copies, Group
from safelight.data.inspection.embedding import LENGTH, embed
from safelight.data.inspection.hiding import Hiding, Way
from safelight.data.inspection.metadata import KINDS, read_metadata
from safelight.data.inspection.survey import Survey, survey
from safelight.data.roles import deal
from safelight.errors import DataError, PlanError
from safelight.plan.plan import load_plan
from safelight.reports import inspection as page

#: How much a page shows: groups of copies, pictures of a group, outliers or detections, files
#: with metadata, and classes, those with the least diversity.
_GROUPS, _MEMBERS, _ALONE, _FILES, _CLASSES = 12, 6, 18, 50, 12


#: A detector by what it looks for.
Detectors = dict[str, detection.Detector]


@dataclass(frozen=True)
class Sets:
    """The collections of a command. The first ``own`` are inspected, others only compared with.

    ``compared``: pairs of positions, of sets that should share no picture.
    """

    name: str
    collections: tuple[Collection, ...]
    own: int
    compared: tuple[tuple[int, int], ...]

    @property
    def inspected(self) -> tuple[Collection, ...]:
        """The collections that are inspected."""
        return self.collections[: self.own]


def open_sets(data: str, split: str, against: str | None, against_split: str | None) -> Sets:
    """Open what a command names: one collection, two to compare, or the roles of a plan.

    Raises:
        DataError, PlanError: something cannot be found or does not go together.
    """
    other = against or (data if against_split else None)
    if data.endswith(".toml"):
        if other:
            raise PlanError("the roles of a plan are compared with each other; leave out --against")
        plan = load_plan(data)
        roles = tuple(of_images(name, images) for name, images in deal(plan.data).items())
        return Sets(plan.name, roles, len(roles), tuple(combinations(range(len(roles)), 2)))
    first = open_collection(data, split)
    if other is None:
        return Sets(first.source, (first,), 1, ())
    second = open_collection(other, against_split or "train")
    if other == data and (first.files or split == (against_split or "train")):
        raise PlanError("DATA is compared with itself; give another --against or --against-split")
    return Sets(first.source, (first, second), 1, ((0, 1),))


def check_copy(folder: Path, sets: Sets) -> None:
    """Raise unless a cleaned copy of the inspected pictures may be written to a folder."""
    if sets.own > 1:
        raise PlanError("--write copies one folder or data set; give it instead of a plan")
    cleaned.check_free(folder, sets.collections[0])


def attributes(
    file: Path | None, quasi: Sequence[str], sensitive: Sequence[str]
) -> page.Attributes | None:
    """Tell of a table of attributes, if one is given."""
    if file is None:
        return None
    found = anonymity.anonymity(anonymity.read_table(file), quasi, sensitive)
    told = tuple((one.name, one.l, one.t) for one in found.sensitive)
    return page.Attributes(found.rows, found.quasi, found.k, found.alone, told)


def detectors(faces: bool, plates: bool, text: bool) -> Detectors:
    """Return the detectors that were asked for.

    Raises:
        PlanError: the extra of one is not installed.
    """
    wanted: Detectors = {}
    if faces:
        wanted["faces"] = detection.face_detector()
    if plates:
        wanted["license plates"] = detection.plate_detector()
    if text:
        wanted["text"] = detection.text_detector()
    return wanted


@dataclass(frozen=True)
class Copy:
    """What a cleaned copy holds: pictures, those with a hidden part, those too small to search."""

    pictures: int
    hidden: int
    small: int


@dataclass(frozen=True)
class Inspected:
    """Pictures that were looked at, compared and told part by part.

    ``near``: the largest difference of near duplicates. ``outlier``: robust deviations that make
    an outlier. ``detectors``: what is looked for in every picture.
    """

    sets: Sets
    seen: Survey
    near: float
    outlier: float
    detectors: Detectors

    @classmethod
    def at(cls, sets: Sets, near: float, outlier: float, detectors: Detectors) -> "Inspected":
        """Look at every picture once."""
        return cls(sets, survey(list(sets.collections)), near, outlier, detectors)

    @cached_property
    def among(self) -> NDArray[np.bool_]:
        """Which pictures are inspected, [n]."""
        return self.seen.origins < self.sets.own

    @cached_property
    def copies(self) -> Copies:
        """Which pictures are the same."""
        return duplicates.find_copies(self.seen, self.near)

    @cached_property
    def groups(self) -> list[Group]:
        """The groups of copies among those inspected."""
        return duplicates.groups(self.copies, self.among)

    @cached_property
    def spare(self) -> list[int]:
        """The pictures that a cleaned copy leaves out."""
        return duplicates.redundant(self.groups, self.seen.areas)

    @cached_property
    def points(self) -> Tensor:
        """The embedding of all pictures."""
        return embed(self.seen.gray, self.seen.chroma)

    @cached_property
    def kept(self) -> NDArray[np.int64]:
        """The pictures less their copies."""
        return np.setdiff1d(np.flatnonzero(self.among), self.spare)

    @cached_property
    def alone(self) -> outliers.Outliers:
        """Which of the pictures kept are far from all others."""
        return outliers.outliers(self.points[torch.from_numpy(self.kept)], self.outlier)

    @cached_property
    def boxes(self) -> dict[str, dict[int, list[detection.Box]]]:
        """What each detector finds, by picture; of exact copies, only the first is searched.

        Pictures that are too small to be searched are left out.
        """
        own = np.flatnonzero(self.among)
        _, firsts = np.unique(self.copies.content[own], return_index=True)
        found: dict[str, dict[int, list[detection.Box]]] = {what: {} for what in self.detectors}
        for row in own[np.sort(firsts)].tolist() if self.detectors else []:
            pixels = self._read(row)
            if min(pixels.shape[:2]) >= detection.SMALLEST:
                for what, detect in self.detectors.items():
                    found[what][row] = detect(pixels)
        return found

    def write_copy(self, folder: Path, drop_outliers: bool, way: Way | None) -> Copy:
        """Write the one collection inspected, less its copies, and hide what was detected."""
        left = np.delete(self.kept, self.alone.rows if drop_outliers else [])
        wanted = [int(row) for row in self.seen.rows[left]]
        source = self.sets.collections[0]
        if way is None:
            return Copy(cleaned.write_cleaned(folder, source, wanted), 0, 0)
        content = self.copies.content
        parts: dict[int, list[detection.Box]] = {}
        for found in self.boxes.values():
            for row, boxes in found.items():
                parts.setdefault(int(content[row]), []).extend(boxes)
        by_row = {int(self.seen.rows[row]): parts.get(int(content[row])) for row in left}
        hiding = Hiding(way)
        written = cleaned.write_cleaned(
            folder, source, wanted, lambda row, pixels: hiding.apply(pixels, by_row[row] or ())
        )
        unsearched = sum(boxes is None for boxes in by_row.values())
        return Copy(written, sum(bool(boxes) for boxes in by_row.values()), unsearched)

    def duplicates(self) -> page.Duplicates:
        """Tell of the groups of copies."""
        exact = [one for one in self.groups if one.exact]
        near = [one for one in self.groups if not one.exact]
        # Both kinds are seen, whichever fills the page.
        shown = sorted(exact[: _GROUPS // 2] + near, key=lambda one: (one.exact, -len(one.rows)))
        return page.Duplicates(
            # A group of near copies may hold exact ones as well.
            exact_groups=sum(len(one.rows) > one.contents for one in self.groups),
            exact_spare=sum(len(one.rows) - one.contents for one in self.groups),
            near_groups=len(near),
            near_spare=sum(one.contents - 1 for one in near),
            all_groups=len(self.groups),
            groups=tuple(self._group(one) for one in shown[:_GROUPS]),
        )

    def overlap(self, first: int, second: int) -> page.Overlap:
        """Tell what two collections share."""
        inside = self.seen.origins == first
        found = duplicates.overlap(self.copies, inside, self.seen.origins == second)
        names = self.sets.collections[first].source, self.sets.collections[second].source
        groups = [
            page.Group(
                "the same pixels" if not apart else f"nearly the same, difference {apart:.2f}",
                2,
                (self._picture(row, names[0]), self._picture(other, names[1])),
            )
            for row, other, apart in found.pairs[:_GROUPS]
        ]
        return page.Overlap(*names, int(inside.sum()), found.exact, found.near, tuple(groups))

    def outliers(self) -> page.Outliers:
        """Tell of the pictures far from all others; copies count once."""
        found = self.alone
        shown = [
            self._picture(int(self.kept[at]), f"{found.exposure[at]:.1f} times")
            for at in found.rows[:_ALONE]
        ]
        return page.Outliers(len(found.rows), len(self.kept), found.neighbors, tuple(shown))

    def diversity(self) -> tuple[page.Diversity, ...]:
        """Tell how different all pictures are, and those of each class."""
        own = np.flatnonzero(self.among)
        classes = np.array(self.seen.classes)[own]
        names = [name for name in dict.fromkeys(classes.tolist()) if name]
        each = [self._diversity(name, own[classes == name]) for name in names]
        each.sort(key=lambda one: one.effective / one.most)
        return (self._diversity("all", own), *(each[:_CLASSES] if len(each) > 1 else ()))

    def metadata(self) -> page.Metadata | None:
        """Tell what the files carry beside pixels; None where there are no files."""
        files = [file for one in self.sets.inspected for file in one.files]
        if not files:
            return None
        names = [name for one in self.sets.inspected for name in one.names]
        found = read_metadata(files)
        telling = found.telling()
        return page.Metadata(
            files=len(files),
            telling=len(telling),
            kinds=tuple((kind, found.count(kind)) for kind in KINDS if found.count(kind)),
            examples=tuple((names[at], ", ".join(found.kinds[at])) for at in telling[:_FILES]),
        )

    def detections(self) -> tuple[page.Detections, ...]:
        """Tell what was detected in which pictures."""
        told = []
        for what, found in self.boxes.items():
            rows = [row for row, boxes in found.items() if boxes]
            shown = tuple(self._picture(row, "") for row in rows[:_ALONE])
            limits = detection.LIMITS[what]
            told.append(page.Detections(what, len(rows), len(found), limits, shown))
        return tuple(told)

    def size(self) -> str:
        """Say how large the pictures are."""
        areas = self.seen.areas[self.among]
        low, high = int(areas.min()), int(areas.max())
        pixels = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        return f"of {pixels} pixels"

    def settings(self) -> tuple[tuple[str, str], ...]:
        """Say how the pictures were compared."""
        height, width = self.seen.gray.shape[1:]
        return (
            ("Compared at", f"{width} x {height} pixels, gray; mean color beside"),
            ("Exact copies", "the same 8-bit pixels once decoded (sha256)"),
            (
                "Near copies",
                f"the nearest {duplicates.CANDIDATES} by a perceptual hash that a shift leaves as "
                f"it is, kept if they differ by less than {self.near:g} once aligned to "
                f"{alignment.REACH} pixel, at equal brightness and contrast",
            ),
            (
                "Outliers",
                f"distance to the {outliers.NEIGHBORS}th nearest neighbor in coarse light, "
                "texture and color, beyond "
                f"{self.outlier:g} robust standard deviations of its logarithm",
            ),
            ("Diversity", "Vendi score (Friedman and Dieng, 2023) of the same features"),
        )

    def _diversity(self, name: str, rows: NDArray[np.int64]) -> page.Diversity:
        points = self.points[torch.from_numpy(rows)]
        most = max(1, min(len(rows) - 1, LENGTH))
        return page.Diversity(name, len(rows), diversity.vendi(points), most)

    def _group(self, group: Group) -> page.Group:
        kind = "the same pixels" if group.exact else "nearly the same"
        shown = tuple(self._picture(row, "") for row in group.rows[:_MEMBERS])
        return page.Group(f"{len(group.rows):,} pictures, {kind}", len(group.rows), shown)

    def _picture(self, row: int, note: str) -> page.Picture:
        return page.Picture(self.seen.names[row], note, Image.fromarray(self._read(row)))

    def _read(self, row: int) -> Pixels:
        """Decode a picture that was read before."""
        collection = self.sets.collections[int(self.seen.origins[row])]
        (pixels,) = collection.read([int(self.seen.rows[row])])
        if isinstance(pixels, str):
            raise DataError(
                f"{self.seen.names[row]} changed while it was inspected; inspect the data again"
            )
        return pixels
