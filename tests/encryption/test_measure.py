"""What is measured is what happened, and a wrong cloud is seen to be wrong."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from safelight.auditing.target import obtain
from safelight.cache import Cache
from safelight.data.roles import deal
from safelight.encryption.circuit import Circuit, Matrix
from safelight.encryption.measure import measure, prepare
from safelight.encryption.record import EncryptionRecord
from safelight.errors import DataError, PlanError
from safelight.plan.plan import load_plan
from safelight.record.record import Provenance

pytest.importorskip("tenseal.sealapi")

HERE = Provenance(
    safelight="0", commit="", python="3", packages={}, machine="", device="cpu",
    started=datetime(2020, 1, 1, tzinfo=UTC).isoformat(),
)  # fmt: skip


@pytest.fixture(scope="module")
def world():
    """The demo's roles and its shipped LeNet."""
    plan = load_plan("demo")
    roles = deal(plan.data)
    target, _ = obtain(plan, roles, torch.device("cpu"), Cache())
    return target, roles


def run(world, cut, pictures=5, seed=0):
    target, roles = world
    return measure(target, cut, roles.public, roles.holdout, pictures, seed, ("demo", HERE))


@pytest.fixture(scope="module")
def measured(world):
    cut = prepare(world[0], "fc2", world[1].public)
    return cut, run(world, cut)


def test_encryption_changes_nothing_that_matters(measured):
    _, record = measured
    assert record.accuracy.exact.value == 1
    assert record.errors.encryption < 1e-4
    assert record.accuracy.encrypted.n == 5
    # 99.1 % of 1,000 digits by the model; quadratics of two thirds of a thousand units differ less.
    assert record.accuracy.model_all.value > 0.98
    assert record.accuracy.quadratic.value > record.accuracy.model_all.value - 0.01
    assert 0.99 < record.accuracy.same.value < 1
    assert 0 < record.errors.quadratic < 0.1 * record.errors.largest


def test_costs_are_of_the_real_thing(measured):
    cut, record = measured
    sizes, times = record.sizes, record.times
    assert sizes.message_clear == 4 * 84
    # Half of a fresh ciphertext is a seed: degree times two primes of 8 bytes, less compression.
    assert 0.7 < sizes.message.value / (2 * 8 * cut.parameters.degree) < 1.3
    assert 0.7 < sizes.answer.value / (2 * 8 * cut.parameters.degree) < 1.1
    assert sizes.keys > sizes.message.value
    assert times.cloud.low <= times.cloud.value <= times.cloud.high
    assert times.cloud.value > 10 * times.cloud_clear.value
    assert record.cipher.modulus <= record.cipher.limit


def test_the_record_is_read_back(measured):
    _, record = measured
    assert EncryptionRecord.model_validate_json(record.model_dump_json()) == record


def test_the_same_seed_draws_the_same_pictures(world, measured):
    cut, record = measured
    again = run(world, cut)
    assert again.accuracy == record.accuracy
    assert again.errors.quadratic == record.errors.quadratic


def test_a_cloud_that_computes_something_else_is_seen(world, measured):
    """Control: with its classes in another order, nothing is right any more."""
    cut, _ = measured
    *rest, last = cut.circuit.steps
    order = np.roll(np.arange(10), 1)
    wrong = Circuit(cut.circuit.width, (*rest, Matrix(last.weight[order], last.bias[order])))
    record = run(world, dataclasses.replace(cut, circuit=wrong))
    assert record.accuracy.encrypted.value == 0
    assert record.accuracy.quadratic.value < 0.05
    assert record.accuracy.model_all.value > 0.98


def test_the_earliest_cut_that_works_is_taken(world):
    assert prepare(world[0], None, world[1].public).layer == "pool2"


def test_more_pictures_than_there_are_is_told(world, measured):
    with pytest.raises(DataError, match="lower --pictures"):
        run(world, measured[0], pictures=1001)


def test_a_model_that_decides_by_the_picture_is_refused(world):
    class Fickle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lay, self.one, self.two = (
                torch.nn.Flatten(),
                torch.nn.Linear(784, 10),
                torch.nn.Linear(784, 10),
            )

        def forward(self, x):
            bright = x.mean() > 0.13
            x = self.lay(x)
            return self.one(x) if bright else self.two(x)

    from safelight.targets.target import Normalized, Target

    target = Target("fickle", Normalized(Fickle(), (0.0,), (1.0,)), "nothing")
    with pytest.raises(PlanError, match="not the same for every picture"):
        prepare(target, "lay", world[1].public)
