"""The cloud computes on ciphertexts what the circuit says in the clear, and cannot decrypt."""

import gc

import numpy as np
import pytest

from safelight.encryption.circuit import Circuit, Matrix, Shift, Square
from safelight.encryption.context import Device, EvaluationKeys, parameters
from safelight.encryption.operator import Layout, Operator, diagonal, layouts, rotations, widest
from safelight.errors import DataError

tenseal = pytest.importorskip("tenseal")
seal = pytest.importorskip("tenseal.sealapi")


def draws(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def matrix(width, out, seed=0):
    return Matrix(draws(out, width, seed=seed) / width**0.5, draws(out, seed=seed + 1))


def pair(circuit):
    """A device and its cloud."""
    chosen = parameters(circuit.levels, widest(circuit))
    device = Device(chosen)
    squares = any(isinstance(step, Square) for step in circuit.steps)
    return device, Operator(circuit, chosen, device.evaluation_keys(rotations(circuit), squares))


@pytest.mark.parametrize("columns", [1, 2, 8, 64])
@pytest.mark.parametrize("rows", [1, 2, 16, 64])
def test_diagonals_make_up_the_matrix(rows, columns):
    """The formula of the module, in the clear, for every shape."""
    layout = Layout(rows, max(rows, columns))
    weight, x = draws(rows, columns), draws(layout.columns, seed=1)
    x[columns:] = 0
    total = sum(diagonal(weight, layout, k) * np.roll(x, -k) for k in range(rows))
    for steps in layout.folds:
        total = total + np.roll(total, -steps)
    np.testing.assert_allclose(total[:rows], weight @ x[:columns], atol=1e-12)


@pytest.mark.parametrize(
    ("width", "out"), [(1, 1), (5, 1), (1, 6), (3, 20), (20, 3), (16, 16), (100, 10), (84, 120)]
)
def test_an_encrypted_matrix_is_the_matrix(width, out):
    circuit = Circuit(width, (matrix(width, out),))
    device, cloud = pair(circuit)
    for seed in (5, 6):
        x = draws(width, seed=seed)
        found = device.decrypt(cloud.answer(device.encrypt(x)), out)
        np.testing.assert_allclose(found, circuit.plain(x[None])[0], atol=1e-5)


def test_a_whole_circuit_is_what_it_is_in_the_clear():
    circuit = Circuit(
        30,
        (Shift(draws(30)), Square(), matrix(30, 50), Square(), matrix(50, 7, 3)),
    )
    device, cloud = pair(circuit)
    x = draws(30, seed=4)
    answer = device.decrypt(cloud.answer(device.encrypt(x)))
    np.testing.assert_allclose(answer[:7], circuit.plain(x[None])[0], atol=1e-4)
    # Every slot holds the answer or zero: nothing of what lay between comes back.
    np.testing.assert_allclose(
        answer.reshape(-1, 8), np.tile(answer[:8], (len(answer) // 8, 1)), atol=1e-4
    )
    assert abs(answer[7]) < 1e-4


def test_agrees_with_tenseals_own_matrix_product():
    """Another algorithm, of the library's authors, on the same numbers."""
    step, x = matrix(40, 12), draws(40, seed=2)
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, -1, [60, 40, 40, 60], n_threads=1)
    context.global_scale = 2.0**40
    context.generate_galois_keys()
    vector = tenseal.ckks_vector(context, x.tolist())
    theirs = np.array(vector.mm(step.weight.T.tolist()).add(step.bias.tolist()).square().decrypt())
    identity = Matrix(np.eye(12), np.zeros(12))
    device, cloud = pair(Circuit(40, (step, Square(), identity)))
    ours = device.decrypt(cloud.answer(device.encrypt(x)), 12)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_matrix_with_empty_diagonals_is_computed():
    """SEAL refuses to multiply by a plaintext of zeros, which an identity has many of."""
    circuit = Circuit(16, (Matrix(np.eye(16), np.zeros(16)),))
    device, cloud = pair(circuit)
    x = draws(16)
    np.testing.assert_allclose(device.decrypt(cloud.answer(device.encrypt(x)), 16), x, atol=1e-5)


def test_weights_that_do_not_fit_in_memory_are_encoded_each_time(monkeypatch):
    circuit = Circuit(20, (matrix(20, 6),))
    monkeypatch.setattr("safelight.encryption.operator._KEPT", 0)
    device, cloud = pair(circuit)
    for seed in (1, 2):
        x = draws(20, seed=seed)
        found = device.decrypt(cloud.answer(device.encrypt(x)), 6)
        np.testing.assert_allclose(found, circuit.plain(x[None])[0], atol=1e-5)
    assert len(cloud._encoded) == 1  # the bias


def test_the_cloud_holds_no_secret():
    device, cloud = pair(Circuit(20, (matrix(20, 6), Square(), matrix(6, 3))))
    kinds = (seal.SecretKey, seal.Decryptor, seal.KeyGenerator, seal.Encryptor, Device)

    def reached(root):
        seen, left = set(), [root]
        while left:
            one = left.pop()
            if id(one) in seen or isinstance(one, type) or type(one).__name__ == "module":
                continue
            seen.add(id(one))
            yield one
            left += gc.get_referents(one)

    assert not any(isinstance(one, kinds) for one in reached(vars(cloud)))
    assert any(isinstance(one, kinds) for one in reached(vars(device)))  # the search can find it


def test_another_device_does_not_read_the_answer():
    circuit = Circuit(20, (matrix(20, 6),))
    device, cloud = pair(circuit)
    x = draws(20)
    answer = cloud.answer(device.encrypt(x))
    stranger = Device(device.parameters).decrypt(answer, 6)
    assert np.abs(stranger - circuit.plain(x[None])[0]).max() > 1e3


def test_keys_of_another_device_give_nonsense():
    circuit = Circuit(20, (matrix(20, 6),))
    device, _ = pair(circuit)
    foreign = Device(device.parameters).evaluation_keys(rotations(circuit), squares=False)
    cloud = Operator(circuit, device.parameters, foreign)
    x = draws(20)
    found = device.decrypt(cloud.answer(device.encrypt(x)), 6)
    assert np.abs(found - circuit.plain(x[None])[0]).max() > 1


def test_damaged_messages_and_keys_are_told():
    circuit = Circuit(20, (matrix(20, 6),))
    device, cloud = pair(circuit)
    with pytest.raises(DataError, match="encrypt it again"):
        cloud.answer(device.encrypt(draws(20))[:1000])
    with pytest.raises(DataError):
        Operator(circuit, device.parameters, EvaluationKeys(b"", b"no keys"))


def test_rotations_are_about_twice_the_root_of_the_rows():
    circuit = Circuit(2048, (matrix(2048, 512), Square(), matrix(512, 10)))
    first, second = layouts(circuit)
    assert (first.rows, first.columns, first.baby) == (512, 2048, 32)
    assert (second.rows, second.columns, second.baby) == (16, 512, 4)
    assert first.baby + first.rows // first.baby <= 2.2 * first.rows**0.5
    assert len(rotations(circuit)) <= 11
