"""What an extraction attack is: options, needs, a reference, and candidates as its claim."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import pydantic
from torch import Tensor

from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.released_model import ReleasedObservation, ReleaseNeeds


@dataclass(frozen=True)
class Extraction:
    """Candidates for training pictures, and how they came about.

    ``images``: [m, channels, height, width] in [0, 1], in no order that means anything.
    ``labels``: [m], the class that the attack gives each. ``confidence``: [m], higher where the
    attack is surer, from nothing but its own objective.
    """

    images: Tensor
    labels: Tensor
    confidence: Tensor
    provenance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ExtractionAttack(ABC):
    """Looks for training pictures in published weights.

    A subclass is a frozen dataclass: its fields are its options everywhere. It reads nothing of
    the observation beyond ``needs``, leaves the target as it was, and depends on nothing random
    but ``rng``. What it ``welcomes`` it uses where the threat offers it, and else does without.
    """

    # A misspelled option is an error.
    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    reference: ClassVar[Reference]
    needs: ClassVar[ReleaseNeeds]
    welcomes: ClassVar[ReleaseNeeds] = ReleaseNeeds(weights=False)

    @property
    def access(self) -> str:
        """What the attack uses, in the field's words."""
        return "white-box"

    @abstractmethod
    def unfit(self, seen: ReleasedObservation) -> str:
        """Return why the attack says nothing of this model, or an empty string."""

    @abstractmethod
    def run(self, seen: ReleasedObservation, rng: Seeds) -> Extraction:
        """Return candidates from what is seen."""
