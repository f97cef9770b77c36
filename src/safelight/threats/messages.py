"""What the threats have in common in which somebody sees what a model says of a picture."""

import abc
from dataclasses import Field
from typing import Annotated, Any, ClassVar, Literal

import pydantic
import torch
from torch import nn

from safelight.cache import Cache
from safelight.catalog import Reference
from safelight.data.noise import noise_pictures
from safelight.data.roles import Roles
from safelight.errors import PlanError
from safelight.targets.release import Release, Scale
from safelight.targets.target import Target
from safelight.threats.observation import Link, Needs, Secret, SplitObservation, observe

#: What an adversary trains on.
Pictures = Literal["training set", "same distribution", "noise", "none"]

#: What is known of the structure of what sends.
Structure = Literal["known", "different"]

#: Pictures that a limited adversary asks about at least: some to learn from, some to check on.
FEWEST_ASKED = 10

Count = Annotated[int, pydantic.Field(ge=1)]

Sends = Count


class MessageThreat(abc.ABC):
    """Somebody reads messages about pictures that he does not see.

    Every threat is a frozen dataclass with these fields, among others, which its own docstring
    explains in the words of its deployment. ``assumptions`` are what its findings rest on and
    nothing here measures; reports label them so.
    """

    reference: ClassVar[Reference]
    assumptions: ClassVar[tuple[str, ...]] = ()

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    pictures: Pictures
    structure: Structure
    sends: int
    aware: bool

    @property
    def most_queries(self) -> int:
        """Pictures that the adversary may ask the model about; 0 for as many as it likes."""
        return 0

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """The place in the model that is watched."""

    @property
    @abc.abstractmethod
    def offers(self) -> Needs:
        """What this adversary may use."""

    @abc.abstractmethod
    def parts(self, target: Target, shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
        """Return what maps pictures of that shape to messages, and messages to logits.

        Raises:
            LoadError: the target has no such place.
        """

    def meet(
        self, target: Target, roles: Roles, device: torch.device, cache: Cache
    ) -> tuple[SplitObservation, Secret]:
        """Let the adversary watch the victims use the target.

        Raises:
            LoadError: the target has no such place to watch.
            PlanError: the adversary owns the training set, and the plan does not name it.
        """
        edge, cloud = self.parts(target, roles.victims.shape)
        return self.expose(edge, cloud, roles, device, cache, target.release)

    def expose(
        self,
        edge: nn.Module,
        cloud: nn.Module,
        roles: Roles,
        device: torch.device,
        cache: Cache,
        release: Release | None = None,
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
        if self.most_queries:  # pictures that it may not ask about teach it nothing
            each = self.sends if release is not None and release.random else 1
            asked = min(self.most_queries // each, len(public))
            if asked < FEWEST_ASKED:
                raise PlanError(
                    f"{self.most_queries} queries are enough for {asked} pictures, which teach "
                    f"nothing; set the threat's queries to {FEWEST_ASKED * each} or more"
                )
            public = public.rows(torch.arange(asked))
        secret = Secret(roles.victims.to(device))
        edge = edge.to(device)
        with torch.no_grad():  # on real pictures, whatever the adversary owns
            scale = Scale.of(edge(roles.public.images[:500].to(device)))
        link = Link(
            edge,
            cloud.to(device),
            structure=self.structure,
            release=release,
            scale=scale,
            sends=self.sends,
            aware=self.aware,
            most_queries=self.most_queries,
        )
        told = f"{self.where!r} with {', '.join(self.offers.names())} offered"
        seen = observe(link, secret, public.to(device), self.offers, cache=cache, threat=told)
        return seen, secret
