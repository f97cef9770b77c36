"""Split inference: the device sends the output of a layer, the cloud computes the rest."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from safelight.catalog import Reference
from safelight.targets.cut import Cloud, cut
from safelight.targets.target import Target
from safelight.threats.messages import MessageThreat, Pictures, Sends, Structure
from safelight.threats.observation import Needs

#: The paper that posed the question, and the first answers to it.
HE_2019 = Reference(
    key="he2019",
    authors="He, Zecheng and Zhang, Tianwei and Lee, Ruby B.",
    title="Model Inversion Attacks Against Collaborative Inference",
    year=2019,
    venue="ACSAC 2019",
    doi="10.1145/3359789.3359824",
)


@dataclass(frozen=True, kw_only=True)
class SplitInference(MessageThreat):
    """Somebody reads the message between device and cloud.

    The adversary's settings are those of He et al. (2019): what is known of the model, of the
    training data and of the edge's structure. Less is known toward the end of each list.

    Attributes:
        cut: the layer whose output is sent.
        knows: of the model: ``weights`` (all of it, as the operator often has), ``queries`` (the
            app, but not what is in it, and the cloud's part), ``cloud`` (that part alone),
            ``nothing``.
        pictures: what the adversary trains on: the target's own ``training set``; the plan's
            public ones, of the ``same distribution``; random ``noise``; ``none``.
        structure: of the edge, to imitate it: ``known`` (every layer but no weight) or
            ``different`` (guessed from the message).
        sends: how often each picture is sent; the adversary averages what a defense randomizes.
        aware: whether the adversary knows the defense of what is sent. A defense counts for what
            it does to one who does; the other shows what is measured where nobody adapts.
    """

    reference: ClassVar[Reference] = HE_2019

    cut: str
    knows: Literal["weights", "queries", "cloud", "nothing"] = "weights"
    pictures: Pictures = "same distribution"
    structure: Structure = "known"
    sends: Sends = 1
    aware: bool = True

    @property
    def where(self) -> str:
        """The cut."""
        return self.cut

    @property
    def offers(self) -> Needs:
        """What this adversary may use."""
        return Needs(
            messages=True,
            public=self.pictures != "none",
            labels=self.pictures in ("training set", "same distribution"),
            queries=self.knows in ("weights", "queries"),
            cloud=self.knows != "nothing",
            weights=self.knows == "weights",
        )

    def parts(self, target: Target, shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
        """Return the edge, and the cloud behind it."""
        edge = cut(target.model, self.cut, shape)
        return edge, Cloud(edge, shape)
