"""What an attack is: options, needs, a reference, and a claim."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import pydantic
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation

#: Types of options: the catalog refuses other values with the option's name.
Count = Annotated[int, pydantic.Field(ge=1)]
Positive = Annotated[float, pydantic.Field(gt=0)]


@dataclass(frozen=True)
class Reconstruction:
    """One picture per victim, [n, channels, height, width] in [0, 1], and how it came about."""

    images: Tensor
    provenance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class InversionAttack(ABC):
    """Rebuilds the victims' pictures from their messages.

    A subclass is a frozen dataclass: its fields are its options everywhere. It reads nothing of
    the observation beyond ``needs``, leaves the target as it was, and depends on nothing random
    but ``rng``.
    """

    # A misspelled option is an error, inside another attack's options too.
    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    reference: ClassVar[Reference]
    needs: ClassVar[Needs]

    @property
    def access(self) -> str:
        """What the attack uses of the model, in the field's words."""
        if self.needs.weights:
            return "white-box"
        return "black-box queries" if self.needs.queries else "no queries"

    @abstractmethod
    def flops(self, seen: SplitObservation) -> float:
        """Return about how many floating-point operations ``run`` takes, work shared included."""

    @abstractmethod
    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim from what is seen."""


def forward_flops(network: nn.Module, example: Tensor) -> float:
    """Return the floating-point operations of one forward pass over one example [1, ...].

    A training step, forward and backward, takes about three times as many.
    """
    with FlopCounterMode(display=False) as counter:
        network(example)
    return float(counter.get_total_flops())
