"""What an adversary sees, and the truth that it does not."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from safelight.cache import Cache, source_of
from safelight.data.images import ImageSet
from safelight.errors import AccessError


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an adversary may use; also what an attack asks for.

    ``messages``: the victims' messages. ``queries``: send own pictures, read the messages.
    ``weights``: the edge itself, with gradients. ``public``: pictures like the victims'.
    """

    messages: bool = False
    queries: bool = False
    weights: bool = False
    public: bool = False

    def missing_from(self, offers: "Needs") -> list[str]:
        """Return what is asked for here and not offered there."""
        return [one for one in self.names() if not getattr(offers, one)]

    def names(self) -> list[str]:
        """Return the names of what is set."""
        return [one.name for one in fields(self) if getattr(self, one.name)]


@dataclass(frozen=True)
class _Sight:
    edge: nn.Module
    messages: Tensor
    public: ImageSet
    fingerprint: str
    cache: Cache
    threat: str


class SplitObservation:
    """What one adversary of split inference sees. Reading more raises ``AccessError``.

    The victims are not in here: an attack cannot receive what it must guess.
    """

    def __init__(self, sight: _Sight, offers: Needs) -> None:
        self._sight = sight
        self._offers = offers
        self._queries = 0

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
    def messages(self) -> Tensor:
        """The victims' messages, [n, ...]."""
        self._require("messages")
        return self._sight.messages

    @property
    def edge(self) -> nn.Module:
        """The edge: pixels [n, c, h, w] in [0, 1] -> messages, differentiable, frozen."""
        self._require("weights")
        return self._sight.edge

    @property
    def public(self) -> ImageSet:
        """Pictures that the adversary owns."""
        self._require("public")
        return self._sight.public

    @property
    def queries(self) -> int:
        """How many pictures have been sent through the edge by ``query``."""
        return self._queries

    @torch.no_grad()
    def query(self, images: Tensor) -> Tensor:
        """Send own pictures [n, c, h, w] in [0, 1] and read the messages [n, ...]."""
        self._require("queries")
        self._queries += len(images)
        return torch.cat([self._sight.edge(part) for part in images.split(500)])

    @torch.no_grad()
    def resend(self) -> Tensor:
        """Return the messages [k, ...] of the same few public pictures, sent once more."""
        return torch.as_tensor(self._sight.edge(self._sight.public.images[:8]))

    def remember(
        self, work: dict[str, Any], make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return ``make()``, or what it returned for the same work on the same observation.

        An adversary trains a network once and uses it in several attacks. The queries that
        ``make`` spent are counted again for each of them.
        """

        def counted() -> dict[str, Tensor]:
            before = self._queries
            made = {name: value.detach().cpu() for name, value in make().items()}
            return made | {"queries spent": torch.tensor(self._queries - before)}

        before = self._queries
        key = work | {"seen": self._sight.fingerprint, "torch": torch.__version__}
        made = dict(self._sight.cache.tensors(key, source_of(make), counted))
        self._queries = before + int(made.pop("queries spent"))
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
    edge: nn.Module,
    secret: Secret,
    public: ImageSet,
    offers: Needs,
    *,
    cache: Cache,
    threat: str,
) -> SplitObservation:
    """Send the victims' pictures through the edge and let an adversary watch.

    Args:
        edge: frozen, in evaluation mode, on the device of the secret.
        secret: the victims; only their messages enter the observation.
        public: the adversary's own pictures.
        offers: what this adversary may use.
        cache: where the adversary's own work is kept, under the edge's and pictures' hash.
        threat: the threat's name, for error messages.
    """
    with torch.no_grad():
        messages = torch.cat([edge(part) for part in secret.victims.images.split(500)])
    sight = _Sight(edge, messages.clone(), public, _fingerprint(edge, public), cache, threat)
    return SplitObservation(sight, replace(offers, messages=True))


def _fingerprint(edge: nn.Module, public: ImageSet) -> str:
    """Hash what the adversary's own work depends on: the edge, by state and by deed, and pictures.

    Equal weights do not make equal edges (normalization, activations), so a few messages count.
    """
    digest = hashlib.sha256(public.sha256().encode())
    for name, value in sorted(edge.state_dict().items()):
        digest.update(name.encode())
        digest.update(
            value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    with torch.no_grad():
        probe = edge(public.images[:8]).double().cpu()
    # Six digits: the same machine may round the last ones differently with other threads.
    digest.update(str([f"{value:.6g}" for value in probe.flatten().tolist()]).encode())
    return digest.hexdigest()
