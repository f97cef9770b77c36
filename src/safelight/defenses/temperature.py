"""Probabilities flattened before they are returned."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor

from safelight.catalog import Reference
from safelight.defenses.rounding import SHOKRI_2017
from safelight.errors import PlanError
from safelight.targets.release import Scale, Undoable


@dataclass(frozen=True, kw_only=True)
class Temperature(Undoable):
    """Divide the logits by a temperature before the softmax whose probabilities leave.

    The order of the classes stays, and so do the ratios: at full precision who knows the
    temperature undoes it, so it protects nothing by itself. Beside rounding it hides more.

    Attributes:
        temperature: above 1 flattens, below 1 sharpens.
        decimals: what the probabilities are rounded to; as they are if unset.
    """

    reference: ClassVar[Reference] = SHOKRI_2017
    random: ClassVar[bool] = False
    hides: ClassVar[bool] = False

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    temperature: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 5.0
    decimals: Annotated[int, pydantic.Field(ge=0, le=7)] | None = None

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return softmax(log(p) / T) of probabilities p [n, classes].

        Raises:
            PlanError: the messages are no probabilities.
        """
        del draw
        if messages.ndim != 2 or scale.low < 0 or scale.high > 1 + 1e-5:
            raise PlanError(
                "a temperature needs probabilities, and what leaves here is none; use "
                'prediction_api with returns = "probabilities"'
            )
        flat = (messages.clamp_min(1e-30).log() / self.temperature).softmax(1)
        return flat if self.decimals is None else flat.round(decimals=self.decimals)

    def undone(self, messages: Tensor) -> Tensor:
        """Return softmax(T log(q)) of flat probabilities q [n, classes]: p, but for rounding."""
        return (self.temperature * messages.clamp_min(1e-30).log()).softmax(1)
