import pytest
import torch

from safelight.cache import Cache
from safelight.errors import AccessError
from safelight.testing import worlds
from safelight.threats.observation import Needs

EVERYTHING = Needs(messages=True, queries=True, weights=True, public=True)


@pytest.fixture
def seen(tmp_path):
    return worlds.watch("lenet", Cache(tmp_path))[0]


def test_a_message_is_what_the_edge_puts_out(seen):
    view = seen.restricted(EVERYTHING)
    assert torch.equal(view.messages, view.edge(worlds.digits().victims.images))


def test_remembered_work_is_done_once_and_its_queries_count_every_time(seen):
    done = []

    def work(view):
        def make():
            done.append(1)
            return {"messages": view.query(view.public.images[:5])}

        return view.remember({"work": 1}, make)

    first, second = seen.restricted(EVERYTHING), seen.restricted(EVERYTHING)
    assert torch.equal(work(first)["messages"], work(second)["messages"])
    assert len(done) == 1
    assert first.queries == second.queries == 5


def test_an_attack_that_spoils_its_messages_spoils_no_other_view(seen):
    seen.restricted(EVERYTHING).messages.zero_()
    assert seen.restricted(EVERYTHING).messages.abs().sum() > 0


def test_a_sight_that_was_not_declared_is_refused(seen):
    view = seen.restricted(Needs(messages=True))
    for read in (lambda: view.edge, lambda: view.public, lambda: view.query(torch.zeros(1))):
        with pytest.raises(AccessError, match="needs"):
            read()
