import dataclasses
import signal
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.cache import Cache
from safelight.stats.seeds import Seeds
from safelight.targets import shadows
from safelight.targets.fit import fit
from safelight.targets.shadows import Lesson, draw, train
from safelight.targets.untrained import same_structure
from safelight.testing.membership import RECIPE, arbitrary, target


def lesson(**changes):
    return dataclasses.replace(
        Lesson(target("nothing").model, arbitrary().public, RECIPE), **changes
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(2, 40), st.data())
def test_every_picture_is_drawn_as_often_as_every_other(count, pool, data):
    size = data.draw(st.integers(1, pool - 1))
    inside = draw(count, pool, size, Seeds(data.draw(st.integers(0, 99))))
    assert inside.sum(1).tolist() == [size] * count
    assert int(inside.sum(0).max() - inside.sum(0).min()) <= 1


def test_half_of_the_pool_comes_in_complementary_pairs_and_more_shadows_change_none():
    four, six = draw(4, 50, 25, Seeds(3)), draw(6, 50, 25, Seeds(3))
    assert torch.equal(four, six[:4])
    assert torch.equal(four[0], ~four[1])
    assert not torch.equal(four[0], four[2])
    assert not torch.equal(four, draw(4, 50, 25, Seeds(4)))


def test_a_shadow_that_would_hold_everything_is_refused():
    with pytest.raises(ValueError, match="more than 10"):
        draw(2, 10, 10, Seeds(0))


def test_a_shadow_is_what_training_alone_gives(tmp_path):
    """Same structure, same rows, same seed: the same weights as by hand."""
    inside = draw(2, len(arbitrary().public), 100, Seeds(0))
    made = train(lesson(), inside, Seeds(5), Cache(tmp_path))
    for number, (shadow, row) in enumerate(zip(made, inside, strict=True)):
        seed = Seeds(5).child(str(number)).integer() % 2**31
        own = same_structure(target("nothing").model, seed)
        fit(
            own,
            arbitrary().public.rows(row.nonzero()[:, 0]),
            RECIPE.model_copy(update={"seed": seed}),
        )
        for name, value in own.state_dict().items():
            assert torch.equal(value, shadow.state_dict()[name]), name
        assert not shadow.training


def test_workers_train_the_same_shadows(tmp_path):
    inside = draw(4, len(arbitrary().public), 100, Seeds(0))
    told = []
    here = train(lesson(), inside, Seeds(0), Cache(tmp_path / "one"), workers=1)
    cache = Cache(tmp_path / "two")
    there = train(lesson(), inside, Seeds(0), cache, lambda *at: told.append(at), workers=2)
    assert len(list(cache.root.iterdir())) == 4
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for one, two in zip(here, there, strict=True):
        for name, value in one.state_dict().items():
            assert torch.allclose(value, two.state_dict()[name], atol=1e-5), name


def test_training_goes_on_from_the_shadow_it_was_stopped_at(tmp_path):
    inside, cache, trained = draw(5, len(arbitrary().public), 100, Seeds(0)), Cache(tmp_path), []

    def stopping(model, data, recipe):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(recipe.seed)
        return fit(model, data, recipe)

    def counting(model, data, recipe):
        trained.append(recipe.seed)
        return fit(model, data, recipe)

    with pytest.raises(KeyboardInterrupt):
        train(lesson(training=Named(stopping)), inside, Seeds(0), cache)
    train(lesson(training=Named(counting)), inside, Seeds(0), cache)
    assert len(trained) == len(set(trained)) == 5


@dataclasses.dataclass(frozen=True)
class Named:
    """A training whose name does not tell what it does, so that two can share a cache."""

    what: object = dataclasses.field(repr=False)

    def __call__(self, model, data, recipe):
        return self.what(model, data, recipe)


def test_what_a_shadow_depends_on_is_in_its_key(tmp_path):
    inside, cache = draw(1, len(arbitrary().public), 100, Seeds(0)), Cache(tmp_path)
    train(lesson(), inside, Seeds(0), cache)
    train(lesson(), inside, Seeds(0), cache)
    assert len(list(cache.root.iterdir())) == 1
    train(lesson(recipe=RECIPE.model_copy(update={"epochs": 1})), inside, Seeds(0), cache)
    train(lesson(), inside, Seeds(1), cache)
    train(lesson(), ~inside, Seeds(0), cache)
    train(lesson(training=Named(fit)), inside, Seeds(0), cache)
    assert len(list(cache.root.iterdir())) == 5


def test_few_seconds_of_work_are_not_sent_out(tmp_path, monkeypatch):
    def refuse(*given):
        raise AssertionError("sent out")

    monkeypatch.setattr(shadows, "_send_out", refuse)
    inside = draw(3, len(arbitrary().public), 100, Seeds(0))
    assert len(train(lesson(), inside, Seeds(0), Cache(tmp_path))) == 3


def test_an_interrupted_worker_ends_at_once_and_in_silence():
    """A terminal interrupts workers with their parent, which alone says what happened."""
    code = shadows._WORKER.replace("from safelight", "print('up', flush=True); from safelight")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as worker:
        assert worker.stdout.readline() == b"up\n"
        worker.send_signal(signal.SIGINT)
        assert worker.wait(20) == -signal.SIGINT
        assert worker.stderr.read() == b""
