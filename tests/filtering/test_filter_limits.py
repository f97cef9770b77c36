"""Clients that ask harmlessly are left alone, clients that climb or scan are found."""

import numpy as np
import pytest
import torch
from serving import near

from safelight.filtering.limits import CLIMB_ERROR, PROBES, Bucket, Watch, climb_p


def test_a_bucket_lets_the_rate_through_and_a_burst():
    now = [0.0]
    bucket = Bucket(10, 20, lambda: now[0])
    assert bucket.take(20) == 0
    assert bucket.take(1) == pytest.approx(0.1)
    now[0] = 1.0
    assert bucket.take(10) == 0
    assert bucket.take(10) == pytest.approx(1.0)
    now[0] = 100.0
    assert bucket.take(50) == 0  # more than a burst, from a full bucket
    now[0] = 102.9
    assert bucket.take(1) > 0  # is paid off after
    now[0] = 103.2
    assert bucket.take(1) == 0


@pytest.mark.parametrize(("visits", "records"), [(10, 8), (30, 14), (200, 20), (5000, 25)])
def test_the_bound_is_above_the_exact_probability_of_records(visits, records):
    """The law of records by dynamic programming: the i-th is one with probability 1 / i."""
    law = np.zeros(visits + 2)
    law[0] = 1
    for at in range(1, visits + 1):
        law[1:] = law[1:] * (1 - 1 / at) + law[:-1] / at
        law[0] *= 1 - 1 / at
    exact = law[records:].sum()
    assert exact <= climb_p(visits, records) <= 1e3 * exact + 1e-12


def test_harmless_clients_are_left_alone():
    """The null: outputs in no order, 5 % held, as many as fill several windows."""
    rng = np.random.default_rng(0)
    watch = Watch(0.05)
    signs = []
    for client in range(20):
        apart = rng.gamma(5, size=3000)
        held = apart < np.quantile(apart, 0.04)
        rows = rng.integers(0, 200, 3000)
        signs += [
            watch.observe(str(client), int(row), float(one), f"{client}-{at}", bool(gone))
            for at, (row, one, gone) in enumerate(zip(rows, apart, held, strict=True))
        ]
    assert not any(signs)


def test_the_same_output_again_is_no_step():
    watch = Watch(0.05)
    assert not any(watch.observe("a", 1, 0.5, "same", True) for _ in range(5000))


def test_a_client_that_climbs_is_found_by_the_distances(made, digits):
    """From noise towards a protected picture, each step kept if it came nearer."""
    engine, rng, watch = made.load(), torch.Generator().manual_seed(0), Watch(0.05)
    goal = digits.protected[7].float() / 255
    best = torch.rand(goal.shape, generator=rng)
    found, asked = None, 0
    apart = torch.inf
    for _ in range(400):
        step = (best + 0.05 * torch.randn(goal.shape, generator=rng)).clamp(0, 1)
        step = 0.97 * step + 0.03 * goal  # a gradient of its own, or luck
        (judged,) = engine.check(step[None])
        asked += 1
        if judged.nearness < apart:
            best, apart = step, judged.nearness
        found = watch.observe("climber", judged.row, judged.nearness, str(asked), apart < 1)
        if found:
            break
    assert found is not None
    assert found.kind == "climb"
    assert asked < 200


def test_a_client_that_walks_along_the_threshold_is_found_by_its_probes(made, digits):
    """Someone who sees only decisions halves the way between a held and an allowed output."""
    engine, watch = made.load(), Watch(0.05)
    goal, harmless = digits.protected[9].float() / 255, digits.fresh[:40].float() / 255
    asked, found = 0, None
    for start in harmless:
        low, high = 0.0, 1.0
        for _ in range(8):
            share = (low + high) / 2
            (judged,) = engine.check((share * goal + (1 - share) * start)[None])
            asked += 1
            held = judged.nearness < 1
            low, high = (low, share) if held else (share, high)
            found = watch.observe("walker", judged.row, judged.nearness, str(asked), held)
            if found:
                break
        if found:
            break
    assert found is not None
    assert asked < 8 * PROBES


def test_a_client_that_tries_a_list_is_found_as_a_scan(made, digits):
    engine, watch = made.load(), Watch(0.05)
    listed = torch.cat([digits.protected[:100], digits.fresh[:100]])[torch.randperm(200)]
    told = [
        watch.observe("editor", one.row, one.nearness, str(at), one.nearness < 1)
        for at, one in enumerate(engine.check(listed.float() / 255))
    ]
    signs = [at for at, sign in enumerate(told) if sign]
    assert told[signs[0]].kind == "scan"
    assert signs[0] < 40


def test_a_lifted_client_begins_anew():
    watch = Watch(0.05)
    signs = [watch.observe("a", 1, 1 - at / 100, str(at), True) for at in range(40)]
    assert any(signs)
    watch.forget("a")
    assert watch.observe("a", 1, 0.1, "x", True) is None
    assert CLIMB_ERROR < 1e-6


def test_noise_alone_does_not_look_like_a_climb(made, digits):
    """A generator that puts out the same remembered picture again and again does not climb."""
    engine, watch = made.load(), Watch(0.05)
    again = near(digits.protected[5:6].repeat(150, 1, 1, 1), 0.03).float() / 255
    told = [
        watch.observe("g", one.row, one.nearness, str(at), False)
        for at, one in enumerate(engine.check(again))
    ]
    assert not any(told)
