"""The predicted class and nothing else."""

from dataclasses import dataclass
from typing import ClassVar

import pydantic
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.catalog import Reference
from safelight.targets.release import Release, Scale


@dataclass(frozen=True, kw_only=True)
class LabelOnly(Release):
    """Return 1 for the largest number of each message and 0 for all others: the class alone."""

    reference: ClassVar[Reference] = Reference(
        key="choquettechoo2021",
        authors="Choquette-Choo, Christopher A. and Tramer, Florian and Carlini, Nicholas and "
        "Papernot, Nicolas",
        title="Label-Only Membership Inference Attacks",
        year=2021,
        venue="ICML 2021",
        url="https://proceedings.mlr.press/v139/choquette-choo21a.html",
    )
    random: ClassVar[bool] = False
    hides: ClassVar[bool] = False

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return one-hot vectors in the shape of the messages."""
        del scale, draw
        flat = messages.flatten(1)
        return F.one_hot(flat.argmax(1), flat.shape[1]).to(messages).reshape(messages.shape)
