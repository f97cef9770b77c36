"""What is done to a message before it leaves the device: where defenses of the release hook in."""

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scale:
    """How large messages are, measured on public pictures; defenses count in these units.

    ``deviation``, ``low`` and ``high`` are over all numbers of all messages together.
    """

    deviation: float
    low: float
    high: float

    @classmethod
    def of(cls, messages: Tensor) -> "Scale":
        """Measure messages [n, ...]."""
        return cls(float(messages.std()), float(messages.min()), float(messages.max()))


#: Of messages that are measured in units of their own.
UNIT = Scale(1.0, 0.0, 1.0)


class Release(abc.ABC):
    """A defense that changes each message on its way out; the model stays as it is.

    ``random``: two sends of one picture differ. ``hides``: a zero may stand for a number that was
    removed, and who knows the defense ignores zeros.
    """

    random: ClassVar[bool]
    hides: ClassVar[bool]

    @abc.abstractmethod
    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return what leaves in place of messages [n, ...], in the same shape.

        Args:
            messages: what the device computed.
            scale: of the undefended messages.
            draw: the source of chance, on the CPU.
        """
