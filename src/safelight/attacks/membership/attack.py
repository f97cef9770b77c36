"""What a membership attack is: options, needs, a reference, and a score for each candidate."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import pydantic
from numpy.typing import NDArray

from safelight.catalog import Reference
from safelight.stats.membership import threshold
from safelight.stats.seeds import Seeds
from safelight.targets.views import MOST_VIEWS
from safelight.threats.membership_game import GameObservation, Sights

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

#: With fewer, leaving one out to fit a threshold leaves none on one side of some picture.
FEWEST_SHADOWS = 8

#: Types of options: the catalog refuses other values with the option's name.
Shadows = Annotated[int, pydantic.Field(ge=FEWEST_SHADOWS)]
Views = Annotated[int, pydantic.Field(ge=1, le=MOST_VIEWS)]


@dataclass(frozen=True)
class MembershipScores:
    """One score a candidate, [candidates], higher for members.

    ``threshold``: from which score on the attack says "member", fitted on shadows or fixed by the
    method, never on the target's members; None where nothing suggests one.
    """

    scores: Array
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class MembershipAttack(ABC):
    """Tells members of the training set from other pictures by what the model says of them.

    A subclass is a frozen dataclass: its fields are its options everywhere. It reads nothing of
    the observation beyond ``needs``, leaves the target as it was, and depends on nothing random
    but ``rng``.
    """

    # A misspelled option is an error, inside another attack's options too.
    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    reference: ClassVar[Reference]

    @property
    @abstractmethod
    def needs(self) -> Sights:
        """What the attack reads, with these options."""

    @property
    @abstractmethod
    def trains(self) -> int:
        """How many shadow models the attack asks for."""

    @property
    def access(self) -> str:
        """What the attack uses of the model, in the field's words."""
        if self.needs.shadows:
            where = "candidates" if self.needs.online else "own pictures"
            return f"scores, {self.trains} shadow models trained on {where}"
        return "scores" if self.needs.scores else "labels"

    @abstractmethod
    def run(self, seen: GameObservation, rng: Seeds) -> MembershipScores:
        """Score every candidate."""


def left_out_threshold(inside: Mask, score: Callable[[int, Mask, Rows], Array]) -> float | None:
    """Fit a threshold by attacking each shadow with the help of the others.

    Args:
        inside: [shadows, n], True where a picture was in that shadow's training set.
        score: the attack on the shadow of a number with the help of others, a mask [shadows], for
            some of the pictures: their positions [k] -> scores [k].

    Returns:
        the threshold that tells the shadows' members best; None where leaving one out leaves none
        with some picture, or none without, whatever the picture.
    """
    known = np.flatnonzero(both_left(inside))
    if not known.size:
        return None
    every = range(len(inside))
    scores = [score(one, np.arange(len(inside)) != one, known) for one in every]
    return threshold.fit(np.stack(scores), inside[:, known])


def both_left(inside: Mask) -> Mask:
    """Whether a picture stays in some shadow and out of some, whichever is left out; [n]."""
    times = inside.sum(0)
    return np.asarray((times >= 2) & (times <= len(inside) - 2))
