"""Trusted execution: the cloud's part runs in an enclave, and its operator sees sizes and times."""

import struct
import time
import zlib
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from safelight.catalog import Reference
from safelight.data.roles import Roles
from safelight.errors import PlanError
from safelight.targets.cut import Cloud, cut
from safelight.targets.target import Target
from safelight.threats.messages import Count, MessageThreat, Pictures, Sends, Structure
from safelight.threats.observation import Needs

#: Victims whose sizes and times are looked at apart from any attack. With two hundred, ten classes
#: that make 8 % of the variance are told from chance four times in five (F test at 5 %).
WATCHED = 200

#: Rounds in which each picture is timed once, at most; sizes alone take two.
ROUNDS = 20

#: Seconds that the rounds of a slow model may take, but for the first three.
SECONDS = 20.0

#: Shuffles of a permutation test: p is a multiple of 1 / 1,000.
SHUFFLES = 999

#: Largest number of the wire's half precision.
LARGEST = 65504.0


@dataclass(frozen=True, kw_only=True)
class TrustedExecution(MessageThreat):
    """The operator of a cloud that computes in an enclave sees how much goes in and out, and when.

    The device encrypts the output of a layer to the enclave, which computes the rest. That the
    enclave keeps its contents is assumed: every finding carries the assumptions, and reports label
    them as such. Attacks get what is left, two numbers a picture: the bytes that go in and the
    bytes that come out, before encryption adds the same to each. The operator may be a customer,
    send own pictures and see their sizes.

    Times differ from run to run, so no attack is given them. They are measured apart, and tested
    for whether they depend on the picture or its class; so are sizes.

    Attributes:
        cut: the layer whose output is sent.
        numbers: how a number of message and answer is written: ``float16``, or ``uint8`` between
            the least and the largest of its message.
        compressed: whether both are deflated (zlib) before they are encrypted. Their size then
            depends on the picture.
        padded_to: bytes to a multiple of which both are filled up.
        timing: whether the time of the cloud's part is measured.
        pictures: what the adversary trains on: the target's own ``training set``; the plan's
            public ones, of the ``same distribution``; random ``noise``; ``none``.
    """

    reference: ClassVar[Reference] = Reference(
        key="kelsey2002",
        authors="Kelsey, John",
        title="Compression and Information Leakage of Plaintext",
        year=2002,
        venue="Fast Software Encryption (FSE) 2002",
        doi="10.1007/3-540-45661-9_21",
    )
    assumptions: ClassVar[tuple[str, ...]] = (
        "The enclave keeps its contents from its operator, one with the hardware in hand included",
        "Attestation is genuine: devices check what code they talk to, and no attestation key is "
        "out",
        "Nothing is read through page faults, caches, branches, speculation, power or the memory "
        "bus",
        "Times of computing, and when and how often pictures are sent, are used by no attacker",
    )

    cut: str
    numbers: Literal["float16", "uint8"] = "float16"
    compressed: bool = False
    padded_to: Count = 1
    timing: bool = True
    pictures: Pictures = "same distribution"
    # Sizes are not random, and no attack that this adversary can run imitates the edge.
    structure: Structure = field(default="known", init=False)
    sends: Sends = field(default=1, init=False)
    aware: bool = field(default=True, init=False)

    @property
    def where(self) -> str:
        """The cut."""
        return self.cut

    @property
    def offers(self) -> Needs:
        """What this adversary may use; the cloud's part is sealed like the message."""
        return Needs(
            messages=True,
            public=self.pictures != "none",
            labels=self.pictures in ("training set", "same distribution"),
            queries=True,
        )

    def parts(self, target: Target, shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
        """Return what maps pictures to the sizes that are seen, and what is computed from them.

        Raises:
            PlanError: the target changes its messages, which nobody sees here.
        """
        if target.release is not None:
            raise PlanError(
                "a defense changes messages, and under trusted_execution nobody sees them; leave "
                "the defense out, or use the threat split_inference"
            )
        return Sizes(self._enclave(target, shape)), Sealed()

    def dependences(self, target: Target, roles: Roles, device: torch.device) -> "list[Dependence]":
        """Test whether sizes, and times where they are seen, depend on the victims' pictures."""
        enclave = self._enclave(target, roles.victims.shape).to(device)
        victims = roles.victims.rows(torch.arange(min(WATCHED, len(roles.victims)))).to(device)
        seen = watch(enclave, victims.images, ROUNDS if self.timing else 2)
        kinds = [("bytes into the enclave", "bytes"), ("bytes out of the enclave", "bytes")]
        if self.timing:
            kinds.append(("time of the cloud's part", "ms"))
        classes = victims.labels.cpu().numpy()
        return [
            depends(f"{what} ({enclave.wire})", unit, seen[kind], classes)
            for kind, (what, unit) in enumerate(kinds)
        ]

    def _enclave(self, target: Target, shape: tuple[int, int, int]) -> "Enclave":
        edge = cut(target.model, self.cut, shape)
        wire = Wire(self.numbers, self.compressed, self.padded_to)
        return Enclave(edge, Cloud(edge, shape), wire)


@dataclass(frozen=True)
class Wire:
    """How tensors become the bytes that are encrypted: length, numbers, padding."""

    numbers: Literal["float16", "uint8"] = "float16"
    compressed: bool = False
    padded_to: int = 1

    def __str__(self) -> str:
        """Say what is done, in words."""
        words = [self.numbers, "compressed" if self.compressed else "not compressed"]
        return ", ".join(words + ([f"padded to {self.padded_to}"] if self.padded_to > 1 else []))

    def encode(self, message: Tensor) -> bytes:
        """Write one message of any shape."""
        numbers = message.detach().float().cpu().contiguous()
        if self.numbers == "float16":
            body = numbers.clamp(-LARGEST, LARGEST).half().numpy().astype("<f2").tobytes()
        else:
            low = float(numbers.min())
            step = (float(numbers.max()) - low) / 255 or 1.0
            levels = ((numbers - low) / step).round().clamp(0, 255)
            body = struct.pack("<ff", low, step) + levels.to(torch.uint8).numpy().tobytes()
        if self.compressed:
            body = zlib.compress(body)
        sent = struct.pack("<I", len(body)) + body
        return sent + bytes(-len(sent) % self.padded_to)

    def decode(self, sent: bytes, shape: tuple[int, ...]) -> Tensor:
        """Read one message of that shape back, float32."""
        (length,) = struct.unpack_from("<I", sent)
        body = sent[4 : 4 + length]
        if self.compressed:
            body = zlib.decompress(body)
        if self.numbers == "float16":
            return torch.from_numpy(np.frombuffer(body, "<f2").astype(np.float32)).reshape(shape)
        low, step = struct.unpack_from("<ff", body)
        levels = np.frombuffer(body, np.uint8, offset=8).astype(np.float32)
        return torch.from_numpy(low + step * levels).reshape(shape)


class Enclave(nn.Module):
    """A device, and an enclave that computes what is behind its cut; bytes go between them."""

    settings: Tensor

    def __init__(self, edge: nn.Module, cloud: nn.Module, wire: Wire) -> None:
        super().__init__()
        self.edge, self.cloud, self.wire = edge, cloud, wire
        # Part of the state, by whose hash an adversary's own work is remembered.
        self.register_buffer("settings", torch.tensor(list(repr(wire).encode())))
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def sent(self, images: Tensor) -> tuple[list[bytes], tuple[int, ...]]:
        """Return what devices send about pictures [n, c, h, w], and the shape of a message."""
        messages = self.edge(images)
        return [self.wire.encode(one) for one in messages], tuple(messages.shape[1:])

    @torch.no_grad()
    def answered(self, sent: list[bytes], shape: tuple[int, ...]) -> list[bytes]:
        """Return what the enclave sends back."""
        arrived = torch.stack([self.wire.decode(one, shape) for one in sent])
        answers = self.cloud(arrived.to(self.settings.device))
        return [self.wire.encode(one) for one in answers]


class Sizes(nn.Module):
    """What the operator sees: pictures [n, c, h, w] -> bytes in and bytes out [n, 2], whole."""

    def __init__(self, enclave: Enclave) -> None:
        super().__init__()
        self.enclave = enclave

    def forward(self, x: Tensor) -> Tensor:
        """Return the sizes; they have no gradient."""
        sent, shape = self.enclave.sent(x)
        back = self.enclave.answered(sent, shape)
        sizes = [[float(len(one)), float(len(two))] for one, two in zip(sent, back, strict=True)]
        return torch.tensor(sizes, device=x.device).reshape(-1, 2)


class Sealed(nn.Module):
    """What the operator can compute from sizes: nothing. Sizes [n, 2] -> no numbers [0]."""

    def forward(self, message: Tensor) -> Tensor:
        """Return no numbers."""
        return message.new_empty(0)


@dataclass(frozen=True)
class Dependence:
    """Whether one thing that is seen depends on the picture, over pictures and rounds.

    ``typical``, ``low`` and ``high`` are the median, least and largest over pictures of each
    picture's median over rounds. ``by_picture`` is Kendall's coefficient of concordance between
    rounds, ``by_class`` the share of the variance of pictures' mean ranks that lies between their
    classes; each is 0 to 1, with the p-value of its permutation test.
    """

    what: str
    unit: str
    pictures: int
    rounds: int
    typical: float
    low: float
    high: float
    by_picture: float
    by_picture_p: float
    by_class: float
    by_class_p: float


def watch(enclave: Enclave, images: Tensor, rounds: int) -> NDArray[np.float64]:
    """Send pictures [n, c, h, w] one by one; return bytes in, bytes out, milliseconds.

    [3, rounds, n]. Each round sends every picture once, in an order of its own, so that a machine
    that grows faster or slower favors no picture. A slow model makes fewer rounds, but three.
    """
    rng = np.random.default_rng(0)
    seen: list[NDArray[np.float64]] = []
    sent, shape = enclave.sent(images)
    enclave.answered(sent[:1], shape)  # the first allocates
    began = time.perf_counter()
    while len(seen) < rounds:
        if len(seen) >= 3 and time.perf_counter() - began > SECONDS:
            break
        own = np.zeros((3, len(images)))
        for row in rng.permutation(len(images)).tolist():
            start = time.perf_counter()
            back = enclave.answered(sent[row : row + 1], shape)
            taken = 1000 * (time.perf_counter() - start)
            own[:, row] = len(sent[row]), len(back[0]), taken
        seen.append(own)
    return np.stack(seen, axis=1)


def depends(
    what: str, unit: str, values: NDArray[np.float64], classes: NDArray[np.int64]
) -> Dependence:
    """Test whether values [rounds, n] of n pictures depend on the picture, or on its class [n].

    On ranks, which a machine's hiccups do not rule. If the picture does not matter, any order of
    a round's values is as likely: they are shuffled within rounds. If the class does not, pictures
    are exchangeable: their classes are shuffled.
    """
    rng = np.random.default_rng(0)
    ranks = rankdata(values, axis=1) - (values.shape[1] + 1) / 2  # each round's sum to 0
    pictures = [_concordance(ranks)]
    pictures += [_concordance(rng.permuted(ranks, axis=1)) for _ in range(SHUFFLES)]
    means = ranks.mean(0)
    groups = [_between(means, classes)]
    groups += [_between(means, rng.permutation(classes)) for _ in range(SHUFFLES)]
    middle = np.median(values, axis=0)
    return Dependence(
        what=what,
        unit=unit,
        pictures=values.shape[1],
        rounds=values.shape[0],
        typical=float(np.median(middle)),
        low=float(middle.min()),
        high=float(middle.max()),
        by_picture=pictures[0],
        by_picture_p=_p_value(pictures),
        by_class=groups[0],
        by_class_p=_p_value(groups),
    )


def _concordance(ranks: NDArray[np.float64]) -> float:
    """Kendall's W with ties, of centered ranks [rounds, n]: 1 if all rounds agree."""
    # W = sum_i (mean_j r_ij)^2 / mean_j sum_i r_ij^2
    most = float(np.square(ranks).sum(1).mean())
    return float(np.square(ranks.mean(0)).sum()) / most if most else 0.0


def _between(values: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """Return the share of the variance of centered values [n] that lies between classes."""
    total = float(np.square(values).sum())
    if not total:
        return 0.0
    sums, counts = np.bincount(classes, values), np.bincount(classes)
    return float((np.square(sums) / counts.clip(1)).sum()) / total


def _p_value(found: list[float]) -> float:
    """Return how often the first is reached, itself counted, but for a hair of rounding."""
    return float(np.mean(np.array(found) >= found[0] - 1e-12))
