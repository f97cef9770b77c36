"""What is done to a message before it leaves the device: where defenses of the release hook in."""

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

#: How far a sum of probabilities may be from one; rounding in float32 stays far below.
TO_ONE = 1e-4


@dataclass(frozen=True)
class Scale:
    """How large messages are, measured on public pictures; defenses count in these units.

    ``deviation``, ``low`` and ``high`` are over all numbers of all messages together. ``simplex``:
    each message is a vector of probabilities.
    """

    deviation: float
    low: float
    high: float
    simplex: bool = False

    @classmethod
    def of(cls, messages: Tensor) -> "Scale":
        """Measure messages [n, ...]."""
        low = float(messages.min())
        simplex = messages.ndim == 2 and low >= 0
        simplex = simplex and float((messages.sum(1) - 1).abs().max()) < TO_ONE
        return cls(float(messages.std()), low, float(messages.max()), simplex)


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


class Undoable(Release):
    """A defense that who knows it takes back, but for what it rounded."""

    @abc.abstractmethod
    def undone(self, messages: Tensor) -> Tensor:
        """Return what the device computed, as far as messages [n, ...] that left tell it."""


class Calibrated(Release):
    """A defense that acts on each message by how the edge answers to that message's picture.

    The device, which has both, calibrates once a picture and keeps to it in every send. Used
    without it, what is sent counts as the picture itself.
    """

    @abc.abstractmethod
    def calibrated(self, edge: nn.Module, pictures: Tensor) -> Release:
        """Return the defense of the messages of pictures [n, c, h, w], in their order.

        The same picture is given the same whatever stands beside it, now and later.

        Args:
            edge: pictures -> messages, differentiable, each message of its own picture alone. It is
                whatever edge the device runs: a planted leak is calibrated as the leak that it is.
            pictures: in [0, 1].
        """
