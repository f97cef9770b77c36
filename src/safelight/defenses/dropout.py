"""Numbers of the message replaced by zero, at random."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
from torch import Tensor

from safelight.catalog import Reference
from safelight.defenses.gaussian_noise import HE_2020
from safelight.targets.release import Release, Scale


@dataclass(frozen=True, kw_only=True)
class Dropout(Release):
    """Send each number with chance 1 - rate and zero in its place otherwise, anew each time.

    What is sent stays exact, with no rescaling (as in He et al.): who knows the defense ignores
    the zeros, and after a few sends of the same picture has seen almost every number.

    Attributes:
        rate: the share that is removed.
        of: what is removed together: single ``numbers``, or whole ``channels`` of a message with
            a grid.
    """

    reference: ClassVar[Reference] = HE_2020
    random: ClassVar[bool] = True
    hides: ClassVar[bool] = True

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    rate: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.5
    of: Literal["numbers", "channels"] = "numbers"

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return the messages with zeros in them."""
        del scale
        each = messages.shape if self.of == "numbers" else messages.shape[:2]
        kept = (torch.rand(each, generator=draw) >= self.rate).to(messages)
        kept = kept.reshape(*each, *(1 for _ in messages.shape[len(each) :]))
        return messages * kept
