"""How much one client may learn: how fast it may ask, and whether it tries to."""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from scipy.special import digamma
from scipy.stats import binom, poisson

#: A climb is told at this error. It is tried at every record, about ten times for each pair of a
#: client and a protected picture: of a million pairs, one in a hundred such worlds flags any.
CLIMB_ERROR = 1e-9

#: Fewer records are never that rare: ten of ten have probability 1 / 10!, about 3e-7.
_FEWEST = 10

#: Different outputs about one protected picture that were held, of the last so many of a client:
#: at a rate of 1 % ten of a thousand are held by chance, all about one picture in the worst case.
PROBES, WINDOW = 20, 1000

#: Pairs of client and protected picture that are remembered; the longest unseen is forgotten.
_REMEMBERED = 100_000


@dataclass
class Bucket:
    """Outputs that a client may submit: so many a second on average, so many at once."""

    rate: float
    burst: int
    clock: Callable[[], float] = time.monotonic
    _left: float = field(init=False)
    _seen: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._seen = float(self.burst), self.clock()

    def take(self, count: int) -> float:
        """Take ``count`` and return 0, or take none and return the seconds to wait for them.

        More than a burst at once is let through when the bucket is full, and paid off after.
        """
        now = self.clock()
        self._left = min(float(self.burst), self._left + self.rate * (now - self._seen))
        self._seen = now
        needed = min(count, self.burst)
        if self._left < needed:
            return (needed - self._left) / self.rate
        self._left -= count
        return 0.0


@dataclass
class _Ladder:
    visits: int = 0
    records: int = 0
    best: float = float("inf")


@dataclass(frozen=True)
class Sign:
    """What gives a client away. ``kind``: climb or scan."""

    kind: Literal["climb", "scan"]
    detail: str


class Watch:
    """Watch for clients that use the filter to learn about protected pictures.

    Climbs have two signs. Records: among n outputs in random order about the same protected
    picture, the i-th is the nearest so far with probability 1 / i, independently (Renyi 1962), so
    that the number of records after the first has a tail below that of a Poisson law with mean
    1/2 + ... + 1/n (Hoeffding 1956). Whoever climbs sets far more. Probes: many different outputs
    about one protected picture that were held, as someone who sees only decisions would send.

    A scan is a list of candidates tried one by one: far more different outputs are held, about
    whatever pictures, than the thresholds hold of harmless ones (binomial). A generator that
    remembers looks the same.

    None sees an attacker who spreads over many clients, or hides each step among enough others.

    Args:
        rate: the share of harmless outputs that the thresholds hold at most.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._ladders: OrderedDict[tuple[str, int], _Ladder] = OrderedDict()
        self._held: dict[str, deque[tuple[int, str] | None]] = {}
        self._probes: dict[str, Counter[int]] = {}

    def observe(
        self, client: str, row: int, nearness: float, content: str, held: bool
    ) -> Sign | None:
        """Take in one output and say what it gives away, if anything.

        Args:
            client: who submitted it.
            row: the protected picture nearest to it.
            nearness: its distance; only the order matters.
            content: hash of the output; the same output again is no step.
            held: whether the thresholds hold it.
        """
        climbed = self._record(client, row, nearness)
        probed = self._probe(client, row, content, held)
        if climbed or probed:
            return Sign("climb", climbed or probed)
        scanned = self._scan(client) if held else ""
        return Sign("scan", scanned) if scanned else None

    def forget(self, client: str) -> None:
        """Begin anew with a client that a person has lifted."""
        for key in [one for one in self._ladders if one[0] == client]:
            del self._ladders[key]
        self._held.pop(client, None)
        self._probes.pop(client, None)

    def _record(self, client: str, row: int, nearness: float) -> str:
        ladder = self._ladders.setdefault((client, row), _Ladder())
        self._ladders.move_to_end((client, row))
        if len(self._ladders) > _REMEMBERED:
            self._ladders.popitem(last=False)
        if nearness == ladder.best:  # the same output again
            return ""
        ladder.visits += 1
        if nearness > ladder.best:
            return ""
        ladder.best = nearness
        ladder.records += 1
        if ladder.records < _FEWEST or climb_p(ladder.visits, ladder.records) > CLIMB_ERROR:
            return ""
        return (
            f"{ladder.records} of {ladder.visits} outputs came nearer to protected picture {row} "
            "than all before"
        )

    def _probe(self, client: str, row: int, content: str, held: bool) -> str:
        window = self._held.setdefault(client, deque())
        probes = self._probes.setdefault(client, Counter())
        new = held and (row, content) not in window
        window.append((row, content) if new else None)
        if new:
            probes[row] += 1
        if len(window) > WINDOW:
            gone = window.popleft()
            if gone is not None:
                probes[gone[0]] -= 1
        if new and probes[row] >= PROBES:
            return (
                f"{probes[row]} different outputs about protected picture {row} were held among "
                f"the last {len(window)}"
            )
        return ""

    def _scan(self, client: str) -> str:
        count, held = len(self._held[client]), self._probes[client].total()
        if binom.sf(held - 1, count, self._rate) > CLIMB_ERROR:
            return ""
        return (
            f"{held} of the last {count} outputs were held and different, about "
            f"{sum(one > 0 for one in self._probes[client].values())} protected pictures"
        )


def climb_p(visits: int, records: int) -> float:
    """Bound the probability of so many records or more among visits in random order."""
    return float(poisson.sf(records - 2, _expected(visits))) if records > 1 else 1.0


@lru_cache(maxsize=4096)
def _expected(visits: int) -> float:
    """Return 1/2 + ... + 1/n, the records to expect after the first."""
    return float(digamma(visits + 1) - digamma(2))
