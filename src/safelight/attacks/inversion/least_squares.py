"""Least squares: undo a first layer by the best linear map, in closed form."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.attack import Count, InversionAttack, Reconstruction
from safelight.attacks.inversion.class_means import Layout, layouts
from safelight.attacks.inversion.decoder import held_out
from safelight.catalog import Reference
from safelight.errors import PlanError
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation
from safelight.threats.split_inference import HE_2019

#: Ridges to choose from, in units of the mean square of a channel: against rounding, no more.
RIDGES = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)

#: Unknowns a pixel beyond which the equations do not fit in memory.
WIDEST = 8192

#: Pictures whose equations are formed together.
AT_ONCE = 50


@dataclass(frozen=True, kw_only=True)
class LeastSquares(InversionAttack):
    """Learn the linear map from what surrounds a place of the message to the pixel there.

    A first convolution with at least as many channels as its kernel has inputs loses nothing: each
    place's channels determine the pixels under the kernel. The normal equations find that map
    exactly, where gradient descent stops at its own noise. The ridge is the one that does best on
    public pictures kept aside.

    Attributes:
        pictures: public pictures to send, at most.
        kernel: places around a pixel that are looked at, as a side; odd.
    """

    reference: ClassVar[Reference] = HE_2019
    needs: ClassVar[Needs] = Needs(messages=True, queries=True, public=True)

    pictures: Count = 1000
    kernel: Count = 1

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of the normal equations."""
        grid = math.prod(seen.message_shape[1:]) if len(seen.message_shape) == 3 else 1
        columns = math.prod(seen.message_shape) // grid * self.kernel**2 + 1
        return 2.0 * self.pictures * grid * columns**2

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim by the map; nothing in it is random.

        Raises:
            PlanError: the kernel is even, or the equations would not fit in memory.
        """
        if self.kernel % 2 == 0:
            raise PlanError(f"kernel = {self.kernel} has no middle; give an odd one")
        learned, kept = held_out(seen)
        learned, kept = learned[: self.pictures], kept[:AT_ONCE]
        answers = [seen.query(part) for part in learned.split(AT_ONCE)]
        tested, best = seen.query(kept), (math.inf, 0.0, Reconstruction(kept))
        for layout in layouts(seen.message_shape, seen.image_shape):
            gram, told = self._equations(layout, answers, learned)
            unit = gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
            for ridge in RIDGES:
                linear = torch.linalg.solve(gram + ridge * unit, told)
                error = float((self._claim(layout, tested, linear) - kept).square().mean())
                if error < best[0]:
                    claim = Reconstruction(
                        torch.cat(
                            [
                                self._claim(layout, part, linear)
                                for part in seen.messages.split(AT_ONCE)
                            ]
                        ),
                        {"ridge": ridge},
                    )
                    best = error, ridge, claim
        return best[2]

    def _equations(
        self, layout: Layout, answers: list[Tensor], pictures: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return A^T A and A^T B of what surrounds a place, A, and the pixels there, B."""
        sums: list[Tensor] = []
        for messages, part in zip(answers, pictures.split(AT_ONCE), strict=True):
            around = self._around(layout, messages)
            pixels = layout.folded(part).permute(0, 2, 3, 1).flatten(0, 2).double()
            own = around.T @ around, around.T @ pixels
            sums = [old + new for old, new in zip(sums, own, strict=True)] if sums else list(own)
        return sums[0], sums[1]

    def _claim(self, layout: Layout, messages: Tensor, linear: Tensor) -> Tensor:
        flat = self._around(layout, messages) @ linear
        cells = flat.unflatten(0, (len(messages), *layout.cells)).permute(0, 3, 1, 2)
        return layout.unfolded(cells.float()).clamp(0, 1)

    def _around(self, layout: Layout, messages: Tensor) -> Tensor:
        """Return [n * cells, channels * kernel^2 + 1] in float64: rounding decides here."""
        if messages.ndim != 4:
            messages = messages.flatten(1)[:, :, None, None]
        columns = messages.shape[1] * self.kernel**2
        if columns > WIDEST:
            raise PlanError(
                f"least squares would solve for {columns} unknowns a pixel, more than {WIDEST}; "
                "lower its kernel, or use inversion/decoder"
            )
        spread = F.unfold(layout.padded(messages), self.kernel, padding=self.kernel // 2)
        flat = spread.transpose(1, 2).flatten(0, 1).double()
        return torch.cat([flat, torch.ones_like(flat[:, :1])], 1)
