"""Numbers rounded before they are returned."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor

from safelight.catalog import Reference
from safelight.targets.release import Release, Scale

SHOKRI_2017 = Reference(
    key="shokri2017",
    authors="Shokri, Reza and Stronati, Marco and Song, Congzheng and Shmatikov, Vitaly",
    title="Membership Inference Attacks Against Machine Learning Models",
    year=2017,
    venue="IEEE S&P 2017",
    doi="10.1109/SP.2017.41",
)


@dataclass(frozen=True, kw_only=True)
class Rounding(Release):
    """Round every number that leaves to a fixed number of decimals.

    Attributes:
        decimals: that are kept; 0 rounds to whole numbers, -1 to tens.
    """

    reference: ClassVar[Reference] = SHOKRI_2017
    random: ClassVar[bool] = False
    hides: ClassVar[bool] = False

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    decimals: Annotated[int, pydantic.Field(ge=-3, le=7)] = 2

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return the messages rounded."""
        del scale, draw
        return messages.round(decimals=self.decimals)
