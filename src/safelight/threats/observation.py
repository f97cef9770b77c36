"""What an adversary sees, and the truth that it does not."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from safelight.cache import Cache, source_of
from safelight.data.images import ImageSet
from safelight.errors import AccessError
from safelight.stats.seeds import Seeds
from safelight.targets.release import UNIT, Calibrated, Release, Scale, Undoable
from safelight.targets.untrained import OtherStructure, same_structure


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an adversary may use; also what an attack asks for.

    ``messages``: the victims' messages. ``queries``: send own pictures, read the messages.
    ``weights``: the edge itself, with gradients. ``cloud``: the part behind the cut, with
    gradients. ``public``: own pictures. ``labels``: their classes.
    """

    messages: bool = False
    queries: bool = False
    weights: bool = False
    cloud: bool = False
    public: bool = False
    labels: bool = False

    def missing_from(self, offers: "Needs") -> list[str]:
        """Return what is asked for here and not offered there."""
        return [one for one in self.names() if not getattr(offers, one)]

    def names(self) -> list[str]:
        """Return the names of what is set."""
        return [one.name for one in fields(self) if getattr(self, one.name)]


@dataclass(frozen=True)
class Link:
    """What connects device and cloud.

    ``edge`` maps pictures to messages, ``cloud`` messages to logits; both frozen. ``structure``,
    ``sends``, ``aware`` and ``most_queries`` are those of the threat. ``release`` is what the
    device does to every message before it sends it, in units of ``scale``.
    """

    edge: nn.Module
    cloud: nn.Module
    structure: Literal["known", "different"] = "known"
    release: Release | None = None
    scale: Scale = UNIT
    sends: int = 1
    aware: bool = True
    most_queries: int = 0

    @property
    def random(self) -> bool:
        """Whether two sends of one picture differ."""
        return self.release is not None and self.release.random

    @property
    def noisy(self) -> bool:
        """Whether numbers carry noise, rather than some of them being left out at random."""
        return self.release is not None and self.release.random and not self.release.hides

    @torch.no_grad()
    def computed(self, images: Tensor) -> Tensor:
        """Return the undefended messages of pictures [n, c, h, w]."""
        return torch.cat([self.edge(part) for part in images.split(500)])

    def leaving(self, images: Tensor, seeds: Seeds) -> Tensor:
        """Return what leaves the device when pictures [n, c, h, w] are sent once."""
        messages, release = self.computed(images), self._release(images)
        if release is None:
            return messages
        draw = torch.Generator().manual_seed(seeds.integer())
        return release.release(messages, self.scale, draw)

    def send(self, images: Tensor, seeds: Seeds) -> Tensor:
        """Return what the adversary works with: the mean message of ``sends`` sends.

        Noise averages out as 1 / sqrt(sends). Who knows the defense takes the mean of the numbers
        that came where it removes some, and undoes what can be undone.
        """
        messages, release = self.computed(images), self._release(images)
        if release is None:
            return messages
        draw = torch.Generator().manual_seed(seeds.integer())
        total, came = torch.zeros_like(messages), torch.zeros_like(messages)
        for _ in range(self.sends if self.random else 1):
            heard = release.release(messages, self.scale, draw)
            total += heard
            came += self.informative(heard)
        mean = total / came.clamp_min(1)
        if self.aware and isinstance(release, Undoable):
            return release.undone(mean)
        return mean

    def _release(self, images: Tensor) -> Release | None:
        """Return what is done to the messages of these pictures, the same in all their sends."""
        if isinstance(self.release, Calibrated):
            return self.release.calibrated(self.edge, images)
        return self.release

    def informative(self, messages: Tensor) -> Tensor:
        """Return 1 where a number says something to the adversary, 0 where it was removed."""
        hidden = self.aware and self.release is not None and self.release.hides
        return (messages != 0).to(messages) if hidden else torch.ones_like(messages)

    def as_believed(self) -> "Link":
        """Return the link that the adversary works with: without the defense if unaware of it."""
        return self if self.aware else replace(self, release=None)


@dataclass(frozen=True)
class _Sight:
    link: Link
    messages: Tensor
    public: ImageSet
    fingerprint: str
    cache: Cache
    threat: str
    held: nn.Module | None = None


@dataclass
class _Tally:
    """How many pictures were sent as queries."""

    queries: int = 0


class SplitObservation:
    """What one adversary of split inference sees. Reading more raises ``AccessError``.

    The victims are not in here: an attack cannot receive what it must guess.
    """

    def __init__(self, sight: _Sight, offers: Needs, tally: "_Tally | None" = None) -> None:
        self._sight = sight
        self._offers = offers
        self._tally = tally or _Tally()
        self._calls = 0

    def restricted(self, needs: Needs) -> "SplitObservation":
        """Return a fresh view that shows only ``needs``, with its own query count."""
        missing = needs.missing_from(self._offers)
        if missing:
            raise AccessError(self._hidden(missing[0]))
        own = replace(self._sight, messages=self._sight.messages.clone())  # not shared by attacks
        return SplitObservation(own, needs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the pictures, which every adversary knows."""
        return self._sight.public.shape

    @property
    def message_shape(self) -> tuple[int, ...]:
        """Shape of one message, which every adversary sees."""
        return tuple(self._sight.messages.shape[1:])

    @property
    def random(self) -> bool:
        """Whether two sends of one picture differ."""
        return self._sight.link.random

    @property
    def noisy(self) -> bool:
        """Whether numbers carry noise, rather than some of them being left out at random."""
        return self._sight.link.noisy

    @property
    def scale(self) -> Scale:
        """How large undefended messages are, the unit of what the device does to them."""
        return self._sight.link.scale

    def informative(self, messages: Tensor) -> Tensor:
        """Return 1 where a number of messages [n, ...] says something, 0 where it was removed.

        All 1 unless a defense removes numbers and this adversary knows it.
        """
        return self._sight.link.informative(messages)

    @property
    def messages(self) -> Tensor:
        """The victims' messages, [n, ...]."""
        self._require("messages")
        return self._sight.messages

    @property
    def edge(self) -> nn.Module:
        """The edge: pixels [n, c, h, w] in [0, 1] -> messages, differentiable, frozen."""
        self._require("weights")
        return self._sight.held or self._sight.link.edge

    @property
    def cloud(self) -> nn.Module:
        """What comes behind the cut: messages [n, ...] -> logits, differentiable, frozen."""
        self._require("cloud")
        return self._sight.link.cloud

    def untrained_edge(self, seeds: Seeds) -> nn.Module:
        """Return an edge with random weights, as close to the real one as is known of it.

        The same layers where the structure is known, else a guess from the messages.
        """
        link, seed = self._sight.link, seeds.integer()
        if link.structure == "known" and any(True for _ in link.edge.parameters()):
            return same_structure(link.edge, seed)
        rectified = bool((self.messages >= 0).all())
        other = OtherStructure(self.message_shape, self.image_shape, rectified, seed)
        return other.to(self.messages.device)

    def holding(self, edge: nn.Module) -> "SplitObservation":
        """Return what is seen here, with an edge of the adversary's own in place of the weights.

        Attacks that need the edge then search in the imitation, while queries still go to the
        device and count here.
        """
        sight = replace(self._sight, held=edge)
        return SplitObservation(sight, replace(self._offers, weights=True), self._tally)

    def imagine(self, edge: nn.Module) -> "SplitObservation":
        """Return what would be seen if an edge of the adversary's own had sent the messages.

        Attacks that need the edge or queries then work on the imitation. Queries to it are free.
        """
        link = replace(self._sight.link.as_believed(), edge=edge, most_queries=0)
        public = self.public if self._offers.public else self._sight.public
        sight = replace(
            self._sight,
            link=link,
            fingerprint=_fingerprint(link, public),
            threat="an imitation of the edge",
        )
        return SplitObservation(sight, replace(self._offers, queries=True, weights=True))

    @property
    def public(self) -> ImageSet:
        """Pictures that the adversary owns; without ``labels`` their classes all read 0."""
        self._require("public")
        public = self._sight.public
        hidden = torch.zeros_like(public.labels)
        return public if self._offers.labels else replace(public, labels=hidden)

    @property
    def labels(self) -> Tensor:
        """The classes of the public pictures, [n]."""
        self._require("labels")
        return self._sight.public.labels

    @property
    def queries(self) -> int:
        """How many pictures have been sent through the edge by ``query``."""
        return self._tally.queries

    @torch.no_grad()
    def query(self, images: Tensor, again: bool = False) -> Tensor:
        """Send own pictures [n, c, h, w] in [0, 1] and read the messages [n, ...].

        ``again``: they were counted before, and their answers were not kept.
        """
        self._require("queries")
        if self.random or not again:  # with fresh noise it is another answer
            self.count(len(images))
        return self._sight.link.as_believed().send(images, self._fresh())

    def count(self, pictures: int) -> None:
        """Count pictures as sent, as often as this threat sends each.

        Raises:
            AccessError: more are asked about than the service answers.
        """
        self._spend(pictures * (self._sight.link.sends if self.random else 1))

    def _spend(self, queries: int) -> None:
        self._tally.queries += queries
        most = self._sight.link.most_queries
        if 0 < most < self._tally.queries:
            raise AccessError(
                f"the service answers {most} queries and this is number {self._tally.queries}; "
                "ask about each picture once, or raise the threat's queries"
            )

    def resend(self) -> Tensor:
        """Return the messages [k, ...] of the same few public pictures, sent once more."""
        return self._sight.link.send(self._sight.public.images[:8], self._fresh())

    def _fresh(self) -> Seeds:
        self._calls += 1  # fresh noise each time, and the same in every run
        return Seeds(0, ("query", self._sight.fingerprint, str(self._calls)))

    def remember(
        self, work: dict[str, Any], make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return ``make()``, or what it returned for the same work on the same observation.

        An adversary trains a network once and uses it in several attacks. The queries that
        ``make`` spent are counted again for each of them.
        """

        def counted() -> dict[str, Tensor]:
            before = self._tally.queries
            made = {name: value.detach().cpu() for name, value in make().items()}
            return made | {"queries spent": torch.tensor(self._tally.queries - before)}

        before = self._tally.queries
        key = work | {"seen": self._sight.fingerprint, "torch": torch.__version__}
        made = dict(self._sight.cache.tensors(key, source_of(make), counted))
        self._tally.queries = before
        self._spend(int(made.pop("queries spent")))
        return made

    def _require(self, sight: str) -> None:
        if not getattr(self._offers, sight):
            raise AccessError(self._hidden(sight))

    def _hidden(self, sight: str) -> str:
        return (
            f"{sight} are hidden here: declare needs.{sight} on the attack, and use a threat "
            f"that offers them (this one is {self._sight.threat})"
        )


@dataclass(frozen=True)
class Secret:
    """The truth, for metrics and controls only."""

    victims: ImageSet


def observe(
    link: Link,
    secret: Secret,
    public: ImageSet,
    offers: Needs,
    *,
    cache: Cache,
    threat: str,
) -> SplitObservation:
    """Send the victims' pictures through the edge and let an adversary watch.

    Args:
        link: edge and cloud, frozen, in evaluation mode, on the device of the secret.
        secret: the victims; only their messages enter the observation.
        public: the adversary's own pictures.
        offers: what this adversary may use.
        cache: where the adversary's own work is kept, under the edge's and pictures' hash.
        threat: the threat's name, for error messages.
    """
    messages = link.send(secret.victims.images, Seeds(0, ("victims",)))
    fingerprint = _fingerprint(link, public)
    sight = _Sight(link, messages.clone(), public, fingerprint, cache, threat)
    return SplitObservation(sight, replace(offers, messages=True))


def _fingerprint(link: Link, public: ImageSet) -> str:
    """Hash what the adversary's own work depends on: both parts of the model, labeled pictures.

    Equal weights do not make equal edges (normalization, activations), so a few messages count.
    """
    digest = hashlib.sha256(public.labeled_sha256().encode())
    deployed = (link.structure, link.release, link.scale, link.sends, link.aware)
    digest.update(str(deployed).encode())
    for part in (link.edge, link.cloud):
        for name, value in sorted(part.state_dict().items()):
            digest.update(name.encode())
            digest.update(
                value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    with torch.no_grad():
        probe = link.edge(public.images[:8]).double().cpu()
    # Six digits: the same machine may round the last ones differently with other threads.
    digest.update(str([f"{value:.6g}" for value in probe.flatten().tolist()]).encode())
    return digest.hexdigest()
