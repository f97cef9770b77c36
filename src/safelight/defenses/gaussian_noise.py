"""Gaussian noise on what leaves."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor

from safelight.catalog import Reference
from safelight.targets.release import Release, Scale

HE_2020 = Reference(
    key="he2020",
    authors="He, Zecheng and Zhang, Tianwei and Lee, Ruby B.",
    title="Attacking and Protecting Data Privacy in Edge-Cloud Collaborative Inference Systems",
    year=2020,
    venue="IEEE Internet of Things Journal 8(12)",
    doi="10.1109/JIOT.2020.3022358",
)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Release):
    """Add independent Gaussian noise to every number that leaves, anew each time.

    Who sees k sends of one picture averages: the noise that is left is 1 / sqrt(k) of it.

    Attributes:
        deviation: of the noise, in units of the messages' own standard deviation.
    """

    reference: ClassVar[Reference] = HE_2020
    random: ClassVar[bool] = True
    hides: ClassVar[bool] = False

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    deviation: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 1.0

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return z + s N(0, 1), s = deviation x that of the messages."""
        noise = torch.randn(messages.shape, generator=draw).to(messages)
        return messages + self.deviation * scale.deviation * noise
