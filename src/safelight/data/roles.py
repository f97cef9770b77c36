"""Deal pictures into roles that share none: private, public, victims, holdout."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from safelight import catalog
from safelight.data.images import ImageSet
from safelight.data.sources import embedded, folder, hub
from safelight.data.sources.source import Split
from safelight.errors import DataError
from safelight.plan.plan import DataPlan, OutlierPlan, RolePlan
from safelight.stats.seeds import Seeds

#: The class of pictures that ``data.outliers`` adds.
OUTLIER = "outlier"

#: Drawn in this order, so that the victims stay the same when the attacker gets more pictures.
ORDER = ("private", "victims", "holdout", "public")


@dataclass(frozen=True)
class Roles:
    """Disjoint sets of pictures: no content hash is in two of them.

    ``private``: what the target was trained on (None if unknown). ``public``: the attacker's.
    ``victims``: what the attacker wants to see; none where it is after the training set.
    ``holdout``: look-alikes to name victims among, or pictures that were never trained on.
    """

    private: ImageSet | None
    public: ImageSet
    victims: ImageSet
    holdout: ImageSet

    def items(self) -> list[tuple[str, ImageSet]]:
        """Return (name, set) for each role that is there."""
        sets = {name: getattr(self, name) for name in ORDER}
        return [(name, images) for name, images in sets.items() if images]


def open_split(source: str, split: str, plan: DataPlan) -> Split:
    """Find a source: embedded, a folder, a mirror in SAFELIGHT_DATA, or the hub.

    Raises:
        DataError: nothing has that name, or it cannot be read.
    """
    if source == "embedded":
        return embedded.open_split(split, plan.size, plan.channels)
    root = os.environ.get("SAFELIGHT_DATA")
    places = [Path(root) / source] if root else []
    if source and source not in hub.NAMES:  # a folder that happens to be called mnist is not MNIST
        places.insert(0, Path(source))
    for place in places:
        if place.is_dir():
            return folder.open_split(place, split, plan.size, plan.channels)
    if source in hub.NAMES or source.count("/") == 1:
        return hub.open_split(source, split, plan.size, plan.channels)
    raise DataError(
        f"{catalog.unknown('data source', source, ['embedded', *hub.NAMES])}, "
        "or give a hub name (owner/name) or an existing folder"
    )


def deal(plan: DataPlan) -> Roles:
    """Draw every role of a plan.

    Roles that name the same source and split are dealt from one shuffled pool; pools that
    differ must not share pictures.

    Raises:
        DataError: a pool is too small, a class is empty, pictures differ in shape or classes
            between roles, or two roles share a picture.
    """
    pools: dict[tuple[str, str], _Pool] = {}
    drawn: dict[str, ImageSet] = {}
    # A training set without a count is what the other roles leave of its pool.
    whole = plan.private is not None and plan.private.count is None
    for name in (*ORDER[1:], ORDER[0]) if whole else ORDER:
        role: RolePlan | None = getattr(plan, name)
        if role is None:
            continue
        key = (role.source or plan.source, role.split)
        if key not in pools:
            # By the folder's own name: where it lies must not change who is drawn.
            seeds = Seeds(plan.seed, ("roles", Path(key[0]).name, key[1]))
            pools[key] = _Pool(_only(open_split(*key, plan), plan.classes), seeds)
        drawn[name] = pools[key].draw(name, role.count)
    drawn = {name: drawn[name] for name in ORDER if name in drawn}
    if plan.outliers is not None:
        drawn = _with_outliers(drawn, plan.outliers, plan)
    if "victims" not in drawn:
        drawn["victims"] = drawn["holdout"].rows(torch.arange(0))
    _check_alike(drawn)
    _check_disjoint(drawn)
    return Roles(drawn.get("private"), drawn["public"], drawn["victims"], drawn["holdout"])


class _Pool:
    """The rows of one split that no role has taken yet, in a seeded order."""

    def __init__(self, split: Split, seeds: Seeds) -> None:
        self.split = split
        rng = np.random.default_rng(seeds.integer())
        self.taker = ""  # the role that took everything that was left, if one did
        self.left: NDArray[np.int64] = rng.permutation(len(split.labels))

    def draw(self, role: str, count: int | None) -> ImageSet:
        """Take ``count`` rows, as evenly over the classes as whole numbers allow."""
        if count is None:
            if len(self.left) == 0:
                raise DataError(self._nothing_left(role))
            rows, self.left, self.taker = self.left, self.left[:0], role
            if role == "victims":  # nobody was drawn: they keep the order of the file
                rows = np.sort(rows)
        else:
            rows = self._balanced(role, count)
            self.left = self.left[~np.isin(self.left, rows)]
        return ImageSet(
            torch.from_numpy(self.split.pictures(rows)),
            torch.from_numpy(self.split.labels[rows]),
            self.split.classes,
            self.split.source,
        )

    def _nothing_left(self, role: str) -> str:
        taker = f"data.{self.taker} took the rest, give it a count" if self.taker else "add some"
        return f"nothing is left of {self.split.source} for data.{role}; {taker}"

    def _balanced(self, role: str, count: int) -> NDArray[np.int64]:
        if self.taker:
            raise DataError(self._nothing_left(role))
        classes = self.split.classes
        labels = self.split.labels[self.left]
        taken = []
        for index, name in enumerate(classes):
            share = count // len(classes) + (index < count % len(classes))
            rows = self.left[labels == index]
            if len(rows) < share:
                state = "is empty" if len(rows) == 0 else f"has only {len(rows)} pictures left"
                raise DataError(
                    f"class {name!r} of {self.split.source} {state} but data.{role} needs {share}; "
                    f"lower data.{role}.count or add pictures"
                )
            taken.append(rows[:share])
        # Interleave the classes, so that any prefix of a role is nearly balanced too.
        rank = np.concatenate([np.arange(len(rows)) for rows in taken])
        return np.concatenate(taken)[np.argsort(rank, kind="stable")]


def _only(split: Split, classes: Sequence[str] | None) -> Split:
    """Return a split without the pictures of other classes."""
    if classes is None:
        return split
    for one in classes:
        if one not in split.classes:
            raise DataError(catalog.unknown(f"class of {split.source}", one, split.classes))
    place = np.full(len(split.classes), -1)
    place[[split.classes.index(one) for one in classes]] = np.arange(len(classes))
    kept = np.flatnonzero(place[split.labels] >= 0)
    return Split(
        labels=place[split.labels[kept]],
        classes=tuple(classes),
        pictures=lambda rows: split.pictures(kept[rows]),
        source=f"{split.source}, only {', '.join(classes)}",
    )


def _with_outliers(
    drawn: Mapping[str, ImageSet], outliers: OutlierPlan, plan: DataPlan
) -> dict[str, ImageSet]:
    """Put outliers before the training set, and others of their kind before the holdout.

    First, so that whoever takes the first rows of both has them all.
    """
    source = outliers.source or plan.source
    seeds = Seeds(plan.seed, ("outliers", Path(source).name, outliers.split))
    pool = _Pool(_only(open_split(source, outliers.split, plan), outliers.classes), seeds)
    found = {}
    for name, own in drawn.items():
        classes = (*own.classes, OUTLIER)
        if name not in ("private", "holdout"):
            found[name] = ImageSet(own.images, own.labels, classes, own.source)
            continue
        odd = pool.draw("outliers", outliers.count)
        _check_shapes({name: own, "outliers": odd})
        labels = torch.full((len(odd),), len(own.classes))
        found[name] = ImageSet(
            torch.cat([odd.images, own.images]),
            torch.cat([labels, own.labels]),
            classes,
            f"{own.source}, {len(odd)} outliers of {odd.source}",
        )
    return found


def _check_shapes(drawn: Mapping[str, ImageSet]) -> None:
    first, reference = next(iter(drawn.items()))
    for name, images in drawn.items():
        if images.shape != reference.shape:
            raise DataError(
                f"data.{name} has pictures of shape {list(images.shape)}, data.{first} of "
                f"{list(reference.shape)}; set data.size and data.channels"
            )


def _check_alike(drawn: Mapping[str, ImageSet]) -> None:
    _check_shapes(drawn)
    for name in ("holdout", "public"):
        if drawn["victims"].classes != drawn[name].classes:
            raise DataError(
                f"data.victims and data.{name} name different classes; give both the same classes"
            )


def _check_disjoint(drawn: dict[str, ImageSet]) -> None:
    owner: dict[str, str] = {}
    for name, images in drawn.items():
        shared = [owner[content] for content in images.content_hashes() if content in owner]
        if shared:
            raise DataError(
                f"data.{name} and data.{shared[0]} share {len(shared)} identical pictures; "
                "take them from splits that do not overlap"
            )
        owner.update(dict.fromkeys(images.content_hashes(), name))
