"""Run pictures through an encrypted cloud, and compare with the model in the clear."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.data.images import ImageSet
from safelight.encryption import circuit as circuits
from safelight.encryption import tail as tails
from safelight.encryption.circuit import Array, Circuit, Square
from safelight.encryption.context import (
    LIMITS,
    SECURITY,
    Device,
    Parameters,
    library,
    parameters,
)
from safelight.encryption.operator import Operator, rotations, widest
from safelight.encryption.record import Accuracy, Cipher, EncryptionRecord, Errors, Sizes, Times
from safelight.encryption.tail import Tail
from safelight.errors import DataError, PlanError
from safelight.record.record import Measurement, Provenance
from safelight.record.verdict import LEVEL
from safelight.stats.intervals import bootstrap_mean, clopper_pearson
from safelight.stats.seeds import Seeds
from safelight.targets.cut import Edge, cut_points
from safelight.targets.target import Target

#: Public pictures on which quadratics are fitted: three numbers a unit, of a smooth distribution.
FITTED = 2000

#: Largest difference, as a share of the largest number in an answer, between the layers that were
#: read off and the model itself: rounding of float32 stays two orders below.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Cut:
    """A model cut for encryption: its edge on the device, its tail, and the circuit of the tail."""

    layer: str
    edge: Edge
    tail: Tail
    circuit: Circuit
    parameters: Parameters


@dataclass(frozen=True)
class _Runs:
    """What came of single pictures: answers [n, classes], seconds and bytes [n]; and of setting up.

    ``once``: seconds in which keys are made, and in which the cloud encodes its weights.
    """

    answers: Array
    seconds: dict[str, Array]
    bytes: dict[str, Array]
    keys: int
    once: tuple[float, float]


def prepare(target: Target, layer: str | None, public: ImageSet) -> Cut:
    """Cut a model, approximate its activations on public pictures, and choose parameters.

    ``layer`` is the earliest cut that works if None.

    Raises:
        PlanError: TenSEAL is missing, or what is behind the cut cannot be encrypted.
        LoadError: there is no such layer.
    """
    library()
    model, shape = target.model, public.shape
    if layer is None:
        layer = next(iter(tails.cuts(model, shape)), list(cut_points(model, shape))[-1])
    edge, tail = tails.read(model, layer, shape)
    images = public.images[:FITTED]
    messages, said = _messages(edge, images), _answers(target, images)
    if np.abs(tail.exact(messages).numpy() - said).max() > TOLERANCE * np.abs(said).max():
        raise PlanError(
            f"what the model computes behind {layer} is not the same for every picture; "
            "give a later --cut"
        )
    circuit = circuits.approximate(tail, messages)
    return Cut(layer, edge, tail, circuit, parameters(circuit.levels, widest(circuit)))


def check(holdout: ImageSet, pictures: int) -> None:
    """Raise unless so many pictures can be drawn.

    Raises:
        DataError: there are fewer.
    """
    if pictures > len(holdout):
        raise DataError(
            f"{pictures} pictures are asked for and {len(holdout)} held out; "
            "lower --pictures or raise data.holdout.count"
        )


def measure(
    target: Target,
    cut: Cut,
    public: ImageSet,
    holdout: ImageSet,
    pictures: int,
    seed: int,
    about: tuple[str, Provenance],
    tell: Callable[[int], None] = lambda _done: None,
) -> EncryptionRecord:
    """Encrypt so many held-out pictures' messages, compute, decrypt, and compare.

    Args:
        target: the model as it is.
        cut: from ``prepare``.
        public: their first message warms the cloud up and is not counted.
        holdout: pictures whose labels say what is right.
        pictures: how many are drawn, without replacement.
        seed: of the draw.
        about: the name of the record, and where it is made.
        tell: called with the number of pictures done.

    Raises:
        DataError: there are fewer pictures than asked for.
    """
    check(holdout, pictures)
    everything, truth = _messages(cut.edge, holdout.images), _answers(target, holdout.images)
    clear = cut.circuit.plain(everything.numpy())
    draw = torch.Generator().manual_seed(Seeds(seed).child("encryption", "pictures").integer())
    rows = torch.randperm(len(holdout), generator=draw)[:pictures].numpy()

    warm = _messages(cut.edge, public.images[:1]).numpy()[0]
    runs = _run(cut, warm, everything.numpy()[rows], tell)
    quadratic = cut.tail.finished(clear)
    return EncryptionRecord(
        name=about[0],
        model=target.name,
        weights_sha256=target.weights_sha256(),
        cut=cut.layer,
        layers=cut.tail.describe(),
        device_layers=[one.name for one in cut.tail.finish],
        cipher=_cipher(cut),
        accuracy=_accuracy(holdout, rows, truth, quadratic, cut.tail.finished(runs.answers)),
        errors=Errors(
            encryption=float(np.abs(runs.answers - clear[rows]).max()),
            quadratic=float(np.sqrt(np.mean((quadratic - truth) ** 2))),
            largest=float(np.abs(clear).max()),
        ),
        sizes=_sizes(cut, runs),
        times=_times(runs, _in_the_clear(cut, everything.numpy()[rows])),
        seed=seed,
        provenance=about[1],
    )


def _sizes(cut: Cut, runs: _Runs) -> Sizes:
    return Sizes(
        message=_mean(runs.bytes["message"], "bytes"),
        answer=_mean(runs.bytes["answer"], "bytes"),
        message_clear=4 * cut.circuit.width,
        answer_clear=4 * cut.circuit.classes,
        keys=runs.keys,
    )


def _times(runs: _Runs, clear: Array) -> Times:
    return Times(
        **{name: _mean(one, "seconds") for name, one in runs.seconds.items()},
        cloud_clear=_mean(clear, "seconds"),
        keys=runs.once[0],
        prepare=runs.once[1],
    )


def _accuracy(
    holdout: ImageSet, rows: NDArray[np.int64], truth: Array, quadratic: Array, encrypted: Array
) -> Accuracy:
    """Compare answers [n, classes]: the model's, its quadratics', those of ``rows`` encrypted."""
    labels, chance = holdout.labels.numpy(), 1 / len(holdout.classes)
    said, meant, told = truth.argmax(1), quadratic.argmax(1), encrypted.argmax(1)
    return Accuracy(
        model=_share((said == labels)[rows], chance),
        encrypted=_share(told == labels[rows], chance),
        exact=_share(told == meant[rows]),
        model_all=_share(said == labels, chance),
        quadratic=_share(meant == labels, chance),
        same=_share(said == meant),
    )


def _run(cut: Cut, warm: Array, messages: Array, tell: Callable[[int], None]) -> _Runs:
    """Set up a device and a cloud, send each message through them, and time it.

    The message ``warm`` goes first and is not counted: the cloud encodes its weights meanwhile.
    """
    began = time.perf_counter()
    device = Device(cut.parameters)
    squares = any(isinstance(step, Square) for step in cut.circuit.steps)
    keys = device.evaluation_keys(rotations(cut.circuit), squares)
    keyed = time.perf_counter()
    operator = Operator(cut.circuit, cut.parameters, keys)
    device.decrypt(operator.answer(device.encrypt(warm)))
    once = keyed - began, time.perf_counter() - keyed
    answers, seconds, sizes = [], [], []
    for done, message in enumerate(messages, 1):
        stamps = [time.perf_counter()]
        sent = device.encrypt(message)
        stamps.append(time.perf_counter())
        back = operator.answer(sent)
        stamps.append(time.perf_counter())
        answers.append(cut.circuit.gain * device.decrypt(back, cut.circuit.classes))
        stamps.append(time.perf_counter())
        seconds.append(np.diff(stamps))
        sizes.append([len(sent), len(back)])
        tell(done)
    took, took_bytes = np.array(seconds).T, np.array(sizes, dtype=np.float64).T
    return _Runs(
        np.array(answers),
        dict(zip(("encrypt", "cloud", "decrypt"), took, strict=True)),
        dict(zip(("message", "answer"), took_bytes, strict=True)),
        len(keys),
        once,
    )


def _in_the_clear(cut: Cut, messages: Array) -> Array:
    """Return the seconds that the same circuit takes on one message at a time, not encrypted."""
    cut.circuit.plain(messages[:1])
    stamps = [time.perf_counter()]
    for message in messages:
        cut.circuit.plain(message[None])
        stamps.append(time.perf_counter())
    return np.diff(stamps)


@torch.no_grad()
def _messages(edge: Edge, images: Tensor) -> Tensor:
    """Return flattened messages [n, width], float64, on the processor."""
    where = edge.model.mean.device
    return torch.cat([edge(x.to(where)).flatten(1).double().cpu() for x in images.split(500)])


@torch.no_grad()
def _answers(target: Target, images: Tensor) -> Array:
    where = target.model.mean.device
    parts = [target.model(x.to(where)).double().cpu() for x in images.split(500)]
    return np.asarray(torch.cat(parts).numpy())


def _cipher(cut: Cut) -> Cipher:
    chosen = cut.parameters
    return Cipher(
        degree=chosen.degree,
        bits=list(chosen.bits),
        modulus=chosen.modulus,
        limit=LIMITS[chosen.degree],
        security=SECURITY,
        levels=cut.circuit.levels,
    )


def _share(hits: Array, chance: float | None = None) -> Measurement:
    """Return a share with its exact interval."""
    low, high = clopper_pearson(float(hits.sum()), len(hits), LEVEL)
    return _measured(float(hits.mean()), low, high, len(hits), "share", chance)


def _mean(values: Array, unit: str) -> Measurement:
    """Return a mean with its bootstrap interval."""
    low, high = bootstrap_mean(values, LEVEL)
    return _measured(float(values.mean()), low, high, len(values), unit)


def _measured(
    value: float, low: float, high: float, n: int, unit: str, chance: float | None = None
) -> Measurement:
    return Measurement(
        value=value,
        low=low,
        high=high,
        level=LEVEL,
        n=n,
        seeds=1,
        chance=chance,
        worse="lower" if unit == "share" else "higher",
        unit=unit,
    )
