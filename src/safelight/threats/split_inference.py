"""Split inference: the device sends the output of a layer, the cloud computes the rest."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
from torch import Tensor, nn

from safelight.cache import Cache
from safelight.catalog import Reference
from safelight.data.noise import noise_pictures
from safelight.data.roles import Roles
from safelight.errors import PlanError
from safelight.targets.cut import Cloud, cut
from safelight.targets.target import Target
from safelight.threats.observation import Link, Needs, Secret, SplitObservation, observe

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
class SplitInference:
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
        noise: standard deviation of the Gaussian noise that the device adds to each message, in
            units of the message's own deviation.
        sends: how often each picture is sent, with fresh noise; the adversary averages.
    """

    reference: ClassVar[Reference] = HE_2019

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    cut: str
    knows: Literal["weights", "queries", "cloud", "nothing"] = "weights"
    pictures: Literal["training set", "same distribution", "noise", "none"] = "same distribution"
    structure: Literal["known", "different"] = "known"
    noise: Annotated[float, pydantic.Field(ge=0)] = 0.0
    sends: Annotated[int, pydantic.Field(ge=1)] = 1

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

    def meet(
        self, target: Target, roles: Roles, device: torch.device, cache: Cache
    ) -> tuple[SplitObservation, Secret]:
        """Let the adversary watch the victims use the target.

        Raises:
            LoadError: the target has no layer of that name.
            PlanError: the adversary owns the training set, and the plan does not name it.
        """
        edge = cut(target.model, self.cut, roles.victims.shape)
        cloud = Cloud(edge, roles.victims.shape)
        return self.expose(edge, cloud, roles, device, cache)

    def expose(
        self, edge: nn.Module, cloud: nn.Module, roles: Roles, device: torch.device, cache: Cache
    ) -> tuple[SplitObservation, Secret]:
        """Let the adversary watch the victims use any edge, a planted one too."""
        public = roles.public
        if self.pictures == "training set":
            if roles.private is None:
                raise PlanError(
                    "an adversary that owns the training set needs data.private, "
                    "the pictures that the target was trained on; name them"
                )
            public = roles.private
        elif self.pictures in ("noise", "none"):
            public = noise_pictures(roles.public, len(roles.public), seed=0)
        secret = Secret(roles.victims.to(device))
        edge = edge.to(device)
        deviation = self._deviation(edge, roles.public.images[:500].to(device))
        seen = observe(
            Link(edge, cloud.to(device), self.structure, deviation, self.sends),
            secret,
            public.to(device),
            self.offers,
            cache=cache,
            threat=f"split_inference with knows = {self.knows!r}, pictures = {self.pictures!r}",
        )
        return seen, secret

    def _deviation(self, edge: nn.Module, pictures: Tensor) -> float:
        """Return the noise in the units of the message, whatever pictures the adversary owns."""
        if not self.noise:
            return 0.0
        with torch.no_grad():
            return self.noise * float(edge(pictures).std())
