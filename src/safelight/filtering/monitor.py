"""How the filter fares: how much it holds, whether outputs drift nearer, who climbs."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp

from safelight.filtering.decisions import Decisions, Entry
from safelight.filtering.policy import Policy
from safelight.stats.intervals import clopper_pearson

#: The last decisions that are looked at.
LOOKED_AT = 5000

#: Below this p-value of a two-sample Kolmogorov-Smirnov test, nearness is called drifted. Small,
#: for it is looked at again and again.
DRIFT_ERROR = 1e-4

#: Fewer outputs tell nothing of drift.
_FEWEST = 100


@dataclass(frozen=True)
class Rate:
    """A share of the last decisions with its exact 95 % interval, and what was promised."""

    name: str
    count: int
    of: int
    low: float
    high: float
    promised: float

    @property
    def above(self) -> bool:
        """Whether more is held than harmless outputs would be: near outputs, or other ones."""
        return self.low > self.promised


@dataclass(frozen=True)
class Drift:
    """Nearness of the last outputs beside that of the harmless pictures calibrated on.

    ``usual`` and ``now``: medians, in review thresholds. ``distance``: Kolmogorov and Smirnov's.
    """

    usual: float
    now: float
    distance: float
    p: float
    of: int

    @property
    def drifted(self) -> bool:
        """Whether outputs are no longer like the pictures calibrated on."""
        return self.p < DRIFT_ERROR


@dataclass(frozen=True)
class ClientState:
    """One client: outputs among those looked at, how many of them were held, what is said of it."""

    name: str
    outputs: int
    held: int
    state: str
    detail: str


@dataclass(frozen=True)
class Health:
    """Everything that a monitor shows. ``counts`` are of all decisions ever."""

    at: float
    counts: dict[str, int]
    rates: tuple[Rate, ...]
    drift: Drift | None
    clients: tuple[ClientState, ...]


def health(decisions: Decisions, policy: Policy) -> Health:
    """Look at the last decisions."""
    last = decisions.recent(LOOKED_AT)
    return Health(
        at=time.time(),
        counts=decisions.counts(),
        rates=(
            _rate("blocked", last, ("block",), policy.block_rate),
            _rate("held", last, ("block", "review"), policy.held_rate),
        ),
        drift=drift([one.nearness for one in last], policy.usual),
        clients=_clients(decisions, last),
    )


def drift(now: Sequence[float], usual: Sequence[float]) -> Drift | None:
    """Compare the nearness of outputs with 101 quantiles of harmless pictures'.

    None if there are too few outputs to tell. The quantiles stand for as many pictures: fewer
    than were calibrated on, so that a drift is told late rather than wrongly.
    """
    if len(now) < _FEWEST:
        return None
    found = ks_2samp(np.asarray(now), np.asarray(usual))
    return Drift(
        usual=float(np.median(usual)),
        now=float(np.median(now)),
        distance=float(found.statistic),
        p=float(found.pvalue),
        of=len(now),
    )


def _rate(name: str, last: Sequence[Entry], kinds: tuple[str, ...], promised: float) -> Rate:
    # What a person or a hold decided says nothing of the thresholds.
    own = [one for one in last if one.reason not in ("held client", "reviewed")]
    count = sum(one.decision in kinds for one in own)
    return Rate(name, count, len(own), *clopper_pearson(count, len(own)), promised)


def _clients(decisions: Decisions, last: Sequence[Entry]) -> tuple[ClientState, ...]:
    outputs = Counter(one.client for one in last)
    held = Counter(one.client for one in last if one.decision != "allow")
    said: defaultdict[str, tuple[str, str]] = defaultdict(lambda: ("", ""))
    for event in decisions.events():
        said[event.client] = ("", "") if event.kind == "lifted" else (event.kind, event.detail)
    names = sorted({*outputs, *said}, key=lambda one: (not said[one][0], -held[one], one))
    return tuple(
        ClientState(one, outputs[one], held[one], *said[one])
        for one in names
        if outputs[one] or said[one][0]
    )
