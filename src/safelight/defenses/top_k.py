"""Only the largest numbers of a vector are returned."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor

from safelight.catalog import Reference
from safelight.defenses.rounding import SHOKRI_2017
from safelight.errors import PlanError
from safelight.targets.release import Release, Scale


@dataclass(frozen=True, kw_only=True)
class TopK(Release):
    """Return the k largest numbers of each message and zero for all others.

    Attributes:
        k: how many are kept; all where the message is shorter.
    """

    reference: ClassVar[Reference] = SHOKRI_2017
    random: ClassVar[bool] = False
    hides: ClassVar[bool] = True

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    k: Annotated[int, pydantic.Field(ge=1)] = 1

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return the messages with zeros in them.

        Raises:
            PlanError: the largest is not above 0, so that zeros would come before it.
        """
        del scale, draw
        flat = messages.flatten(1)
        largest, places = flat.topk(min(self.k, flat.shape[1]), dim=1)
        if bool((largest[:, 0] <= 0).any()):
            raise PlanError(
                "top_k writes 0 for what it leaves out, more than the largest number here; use "
                'prediction_api with returns = "probabilities"'
            )
        return torch.zeros_like(flat).scatter(1, places, largest).reshape(messages.shape)
