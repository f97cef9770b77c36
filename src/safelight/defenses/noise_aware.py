"""Noise-aware training: learn to be right in spite of the noise that the device will add."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from safelight.catalog import Reference
from safelight.defenses.fit_at_cut import Passing, Penalty, Room, TrainedAtCut
from safelight.errors import PlanError


@dataclass(frozen=True, kw_only=True)
class NoiseAware(TrainedAtCut):
    """Train with the noise on the message that it will be sent with (Wang et al. 2018).

    Noise costs a network that never met it more accuracy than one that was trained with it, which
    learns to say what the class needs loudly enough. It hides nothing by itself: the release must
    add the noise, or messages are as clear as any.

    Attributes:
        cut: the layer whose output is sent.
        noise: standard deviation of the Gaussian noise on the message in training, in units of
            the message's own deviation; as much as the release will add.
        channels: of a bottleneck put behind the cut, whose output is the message; 0 puts none.
            The threat then cuts at ``<cut>.narrow``.
        stride: of the bottleneck; one as large as the message's grid makes the message a vector
            of ``channels`` numbers.
    """

    reference: ClassVar[Reference] = Reference(
        key="wang2018",
        authors="Wang, Ji and Zhang, Jianguo and Bao, Weidong and Zhu, Xiaomin and Cao, Bokai and "
        "Yu, Philip S.",
        title="Not Just Privacy: Improving Performance of Private Deep Learning in Mobile Cloud",
        year=2018,
        venue="KDD 2018",
        doi="10.1145/3219819.3220106",
    )

    def __post_init__(self) -> None:
        if not self.noise:
            raise PlanError(
                "training that is to be aware of noise needs some; set defense.noise to what the "
                "release will add"
            )

    def penalty(self, room: Room) -> Penalty:
        """Return nothing to pay: being right in spite of the noise is all that is asked."""
        return _free


def _free(passing: Passing) -> Tensor:
    return passing.sent.new_zeros(())
