"""Parameters of CKKS, and the device: the only place that ever holds a secret key.

TenSEAL's SEAL layer computes; nothing of the cryptography is our own.
"""

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import DataError, PlanError

Array = NDArray[np.float64]

#: Largest log2 of the whole modulus, by ring degree, at 128 bits against classical attacks, for
#: secrets drawn from {-1, 0, 1} (Albrecht et al. 2018, Homomorphic Encryption Security Standard).
LIMITS = {4096: 109, 8192: 218, 16384: 438, 32768: 881}

#: Share of a limit that is used. Attacks have become better since 2018: the lattice estimator's own
#: documentation has 121.8 bits for degree 8192 with a modulus of 226 bits, 4 % above that limit.
SHARE = 0.97

SECURITY = 128

#: Bits of the first prime, which bounds the answer (2^60 / 2^40: below 2^19), of one for each
#: level, and of the last, which serves the keys alone.
_FIRST, _LEVEL, _SPECIAL = 60, 40, 60

#: Encrypted numbers are multiplied by this and rounded.
SCALE = 2.0**_LEVEL


@dataclass(frozen=True)
class Parameters:
    """A ring degree and the bits of each prime of the modulus. Public, like all but the key."""

    degree: int
    bits: tuple[int, ...]

    def __post_init__(self) -> None:
        limit = LIMITS.get(self.degree)
        if limit is None or self.modulus > SHARE * limit:
            raise PlanError(
                f"a modulus of {self.modulus} bits at ring degree {self.degree} is not secure to "
                f"{SECURITY} bits; use a later cut, behind which fewer layers are left"
            )

    @property
    def modulus(self) -> int:
        """Bits of the whole modulus, the keys' prime with it."""
        return sum(self.bits)

    @property
    def slots(self) -> int:
        """Numbers in one ciphertext."""
        return self.degree // 2


@dataclass(frozen=True)
class EvaluationKeys:
    """What the cloud needs to multiply and rotate; it cannot decrypt by them. Empty if unused."""

    relinearization: bytes
    rotation: bytes

    def __len__(self) -> int:
        return len(self.relinearization) + len(self.rotation)


def parameters(levels: int, width: int) -> Parameters:
    """Return the smallest parameters for so many levels and vectors of ``width`` numbers.

    Raises:
        PlanError: none are both large enough and secure.
    """
    bits = (_FIRST, *[_LEVEL] * levels, _SPECIAL)
    for degree, limit in LIMITS.items():
        if sum(bits) <= SHARE * limit and block(width) <= degree // 2:
            return Parameters(degree, bits)
    raise PlanError(
        f"{levels} multiplications on {width} numbers are more than CKKS takes at {SECURITY} bits; "
        "use a later cut, behind which fewer layers are left"
    )


def block(width: int) -> int:
    """Return the power of two of slots that a vector of ``width`` numbers fills."""
    return 1 << (width - 1).bit_length()


def library() -> Any:
    """Return TenSEAL's SEAL layer.

    Raises:
        PlanError: it is not installed.
    """
    try:
        return importlib.import_module("tenseal.sealapi")
    except ImportError as error:
        raise PlanError(
            f"encryption needs tenseal ({error}); run: pip install 'safelight[he]'"
        ) from None


def open_context(chosen: Parameters) -> Any:
    """Return SEAL's context, which checks security by itself too.

    Raises:
        PlanError: SEAL refuses the parameters, or is not installed.
    """
    seal = library()
    given = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    given.set_poly_modulus_degree(chosen.degree)
    given.set_coeff_modulus(seal.CoeffModulus.Create(chosen.degree, list(chosen.bits)))
    context = seal.SEALContext(given, True, seal.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise PlanError(
            f"SEAL refuses {chosen}: {context.parameters_error_name()}; use another cut"
        )
    return context


class Device:
    """Encrypts messages and decrypts answers. Its secret key is drawn here and never written."""

    def __init__(self, chosen: Parameters) -> None:
        self.parameters = chosen
        self._seal = library()
        self._context = open_context(chosen)
        self._generator = self._seal.KeyGenerator(self._context)
        secret = self._generator.secret_key()
        self._encryptor = self._seal.Encryptor(self._context, secret)
        self._decryptor = self._seal.Decryptor(self._context, secret)
        self._encoder = self._seal.CKKSEncoder(self._context)

    def evaluation_keys(self, rotations: tuple[int, ...], squares: bool) -> EvaluationKeys:
        """Return keys for rotations to the left by so many slots, and for squares."""
        # A rotation by k is the automorphism X -> X^(3^k) of the ring modulo X^degree + 1.
        elements = [pow(3, steps, 2 * self.parameters.degree) for steps in rotations]
        rotate = self._generator.create_galois_keys(elements) if elements else None
        square = self._generator.create_relin_keys() if squares else None
        return EvaluationKeys(to_bytes(square), to_bytes(rotate))

    def encrypt(self, message: Array) -> bytes:
        """Encrypt a message [width], repeated over all slots so that rotations are cyclic.

        Encryption is by the secret key itself: half of such a ciphertext is a random seed, which
        halves what is sent.
        """
        if not np.isfinite(message).all():
            raise DataError("the message holds NaN or infinity; mend the model")
        plain = self._seal.Plaintext()
        slots = spread(message, block(len(message)), self.parameters.slots)
        self._encoder.encode(slots.tolist(), SCALE, plain)
        return to_bytes(self._encryptor.encrypt_symmetric(plain))

    def decrypt(self, answer: bytes, classes: int | None = None) -> Array:
        """Decrypt an answer: its first ``classes`` numbers, or all slots.

        Keep the numbers: whoever sees what CKKS decrypts to, beside the ciphertext, may compute the
        secret key (Li and Micciancio 2021).
        """
        plain = self._seal.Plaintext()
        self._decryptor.decrypt(ciphertext(self._context, answer), plain)
        return np.array(self._encoder.decode_double(plain)[:classes])


def spread(vector: Array, period: int, slots: int) -> Array:
    """Pad a vector with zeros to ``period`` numbers and repeat it over all slots."""
    return np.tile(np.pad(vector, (0, period - len(vector))), slots // period)


def to_bytes(thing: Any) -> bytes:
    """Return a ciphertext or evaluation keys as SEAL writes them; nothing for None.

    SEAL's Python layer writes to files alone. Nothing secret is ever passed through here.
    """
    if thing is None:
        return b""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seal"
        thing.save(str(file))
        return file.read_bytes()


def from_bytes(context: Any, empty: Any, content: bytes) -> Any:
    """Fill an empty ciphertext or key from bytes, which SEAL checks against the context.

    Raises:
        DataError: the bytes are damaged, or belong to other parameters.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seal"
        file.write_bytes(content)
        try:
            empty.load(context, str(file))
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"an encrypted message cannot be read ({error}); encrypt it again, with the same "
                "parameters"
            ) from None
    return empty


def ciphertext(context: Any, content: bytes) -> Any:
    """Read a ciphertext from bytes."""
    return from_bytes(context, library().Ciphertext(), content)
