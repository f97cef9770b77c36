"""What an attack on a generator is: options, needs, a reference, and a claim."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
import pydantic
from numpy.typing import NDArray
from torch import Tensor

from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.released_generator import GeneratorNeeds, GeneratorObservation

Array = NDArray[np.float64]

#: Types of options: the catalog refuses other values with the option's name.
Count = Annotated[int, pydantic.Field(ge=1)]
Positive = Annotated[float, pydantic.Field(gt=0)]
Weight = Annotated[float, pydantic.Field(ge=0)]


@dataclass(frozen=True)
class CandidateScores:
    """One score a candidate, [candidates], higher for members.

    ``nearest``: the attack's own picture for each candidate, [candidates, c, h, w] in [0, 1]; None
    where it makes none. ``provenance``: what the attack learned on the way.
    """

    scores: Array
    nearest: Tensor | None = None
    provenance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MemorizedPictures:
    """Pictures that the attack takes for memorized ones, [m, c, h, w] in [0, 1].

    ``confidence``: [m], higher where it is surer, from nothing but its own objective.
    """

    images: Tensor
    confidence: Tensor
    provenance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GeneratorAttack(ABC):
    """Options and needs of an attack on a generator.

    A subclass is a frozen dataclass: its fields are its options everywhere. It reads nothing of
    the observation beyond ``needs``, leaves the networks as they were, and depends on nothing
    random but ``rng``.
    """

    # A misspelled option is an error.
    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    reference: ClassVar[Reference]

    @property
    @abstractmethod
    def needs(self) -> GeneratorNeeds:
        """What the attack reads, with these options."""

    @property
    def access(self) -> str:
        """What the attack uses of the generator, in the field's words."""
        needs = self.needs
        if needs.weights:
            return "white-box"
        if needs.latents:
            return "partial black-box"
        return "full black-box" if needs.samples else "discriminator"

    def unfit(self, seen: GeneratorObservation) -> str:
        """Return why the attack says nothing of this generator, or an empty string."""
        del seen
        return ""


@dataclass(frozen=True, kw_only=True)
class CandidateAttack(GeneratorAttack):
    """Tells pictures that a generator was trained on from others."""

    @abstractmethod
    def run(self, seen: GeneratorObservation, rng: Seeds) -> CandidateScores:
        """Score every candidate."""


@dataclass(frozen=True, kw_only=True)
class MemoryAttack(GeneratorAttack):
    """Looks for pictures of the training set in a generator, without knowing candidates."""

    @abstractmethod
    def run(self, seen: GeneratorObservation, rng: Seeds) -> MemorizedPictures:
        """Return pictures that are taken for memorized ones."""
