import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safelight.stats.seeds import Seeds

NAMES = st.lists(st.text(max_size=6), max_size=4).map(tuple)


@given(st.integers(-5, 2**70), NAMES)
def test_the_same_root_and_names_give_the_same_seed(root, names):
    assert Seeds(root).child(*names).integer() == Seeds(root, names).integer()


@given(NAMES, NAMES)
def test_distinct_names_give_distinct_seeds(one, other):
    same = Seeds(0).child(*one).integer() == Seeds(0).child(*other).integer()
    assert same == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("faces/train", "a"), ("faces", "train/a")),
        (("a/b",), ("a", "b")),
        (("",), ()),
        (("a", ""), ("a",)),
    ],
)
def test_names_that_only_differ_in_where_they_are_split_give_distinct_seeds(one, other):
    assert Seeds(0).child(*one).integer() != Seeds(0).child(*other).integer()


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_distinct_roots_give_distinct_seeds(one, other):
    same = Seeds(one).child("x").integer() == Seeds(other).child("x").integer()
    assert same == (one == other)


@given(st.integers(), NAMES)
def test_every_seed_fits_the_generators_of_numpy_and_torch(root, names):
    seed = Seeds(root, names).integer()
    assert 0 <= seed < 2**63
    np.random.default_rng(seed)
    torch.Generator().manual_seed(seed)


def test_a_stream_does_not_depend_on_what_was_drawn_before_it():
    root = Seeds(7)
    alone = root.child("victims").integer()
    names = ["public", "private", "holdout", "victims"]
    assert {name: root.child(name).integer() for name in names}["victims"] == alone


def test_asking_for_a_child_step_by_step_or_at_once_is_the_same():
    assert Seeds(1).child("a", "b") == Seeds(1).child("a").child("b")


def test_deriving_seeds_leaves_the_global_generators_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    Seeds(0).child("x").integer()
    assert torch.equal(before, torch.random.get_rng_state())


def test_seeds_of_many_names_are_spread_over_their_range():
    values = np.array([Seeds(0).child(str(i)).integer() for i in range(2000)]) / 2**63
    counts, _ = np.histogram(values, bins=10, range=(0, 1))
    assert counts.min() > 140
    assert counts.max() < 260
