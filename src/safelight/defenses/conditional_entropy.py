"""Conditional entropy: let the message tell little of a picture beyond its class."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
from torch import Tensor

from safelight.catalog import Reference
from safelight.defenses.fit_at_cut import Passing, Penalty, Room, TrainedAtCut
from safelight.errors import PlanError


@dataclass(frozen=True, kw_only=True)
class ConditionalEntropy(TrainedAtCut):
    """Charge for every nat that the message can carry about a picture beyond its class.

    Conditional entropy maximization (Xia et al. 2025): whatever attacker there is, its error grows
    with the entropy that the picture keeps once the message is known. That entropy is unknown, but
    what the message takes from it is bounded by the spread of messages within a class against the
    noise, see ``nats_beyond_class``. The paper mixes Gaussians per class; here each class is one.

    Attributes:
        cut: the layer whose output is sent.
        noise: standard deviation of the Gaussian noise on the message in training, in units of
            the message's own deviation; as much as the release will add. Needed: a message
            without noise has no price.
        channels: of a bottleneck put behind the cut, whose output is the message; 0 puts none.
            The threat then cuts at ``<cut>.narrow``.
        stride: of the bottleneck; one as large as the message's grid makes the message a vector
            of ``channels`` numbers.
        weight: of one nat beside the cross-entropy, itself in nats. Every number of the message
            adds its own, so that large messages want a small weight.
    """

    reference: ClassVar[Reference] = Reference(
        key="xia2025",
        authors="Xia, Song and Yu, Yi and Yang, Wenhan and Ding, Meiwen and Chen, Zhuo and "
        "Duan, Ling-Yu and Kot, Alex C. and Jiang, Xudong",
        title="Theoretical Insights in Model Inversion Robustness and Conditional Entropy "
        "Maximization for Collaborative Inference Systems",
        year=2025,
        venue="CVPR 2025",
        url="https://arxiv.org/abs/2503.00383",
    )

    weight: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 0.01

    def __post_init__(self) -> None:
        if not self.noise:
            raise PlanError(
                "a message without noise tells without limit, which no price bounds; set "
                "defense.noise to what the release will add"
            )

    def penalty(self, room: Room) -> Penalty:
        """Return the price of a batch: ``weight`` times its nats beyond the class."""

        def price(passing: Passing) -> Tensor:
            told = nats_beyond_class(passing.message, passing.labels, passing.deviation)
            return self.weight * told

        return price


def nats_beyond_class(message: Tensor, labels: Tensor, deviation: Tensor) -> Tensor:
    """Bound the information of a noisy message about its picture beyond the class, in nats.

    I(x; z + e | y) <= sum_y p(y) sum_i 1/2 ln(1 + Var(z_i | y) / s^2) for e ~ N(0, s^2 I), for a
    Gaussian has the largest entropy of its variance, and numbers taken one by one no less than
    together. Variances are the batch's, so that on few pictures this is an estimate of the bound.

    Args:
        message: [n, ...], before the noise.
        labels: [n]; a class of one picture counts as telling nothing.
        deviation: s, a scalar above 0.

    Returns:
        a scalar, 0 where all pictures of a class send the same.
    """
    flat = message.flatten(1)
    told = flat.new_zeros(())
    for label in labels.unique():
        own = flat[labels == label]
        if len(own) > 1:
            carried = 0.5 * (own.var(0) / deviation**2).log1p().sum()
            told = told + len(own) / len(flat) * carried
    return told
