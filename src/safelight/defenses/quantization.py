"""Fewer bits for each number of the message."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor

from safelight.catalog import Reference
from safelight.targets.release import Release, Scale


@dataclass(frozen=True, kw_only=True)
class Quantization(Release):
    """Send the nearest of 2^bits levels, evenly spaced over the range of public messages.

    Cheaper to send; a deterministic message has no certificate, however coarse it is.

    Attributes:
        bits: of each number.
    """

    reference: ClassVar[Reference] = Reference(
        key="jacob2018",
        authors="Jacob, Benoit and Kligys, Skirmantas and Chen, Bo and Zhu, Menglong and Tang, "
        "Matthew and Howard, Andrew and Adam, Hartwig and Kalenichenko, Dmitry",
        title="Quantization and Training of Neural Networks for Efficient "
        "Integer-Arithmetic-Only Inference",
        year=2018,
        venue="CVPR 2018",
        doi="10.1109/CVPR.2018.00286",
    )
    random: ClassVar[bool] = False
    hides: ClassVar[bool] = False

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    bits: Annotated[int, pydantic.Field(ge=1, le=16)] = 4

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return low + step round((z - low) / step), clamped to the range."""
        del draw
        step = max(scale.high - scale.low, 1e-12) / (2**self.bits - 1)
        level = ((messages - scale.low) / step).round().clamp(0, 2**self.bits - 1)
        sent: Tensor = scale.low + step * level
        return sent
