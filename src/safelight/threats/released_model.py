"""Released weights: the model is published, and whoever downloads it looks for its training set."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import pydantic
import torch
from torch import Tensor

from safelight.catalog import Reference
from safelight.data.images import ImageSet
from safelight.data.noise import noise_pictures
from safelight.errors import AccessError, PlanError
from safelight.targets.target import Normalized, Target

#: The paper that first read whole training pictures out of a trained classifier's weights.
HAIM_2022 = Reference(
    key="haim2022",
    authors="Haim, Niv and Vardi, Gal and Yehudai, Gilad and Shamir, Ohad and Irani, Michal",
    title="Reconstructing Training Data from Trained Neural Networks",
    year=2022,
    venue="NeurIPS 2022",
    url="https://arxiv.org/abs/2206.07758",
)


@dataclass(frozen=True, kw_only=True)
class ReleaseNeeds:
    """What a downloader may use; also what an attack asks for.

    ``weights``: the network and its normalization, with gradients. ``initialization``: the
    weights that training began with. ``count``: how many pictures it was trained on. ``public``:
    pictures of the adversary's own, with their classes.
    """

    weights: bool = True
    initialization: bool = False
    count: bool = False
    public: bool = False

    def missing_from(self, offers: "ReleaseNeeds") -> list[str]:
        """Return what is asked for here and not offered there."""
        return [one for one in self.names() if not getattr(offers, one)]

    def names(self) -> list[str]:
        """Return the names of what is set."""
        return [one.name for one in fields(self) if getattr(self, one.name)]


@dataclass(frozen=True)
class TrainingSecret:
    """The truth, for metrics and controls only.

    ``members``: the training set, or a part of it that was drawn at random. ``others``: as many
    pictures from the same source that were never trained on. ``whole``: the size of the training
    set, where ``members`` are a part.
    """

    members: ImageSet
    others: ImageSet
    whole: int | None = None

    @property
    def count(self) -> int:
        """How many pictures the model was trained on."""
        return len(self.members) if self.whole is None else self.whole


@dataclass(frozen=True)
class _Sight:
    model: Normalized
    initial: Mapping[str, Tensor]
    shape: tuple[int, int, int]
    classes: int
    count: int
    public: ImageSet
    threat: str


class ReleasedObservation:
    """What one downloader of the model has. Reading more raises ``AccessError``.

    The training set is not in here: an attack cannot receive what it must find.
    """

    def __init__(self, sight: _Sight, offers: ReleaseNeeds) -> None:
        self._sight = sight
        self._offers = offers

    def restricted(
        self, needs: ReleaseNeeds, welcome: ReleaseNeeds | None = None
    ) -> "ReleasedObservation":
        """Return a view that shows only ``needs``, and of what is ``welcome`` what there is."""
        missing = needs.missing_from(self._offers)
        if missing:
            raise AccessError(self._hidden(missing[0]))
        shown = set(needs.names())
        if welcome is not None:
            shown |= set(welcome.names()) & set(self._offers.names())
        offers = {one.name: one.name in shown for one in fields(ReleaseNeeds)}
        return ReleasedObservation(self._sight, ReleaseNeeds(**offers))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the pictures, which the architecture tells."""
        return self._sight.shape

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return self._sight.classes

    @property
    def model(self) -> Normalized:
        """The model: pixels [n, c, h, w] in [0, 1] -> logits, differentiable, frozen."""
        self._require("weights")
        return self._sight.model

    @property
    def initialization(self) -> Mapping[str, Tensor] | None:
        """The network's state before training, by parameter name; None where it is not known."""
        return self._sight.initial if self._offers.initialization else None

    @property
    def count(self) -> int | None:
        """How many pictures the model was trained on; None where it is not known."""
        return self._sight.count if self._offers.count else None

    @property
    def public(self) -> ImageSet:
        """Labeled pictures that the adversary owns; none is of the training set."""
        self._require("public")
        return self._sight.public

    def _require(self, sight: str) -> None:
        if not getattr(self._offers, sight):
            raise AccessError(self._hidden(sight))

    def _hidden(self, sight: str) -> str:
        return (
            f"{sight} is hidden here: declare needs.{sight} on the attack, and use a threat that "
            f"offers it (this one is {self._sight.threat})"
        )


@dataclass(frozen=True, kw_only=True)
class ReleasedModel:
    """Somebody downloads the model and looks for the pictures it was trained on.

    Attributes:
        knows: ``weights`` (they are published), or also the ``initialization`` that training
            began with (a published checkpoint that was fine-tuned, a seed in the code).
        count: whether the size of the training set is ``known``, as papers and model cards say.
        pictures: what the adversary owns: the plan's public ones, of the ``same distribution``;
            random ``noise``; ``none``.
    """

    reference: ClassVar[Reference] = HAIM_2022

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    knows: Literal["weights", "initialization"] = "weights"
    count: Literal["known", "unknown"] = "known"
    pictures: Literal["same distribution", "noise", "none"] = "same distribution"

    @property
    def offers(self) -> ReleaseNeeds:
        """What this adversary may use."""
        return ReleaseNeeds(
            weights=True,
            initialization=self.knows == "initialization",
            count=self.count == "known",
            public=self.pictures != "none",
        )

    def meet(
        self,
        target: Target,
        secret: TrainingSecret,
        public: ImageSet,
        initial: Mapping[str, Tensor],
        device: torch.device,
    ) -> ReleasedObservation:
        """Let the adversary download the target.

        Args:
            target: the trained model, on ``device``.
            secret: only the size of the training set and the shape of its pictures enter the
                observation.
            public: the adversary's own pictures.
            initial: the network's state before training; empty where nobody kept it.
            device: where the adversary computes.

        Raises:
            PlanError: the adversary knows the initialization, and nobody kept it.
        """
        if self.knows == "initialization" and not initial:
            raise PlanError(
                "an adversary that knows the initialization needs one to know; leave target.weights"
                " out, so that the target is trained here, or set knows = 'weights'"
            )
        own = public
        if self.pictures in ("noise", "none"):
            own = noise_pictures(public, len(public), seed=0)
        sight = _Sight(
            model=target.model,
            initial={name: value.to(device) for name, value in initial.items()},
            shape=secret.members.shape,
            classes=len(secret.members.classes),
            count=secret.count,
            public=own.to(device),
            threat=f"released_model with knows = {self.knows!r}, count = {self.count!r}, "
            f"pictures = {self.pictures!r}",
        )
        return ReleasedObservation(sight, self.offers)
