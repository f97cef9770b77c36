"""The contract of a threat: what it hides stays hidden."""

import gc
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from safelight import catalog
from safelight.cache import Cache
from safelight.errors import AccessError
from safelight.testing import worlds
from safelight.threats.messages import MessageThreat
from safelight.threats.observation import Needs, Secret, SplitObservation


class ThreatContract:
    """What every threat keeps to."""

    threat: ClassVar[MessageThreat]

    def meet(self, tmp_path: Path) -> tuple[SplitObservation, Secret]:
        """Let the adversary watch a shipped target."""
        roles = worlds.digits()
        cache = Cache(tmp_path)
        return self.threat.meet(worlds.lenet(), roles, torch.device("cpu"), cache)

    def test_refuses_what_it_does_not_offer(self, tmp_path: Path) -> None:
        """The error names the sight and the threat."""
        seen, _ = self.meet(tmp_path)
        everything = Needs(messages=True, queries=True, weights=True, public=True)
        for hidden in everything.missing_from(self.threat.offers):
            with pytest.raises(AccessError, match=hidden):
                seen.restricted(Needs(**{hidden: True}))

    def test_the_victims_cannot_be_reached_from_the_observation(self, tmp_path: Path) -> None:
        """No tensor that hangs on the observation holds a victim's pixels."""
        seen, secret = self.meet(tmp_path)
        victims = secret.victims.images
        reached: set[int] = set()
        todo: list[object] = [seen]
        while todo:
            one = todo.pop()
            if id(one) in reached or isinstance(one, (type, str, bytes)):
                continue
            reached.add(id(one))
            if isinstance(one, Tensor):
                same = one.shape[1:] == victims.shape[1:] and len(one) >= len(victims)
                assert not (same and torch.equal(one[: len(victims)], victims))
            elif not callable(one) or isinstance(one, torch.nn.Module):
                todo += gc.get_referents(one)
        assert len(reached) > 10

    def test_queries_are_counted(self, tmp_path: Path) -> None:
        """Each picture sent counts once, and a fresh view starts at zero."""
        seen, _ = self.meet(tmp_path)
        if not self.threat.offers.queries:
            return
        view = seen.restricted(self.threat.offers)
        view.query(view.public.images[:7])
        view.query(view.public.images[:5])
        assert view.queries == 12
        assert seen.restricted(self.threat.offers).queries == 0

    def test_options_survive_the_catalog(self) -> None:
        """What a plan says is what runs."""
        name = catalog.name_of(self.threat)
        given = {key: getattr(self.threat, key) for key in catalog.options(type(self.threat))}
        assert catalog.build("threat", name, given) == self.threat
