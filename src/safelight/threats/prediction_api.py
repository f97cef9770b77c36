"""A prediction API: the model is behind a service, and its answer is all that leaves."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic
from torch import Tensor, nn

from safelight.catalog import Reference
from safelight.targets.target import Target
from safelight.threats.messages import MessageThreat, Pictures, Sends, Structure
from safelight.threats.observation import Needs

#: A limit on what a service answers.
Queries = Annotated[int, pydantic.Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class PredictionApi(MessageThreat):
    """Somebody reads the vector that a model behind an API returned for a picture.

    What the service does to the vector before it returns it (rounding, the top k alone, a
    temperature, the label alone, noise) is a defense of the plan.

    Attributes:
        returns: the service's answer: ``logits`` or ``probabilities``.
        knows: of the model: ``weights``, ``queries`` (anyone's; they are counted), ``nothing``
            but its answers.
        queries: how many pictures one may ask about, which are then all that one owns; 0 for as
            many as one likes. An attack that asks about a picture twice, or about shifted ones,
            needs more. Only of who ``knows`` queries.
        pictures: what the adversary trains on: the target's own ``training set``; the plan's
            public ones, of the ``same distribution``, or of whatever distribution they are;
            random ``noise``; ``none``.
        structure: of the model, to imitate it: ``known`` (every layer but no weight) or
            ``different`` (guessed from the answers).
        sends: how often each picture is sent; the adversary averages what a defense randomizes.
        aware: whether the adversary knows what the service does to the vector.
    """

    reference: ClassVar[Reference] = Reference(
        key="fredrikson2015",
        authors="Fredrikson, Matt and Jha, Somesh and Ristenpart, Thomas",
        title="Model Inversion Attacks that Exploit Confidence Information and Basic "
        "Countermeasures",
        year=2015,
        venue="ACM CCS 2015",
        doi="10.1145/2810103.2813677",
    )

    returns: Literal["logits", "probabilities"] = "probabilities"
    knows: Literal["weights", "queries", "nothing"] = "queries"
    queries: Queries = 0
    pictures: Pictures = "same distribution"
    structure: Structure = "known"
    sends: Sends = 1
    aware: bool = True

    @property
    def where(self) -> str:
        """What is returned."""
        return self.returns

    @property
    def most_queries(self) -> int:
        """Pictures that the adversary may ask the service about; its own copy answers always."""
        return self.queries if self.knows == "queries" else 0

    @property
    def offers(self) -> Needs:
        """What this adversary may use; ``cloud`` reads classes off answers, which anybody can."""
        return Needs(
            messages=True,
            public=self.pictures != "none",
            labels=self.pictures in ("training set", "same distribution"),
            queries=self.knows in ("weights", "queries"),
            cloud=True,
            weights=self.knows == "weights",
        )

    def parts(self, target: Target, shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
        """Return the whole model as the edge, and the reading of logits off its answers."""
        del shape
        if self.returns == "logits":
            return target.model, nn.Identity()
        return Answering(target.model), Reading()


class Answering(nn.Module):
    """Pictures [n, c, h, w] -> probabilities [n, classes]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the softmax of the model's logits."""
        probabilities: Tensor = self.model(x).softmax(1)
        return probabilities


class Reading(nn.Module):
    """Probabilities [n, classes] -> logits up to a constant, the logarithm."""

    def forward(self, message: Tensor) -> Tensor:
        """Return log(p), with a floor where p is 0."""
        return message.clamp_min(1e-12).log()
