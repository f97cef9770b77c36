"""Parameters are secure by the standard, and nothing leaves the device that decrypts."""

import sys

import numpy as np
import pytest

from safelight.encryption.context import (
    LIMITS,
    Device,
    Parameters,
    ciphertext,
    from_bytes,
    open_context,
    parameters,
)
from safelight.errors import DataError, PlanError

seal = pytest.importorskip("tenseal.sealapi")

SMALL = Parameters(8192, (60, 40, 60))
MESSAGE = np.random.default_rng(0).standard_normal(100)


@pytest.fixture(scope="module")
def device():
    return Device(SMALL)


def test_the_table_is_the_one_that_seal_has():
    from tenseal.sealapi import util

    assert {one: util.seal_he_std_parms_128_tc(one) for one in LIMITS} == LIMITS


@pytest.mark.parametrize("levels", range(1, 17))
def test_chosen_parameters_are_secure_and_the_smallest(levels):
    from tenseal.sealapi import util

    chosen = parameters(levels, 200)
    assert len(chosen.bits) == levels + 2
    assert chosen.modulus < util.seal_he_std_parms_128_tc(chosen.degree)
    half = chosen.degree // 2
    assert half == 4096 or chosen.modulus > 0.97 * util.seal_he_std_parms_128_tc(half)


def test_wide_vectors_take_a_larger_ring():
    assert parameters(1, 4096).degree == 8192
    assert parameters(1, 4097).degree == 16384


def test_what_is_not_secure_is_refused():
    with pytest.raises(PlanError, match="not secure to 128 bits"):
        Parameters(8192, (60, 40, 40, 40, 60))
    with pytest.raises(PlanError, match="more than CKKS takes"):
        parameters(30, 10)


def test_seal_looks_for_itself(monkeypatch):
    """Were our table wrong, SEAL would still refuse."""
    monkeypatch.setitem(LIMITS, 8192, 10_000)
    with pytest.raises(PlanError, match="insecure"):
        open_context(Parameters(8192, (60, 40, 40, 40, 60)))


def test_the_key_decrypts(device):
    found = device.decrypt(device.encrypt(MESSAGE), 100)
    np.testing.assert_allclose(found, MESSAGE, atol=1e-6)


def test_another_key_does_not(device):
    other = Device(SMALL).decrypt(device.encrypt(MESSAGE), 100)
    assert np.abs(other).min() > 1e3  # noise of the size of the modulus
    assert abs(np.corrcoef(other, MESSAGE)[0, 1]) < 0.5


def test_equal_messages_look_different(device):
    first, second = (np.frombuffer(device.encrypt(MESSAGE)[200:80_000], np.uint8) for _ in "ab")
    assert np.mean(first == second) < 0.02  # chance: 1 in 256


def test_evaluation_keys_hold_no_secret(device, tmp_path):
    keys = device.evaluation_keys((1, 4), squares=True)
    context = open_context(SMALL)
    for content in (keys.relinearization, keys.rotation):
        with pytest.raises(DataError):
            from_bytes(context, seal.SecretKey(), content)
        with pytest.raises(DataError):
            from_bytes(context, seal.PublicKey(), content)
    # What is looked for would be found: a secret key, written against the rules, is read.
    device._generator.secret_key().save(str(tmp_path / "secret"))
    assert from_bytes(context, seal.SecretKey(), (tmp_path / "secret").read_bytes())
    assert from_bytes(context, seal.RelinKeys(), keys.relinearization).size() == 1
    assert from_bytes(context, seal.GaloisKeys(), keys.rotation).size() == 2


def test_keys_that_are_not_needed_are_not_made(device):
    assert len(device.evaluation_keys((), squares=False)) == 0


@pytest.mark.parametrize("harm", [lambda one: one[:-100], lambda one: b"x" * 500, lambda _: b""])
def test_a_damaged_message_is_told(device, harm):
    with pytest.raises(DataError, match="encrypt it again") as caught:
        ciphertext(open_context(SMALL), harm(device.encrypt(MESSAGE)))
    assert "\n" not in str(caught.value)


def test_a_message_of_other_parameters_is_told(device):
    with pytest.raises(DataError, match="same parameters"):
        ciphertext(open_context(parameters(2, 100)), device.encrypt(MESSAGE))


def test_nan_is_not_sent(device):
    with pytest.raises(DataError, match="NaN"):
        device.encrypt(np.array([1.0, np.nan]))


def test_a_missing_library_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal.sealapi", None)
    with pytest.raises(PlanError, match=r"pip install 'safelight\[he\]'") as caught:
        Device(SMALL)
    assert "\n" not in str(caught.value)
