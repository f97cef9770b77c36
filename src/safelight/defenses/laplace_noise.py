"""Laplace noise on what leaves."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor

from safelight.catalog import Reference
from safelight.defenses.gaussian_noise import HE_2020
from safelight.targets.release import Release, Scale


@dataclass(frozen=True, kw_only=True)
class LaplaceNoise(Release):
    """Add independent Laplace noise to every number that leaves, anew each time.

    It is no local differential privacy: nothing bounds how far two pictures' messages are apart.

    Attributes:
        deviation: of the noise, sqrt(2) times its scale b, in units of the messages' own standard
            deviation, so that it compares with Gaussian noise.
    """

    reference: ClassVar[Reference] = HE_2020
    random: ClassVar[bool] = True
    hides: ClassVar[bool] = False

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    deviation: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 1.0

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return z + b Laplace(0, 1), the difference of two exponential draws."""
        b = self.deviation * scale.deviation / math.sqrt(2)
        one = torch.empty(messages.shape).exponential_(generator=draw)
        other = torch.empty(messages.shape).exponential_(generator=draw)
        return messages + b * (one - other).to(messages)
