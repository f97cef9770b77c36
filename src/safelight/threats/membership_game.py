"""Membership game: somebody asks a model about pictures, to learn which it was trained on."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.cache import Cache, source_of
from safelight.catalog import Reference
from safelight.data.images import ImageSet
from safelight.data.roles import Roles
from safelight.errors import AccessError, DataError, PlanError
from safelight.plan.plan import FitPlan
from safelight.stats.seeds import Seeds
from safelight.targets.fit import fit
from safelight.targets.shadows import Lesson, Tell, Training, draw, train
from safelight.targets.target import Normalized, Target
from safelight.targets.views import MOST_VIEWS, view

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Pictures of the pool that candidates are compared with, beside a quarter of the candidates: a
#: rate of false alarms of 1 % is then measured on ten pictures at least.
FEWEST_COMPARED = 1000

#: At least this share of a pool is in a shadow's training set and at least this share is out, so
#: that a handful of shadows says something of either.
LEAST_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Sights:
    """What an adversary of the membership game may use; also what an attack asks for.

    ``scores``: what the model returns beside the label. ``shadows``: train models as the target
    was. ``online``: train them on candidates as well. ``pool``: own pictures of the same source,
    none of them a candidate.
    """

    scores: bool = False
    shadows: bool = False
    online: bool = False
    pool: bool = False

    def missing_from(self, offers: "Sights") -> list[str]:
        """Return what is asked for here and not offered there."""
        return [one for one in self.names() if not getattr(offers, one)]

    def names(self) -> list[str]:
        """Return the names of what is set."""
        return [one.name for one in fields(self) if getattr(self, one.name)]


@dataclass(frozen=True)
class Answers:
    """What the target and shadows say of the candidates, and then of pictures of the pool.

    Attributes:
        target: logits, [n, views, classes]; logs of probabilities where those are returned.
        shadows: the same of each shadow, [shadows, n, views, classes]; none without shadows.
        inside: [shadows, n], True where a picture was in that shadow's training set.
        labels: [n], the true classes.
        candidates: how many of the n come first and are candidates.
    """

    target: Array
    shadows: Array
    inside: Mask
    labels: NDArray[np.int64]
    candidates: int


@dataclass(frozen=True)
class GameSecret:
    """The truth, for metrics and controls only.

    ``member``: which candidates the target was trained on, [candidates]. ``position``: where each
    stands in ``data.private`` or ``data.holdout``, [candidates].
    """

    member: Mask
    position: NDArray[np.int64]


#: Changes answers [n, views, classes] of a model that was trained on ``inside`` [n] of the
#: pictures; None for the target, whose training set the caller knows.
Plant = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class _Sight:
    lesson: Lesson
    size: int
    pictures: ImageSet
    pool: ImageSet
    candidates: int
    returns: str
    most_views: int
    cache: Cache
    threat: str
    fingerprint: str
    plant: Plant | None = None


@dataclass
class _Tally:
    queries: int = 0
    seen: set[int] = field(default_factory=set)


class GameObservation:
    """What one adversary of the membership game sees. Reading more raises ``AccessError``.

    Which candidates are members is not in here: an attack cannot receive what it must guess.
    """

    def __init__(self, sight: _Sight, offers: Sights) -> None:
        self._sight = sight
        self._offers = offers
        self._tally = _Tally()

    def restricted(self, needs: Sights) -> "GameObservation":
        """Return a fresh view that shows only ``needs``, with its own query count."""
        missing = needs.missing_from(self._offers)
        if missing:
            raise AccessError(self._hidden(missing[0]))
        return GameObservation(self._sight, needs)

    def planted(self, plant: Plant) -> "GameObservation":
        """Return what would be seen if every model's answers were changed by ``plant``."""
        return GameObservation(replace(self._sight, plant=plant), self._offers)

    @property
    def candidates(self) -> ImageSet:
        """The pictures that the adversary asks about, with their classes."""
        rows = torch.arange(self._sight.candidates)
        return self._sight.pictures.rows(rows)

    @property
    def all_labels(self) -> Tensor:
        """The classes of the candidates, and then of the pool's pictures, [n]."""
        return self._sight.pictures.labels

    @property
    def queries(self) -> int:
        """How many pictures have been sent to the target."""
        return self._tally.queries

    def labels(self, views: int = 1) -> NDArray[np.int64]:
        """Return the class that the target gives to each view of each candidate, [n, views]."""
        said = self._asked(views)[: self._sight.candidates]
        return np.asarray(said.argmax(-1).numpy(), dtype=np.int64)

    def answers(self, views: int = 1) -> Answers:
        """Return what the target says of the candidates, and of the pool if there is one."""
        self._require("scores")
        n, classes = len(self._sight.pictures), len(self._sight.pictures.classes)
        return self._answers(views, np.zeros((0, n, views, classes)), np.zeros((0, n), bool))

    def with_shadows(
        self,
        count: int,
        views: int,
        online: bool,
        seeds: Seeds,
        tell: Tell | None = None,
        *,
        compared: bool = False,
    ) -> Answers:
        """Return what the target and ``count`` shadows say.

        Args:
            count: of shadows; attacks that ask for as many share them.
            views: of each picture, the picture itself first.
            online: train shadows on candidates and the pool, else on the pool alone.
            seeds: of the shadows.
            tell: told after each shadow.
            compared: pictures of the pool are asked about as well.

        Raises:
            AccessError: scores, shadows or the pool are hidden, or no model may be trained on
                candidates.
            DataError: the pool is too small for a training set as large as the target's.
        """
        for needed in ("scores", "shadows", "online" if online else "pool"):
            self._require(needed)
        if compared:
            self._require("pool")
        sight, seeds = self._sight, seeds.child("shadows", "online" if online else "offline")
        pool = sight.pictures if online else sight.pool
        pool = pool.rows(torch.arange(min(len(pool), round(sight.size / LEAST_SHARE))))
        _check_pool(len(pool), sight.size, online)
        drawn = draw(count, len(pool), sight.size, seeds)
        shadows = train(replace(sight.lesson, pool=pool), drawn, seeds, sight.cache, tell)
        inside = torch.zeros(count, len(sight.pictures), dtype=torch.bool)
        first = 0 if online else sight.candidates  # the pool's first pictures are compared with
        inside[:, first:] = drawn[:, : len(sight.pictures) - first]
        said = torch.stack([self._said(one, views) for one in shadows])
        if sight.plant is not None:
            pairs = zip(said, inside, strict=True)
            said = torch.stack([sight.plant(one, own) for one, own in pairs])
        return self._answers(views, self._returned(said), inside.numpy())

    def _answers(self, views: int, shadows: Array, inside: Mask) -> Answers:
        target = self._returned(self._asked(views))
        end = len(target) if self._offers.pool else self._sight.candidates
        return Answers(
            target=target[:end],
            shadows=shadows[:, :end],
            inside=inside[:, :end],
            labels=self._sight.pictures.labels[:end].numpy(),
            candidates=self._sight.candidates,
        )

    def _asked(self, views: int) -> Tensor:
        if views > self._sight.most_views:
            raise AccessError(
                f"{views} views of a picture are asked for and {self._sight.most_views} answered; "
                "lower the attack's views or raise queries of the threat"
            )
        new = set(range(views)) - self._tally.seen
        self._tally.queries += len(new) * len(self._sight.pictures)
        self._tally.seen |= new
        said = self._said(self._sight.lesson.model, views)
        return said if self._sight.plant is None else self._sight.plant(said, None)

    def _said(self, model: Normalized, views: int) -> Tensor:
        """Return a model's logits of every view of every picture, [n, views, classes]."""
        state = hashlib.sha256()
        for name, value in sorted(model.state_dict().items()):
            state.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        key = {
            "answers of": state.hexdigest(),
            "layers": repr(model),
            "pictures": self._sight.fingerprint,
            "torch": torch.__version__,
        }
        source = source_of(view, *(type(one) for one in model.modules()))
        device, images = model.mean.device, self._sight.pictures.images

        @torch.no_grad()
        def ask(number: int) -> dict[str, Tensor]:
            seen = view(images, number).contiguous(memory_format=torch.channels_last)
            said = [model(part.to(device)).float().cpu() for part in seen.split(500)]
            return {"logits": torch.cat(said)}

        rows = [
            self._sight.cache.tensors(key | {"view": one}, source, functools.partial(ask, one))
            for one in range(views)
        ]
        return torch.stack([row["logits"] for row in rows], 1)

    def _returned(self, logits: Tensor) -> Array:
        """Return what leaves the model: the shadows' owner rounds theirs in the same way."""
        if self._sight.returns == "logits":
            return np.asarray(logits.double().numpy())
        tiny = torch.finfo(torch.float32).tiny
        return np.asarray(logits.softmax(-1).clamp_min(tiny).double().log().numpy())

    def _require(self, sight: str) -> None:
        if not getattr(self._offers, sight):
            raise AccessError(self._hidden(sight))

    def _hidden(self, sight: str) -> str:
        return (
            f"{sight} are hidden here: declare needs.{sight} on the attack, and use a threat "
            f"that offers them (this one is {self._sight.threat})"
        )


@dataclass(frozen=True, kw_only=True)
class MembershipGame:
    """Somebody may ask the model about pictures, some of which it was trained on.

    Candidates are the target's training set (``data.private``) and pictures of the same source that
    it never saw (``data.holdout``), mixed.

    Attributes:
        returns: what comes back: ``logits``, ``probabilities`` or the ``label`` alone.
        knows: ``recipe`` (architecture and training, so that shadow models can be trained) or
            ``nothing``.
        pool: the adversary owns pictures of the same source (``data.public``).
        online: candidates may be in the training sets of shadows; without it, the adversary learns
            whom to ask about only after training them.
        queries: how many views of a picture are answered: itself, mirrored, moved by one pixel.
    """

    reference: ClassVar[Reference] = Reference(
        key="carlini2022",
        authors="Carlini, Nicholas and Chien, Steve and Nasr, Milad and Song, Shuang and "
        "Terzis, Andreas and Tramer, Florian",
        title="Membership Inference Attacks From First Principles",
        year=2022,
        venue="IEEE Symposium on Security and Privacy 2022",
        doi="10.1109/SP46214.2022.9833649",
    )

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    returns: Literal["logits", "probabilities", "label"] = "logits"
    knows: Literal["recipe", "nothing"] = "recipe"
    pool: bool = True
    online: bool = True
    queries: Annotated[int, pydantic.Field(ge=1, le=MOST_VIEWS)] = MOST_VIEWS

    @property
    def offers(self) -> Sights:
        """What this adversary may use."""
        trains = self.knows == "recipe" and (self.pool or self.online)
        return Sights(
            scores=self.returns != "label",
            shadows=trains,
            online=trains and self.online,
            pool=self.pool,
        )

    def meet(
        self,
        target: Target,
        roles: Roles,
        recipe: FitPlan,
        cache: Cache,
        training: Training = fit,
    ) -> tuple[GameObservation, GameSecret]:
        """Let the adversary ask the target about its training set and others.

        Args:
            target: what is asked.
            roles: ``private`` are the members, ``holdout`` the non-members, ``public`` the pool.
            recipe: what the adversary knows of the target's training.
            cache: where shadows and answers are kept.
            training: how the target was trained.

        Raises:
            PlanError: the plan does not say what the target was trained on.
        """
        if roles.private is None:
            raise PlanError(
                "a membership game needs data.private, the pictures that the target was trained "
                "on; name them, and as data.holdout others of the same source"
            )
        asked = [roles.private, roles.holdout]
        member = torch.cat([torch.full((len(one),), one is roles.private) for one in asked])
        order = torch.Generator().manual_seed(Seeds(0, ("membership game",)).integer())
        shuffled = torch.randperm(len(member), generator=order)  # the order must not tell
        member = member[shuffled]
        position = torch.cat([torch.arange(len(one)) for one in asked])[shuffled]
        rows = [(one.images, one.labels) for one in asked]
        images, labels = (torch.cat(parts)[shuffled] for parts in zip(*rows, strict=True))
        few = max(FEWEST_COMPARED, len(member) // 4) if self.pool else 0
        compared = roles.public.rows(torch.arange(min(few, len(roles.public))))
        pictures = ImageSet(
            torch.cat([images, compared.images]),
            torch.cat([labels, compared.labels]),
            roles.private.classes,
            roles.private.source,
        )
        contents = "".join(pictures.content_hashes())  # in their order
        sight = _Sight(
            lesson=Lesson(target.model, roles.public, recipe, training),
            size=len(roles.private),
            pictures=pictures,
            pool=roles.public,
            candidates=len(member),
            returns=self.returns,
            most_views=self.queries,
            cache=cache,
            threat=f"membership_game with returns = {self.returns!r}, knows = {self.knows!r}",
            fingerprint=hashlib.sha256(contents.encode()).hexdigest(),
        )
        return GameObservation(sight, self.offers), GameSecret(member.numpy(), position.numpy())


def _check_pool(pool: int, size: int, online: bool) -> None:
    """Refuse a pool in which every picture would be in nearly all training sets or nearly none."""
    most, least = 1 - LEAST_SHARE, LEAST_SHARE
    if not least <= size / pool <= most:
        roles = "data.holdout and data.public" if online else "data.public"
        more = size / pool > most
        raise DataError(
            f"shadow models train on {size} pictures, as many as the target, out of {pool}; "
            f"{'add to' if more else 'take fewer for'} {roles} until that is between "
            f"{least:.0%} and {most:.0%}"
        )
