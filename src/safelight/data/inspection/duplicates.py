"""Exact and near duplicates: equal pixels, and equal pictures whose pixels are not.

Near duplicates are found in two stages. Each picture's nearest few by a perceptual hash
(``signature``) are candidates; a candidate is kept if it differs little once aligned
(``alignment``). Every step works on blocks of pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from safelight.data.inspection.alignment import differences
from safelight.data.inspection.neighbors import nearest
from safelight.data.inspection.signature import signatures
from safelight.data.inspection.survey import Survey

#: Largest difference of near duplicates. Between 0.21, the most that JPEG at quality 75 did to
#: 1,000 digits, and 0.31, the least between two of 60,000 different ones.
THRESHOLD = 0.28

#: Candidates looked at per picture.
CANDIDATES = 10

#: Distance of signatures beyond which none is looked at; copies are at most 3.5 apart.
_FARTHEST = 4.0

#: Difference of the mean color beyond which pictures alike in gray are different ones.
_COLOR = 0.05

_BLOCK = 4096


@dataclass(frozen=True)
class Copies:
    """Which pictures are the same.

    ``content``: [n], equal numbers for equal pixels, in [0, contents). ``pairs``: [m, 2], contents
    that are near duplicates, the smaller first. ``difference``: [m], how much those differ.
    """

    content: NDArray[np.int64]
    pairs: NDArray[np.int64]
    difference: NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """Pictures that are one: their rows, and how many of them differ in any pixel."""

    rows: tuple[int, ...]
    contents: int

    @property
    def exact(self) -> bool:
        """Whether all have exactly the same pixels."""
        return self.contents == 1


def find_copies(seen: Survey, threshold: float = THRESHOLD) -> Copies:
    """Compare all pictures with each other.

    A picture in more than ten near duplicates is found through the nearest ten of them.
    """
    _, first, content = np.unique(seen.hashes, return_index=True, return_inverse=True)
    firsts = torch.from_numpy(first)
    pairs, difference = near_pairs(
        seen.gray[firsts], seen.chroma[firsts], seen.resampled, threshold
    )
    return Copies(content.astype(np.int64), pairs.numpy(), difference.numpy())


def near_pairs(
    gray: Tensor, chroma: Tensor, resampled: bool, threshold: float
) -> tuple[Tensor, Tensor]:
    """Return the pairs of near duplicates, [m, 2] with the smaller row first, and what differs.

    Args:
        gray: [n, height, width] bytes.
        chroma: [n, 2] mean color differences.
        resampled: whether gray was resampled, so that a shift may be by a part of a pixel.
        threshold: largest difference, see ``alignment.differences``.
    """
    if len(gray) < 2:
        return torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0)
    distance, rows = nearest(signatures(gray), CANDIDATES)
    own = torch.arange(len(gray))[:, None].expand_as(rows)
    pairs = torch.stack([torch.minimum(own, rows), torch.maximum(own, rows)], dim=-1)
    pairs = pairs[distance < _FARTHEST**2].unique(dim=0)
    pairs = pairs[(chroma[pairs[:, 0]] - chroma[pairs[:, 1]]).abs().amax(1) < _COLOR]
    found = [
        differences(gray[block[:, 0]].float() / 255, gray[block[:, 1]].float() / 255, resampled)
        for block in pairs.split(_BLOCK)
        if len(block)
    ]
    difference = torch.cat([torch.zeros(0), *found])
    kept = difference < threshold
    return pairs[kept], difference[kept]


def groups(copies: Copies, among: NDArray[np.bool_]) -> list[Group]:
    """Return the groups of two or more pictures among some, largest first.

    Args:
        copies: of all pictures.
        among: [n], which pictures count; a picture that does not count joins no others.
    """
    contents = int(copies.content.max(initial=-1)) + 1
    counted = np.zeros(contents, dtype=bool)
    counted[copies.content[among]] = True
    pairs = copies.pairs[counted[copies.pairs].all(1)]
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(contents,) * 2)
    _, component = connected_components(links, directed=False)
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(among):
        members.setdefault(int(component[copies.content[row]]), []).append(int(row))
    found = [
        Group(tuple(rows), len({copies.content[row] for row in rows}))
        for rows in members.values()
        if len(rows) > 1
    ]
    return sorted(found, key=lambda one: (-len(one.rows), one.rows))


@dataclass(frozen=True)
class Overlap:
    """What a first set shares with a second one.

    ``exact``, ``near``: pictures of the first with an exact copy, or else only a near one, in the
    second. ``pairs``: (row in the first, row in the second, difference), exact ones first.
    """

    exact: int
    near: int
    pairs: tuple[tuple[int, int, float], ...]


def overlap(copies: Copies, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Overlap:
    """Compare two sets of pictures, given as masks [n]; one example is kept per picture."""
    others = _rows_of(copies.content, second)
    links: dict[int, list[tuple[float, int]]] = {}
    for (one, other), apart in zip(copies.pairs.tolist(), copies.difference.tolist(), strict=True):
        links.setdefault(one, []).append((apart, other))
        links.setdefault(other, []).append((apart, one))
    exact, near = [], []
    for content, rows in _rows_of(copies.content, first).items():
        if content in others:
            exact += [(row, others[content][0], 0.0) for row in rows]
            continue
        found = sorted(link for link in links.get(content, []) if link[1] in others)
        if found:
            apart, other = found[0]
            near += [(row, others[other][0], apart) for row in rows]
    near.sort(key=lambda pair: pair[2])
    return Overlap(len(exact), len(near), tuple(exact + near))


def _rows_of(content: NDArray[np.int64], among: NDArray[np.bool_]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for row in np.flatnonzero(among):
        rows.setdefault(int(content[row]), []).append(int(row))
    return rows


def redundant(found: Sequence[Group], areas: NDArray[np.int64]) -> list[int]:
    """Return the rows that a set can do without: all of each group but its largest picture.

    Among equally large ones the first is kept.
    """
    spare = []
    for group in found:
        best = max(group.rows, key=lambda row: (areas[row], -row))
        spare += [row for row in group.rows if row != best]
    return sorted(spare)
