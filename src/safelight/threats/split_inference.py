"""Split inference: the device sends the output of a layer, the cloud computes the rest."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import pydantic
import torch
from torch import nn

from safelight.cache import Cache
from safelight.catalog import Reference
from safelight.data.roles import Roles
from safelight.targets.cut import cut
from safelight.targets.target import Target
from safelight.threats.observation import Needs, Secret, SplitObservation, observe

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

    Attributes:
        cut: the layer whose output is sent.
        knows: what the adversary has beside the message and pictures of its own: ``weights`` (the
            edge itself, as the cloud's operator often has), ``queries`` (the app, but not what is
            in it), ``nothing``.
    """

    reference: ClassVar[Reference] = HE_2019

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    cut: str
    knows: Literal["weights", "queries", "nothing"] = "weights"

    @property
    def offers(self) -> Needs:
        """What this adversary may use."""
        return Needs(
            messages=True,
            public=True,
            queries=self.knows in ("weights", "queries"),
            weights=self.knows == "weights",
        )

    def meet(
        self, target: Target, roles: Roles, device: torch.device, cache: Cache
    ) -> tuple[SplitObservation, Secret]:
        """Let the adversary watch the victims use the target.

        Raises:
            LoadError: the target has no layer of that name.
        """
        edge = cut(target.model, self.cut, roles.victims.shape)
        return self.expose(edge, roles, device, cache)

    def expose(
        self, edge: nn.Module, roles: Roles, device: torch.device, cache: Cache
    ) -> tuple[SplitObservation, Secret]:
        """Let the adversary watch the victims use any edge, a planted one too."""
        secret = Secret(roles.victims.to(device))
        public = roles.public.to(device)
        seen = observe(
            edge.to(device),
            secret,
            public,
            self.offers,
            cache=cache,
            threat=f"split_inference with knows = {self.knows!r}",
        )
        return seen, secret
