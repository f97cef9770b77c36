"""What encrypted inference behind one cut costs, and whether it is still right."""

from pydantic import BaseModel, ConfigDict

from safelight.record.record import Measurement, Provenance

#: Raised whenever a reader of an older version would misread a newer file.
SCHEMA_VERSION = 1

#: What holds whatever was measured.
ASSUMPTIONS = (
    "The cloud sees no picture, message or answer. It sees the sizes of what is sent, when and how "
    "often, the parameters and the evaluation keys.",
    "The cloud computes what it should: nothing here proves that it did.",
    "Decrypted numbers stay on the device. CKKS is not secure where they are shown to whoever has "
    "the ciphertexts (Li and Micciancio 2021).",
    "The device still gets predictions, and by asking enough it may learn about the model and its "
    "training pictures, as any client of a prediction API may.",
    "Running time is of this library on this machine, and is not constant by design: side channels "
    "on the device were not looked at.",
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cipher(_Frozen):
    """The parameters of CKKS: ``modulus`` is the sum of ``bits``, ``limit`` its standard bound."""

    degree: int
    bits: list[int]
    modulus: int
    limit: int
    security: int
    levels: int


class Accuracy(_Frozen):
    """Shares of held-out pictures.

    ``model``, ``encrypted`` and ``exact`` are of the same few pictures: right by the model as it
    is, right under encryption, and of the same class as the same circuit in the clear.
    ``model_all``, ``quadratic`` and ``same`` are of all held-out pictures in the clear: right by
    the model, right by its quadratics, and of the same class by both.
    """

    model: Measurement
    encrypted: Measurement
    exact: Measurement
    model_all: Measurement
    quadratic: Measurement
    same: Measurement


class Errors(_Frozen):
    """Differences of the numbers in an answer.

    ``encryption``: largest against the same circuit in the clear; ``quadratic``: root mean square
    of the circuit against the model; ``largest``: the largest number itself.
    """

    encryption: float
    quadratic: float
    largest: float


class Sizes(_Frozen):
    """Bytes. In the clear, numbers are float32; keys are sent once."""

    message: Measurement
    answer: Measurement
    message_clear: int
    answer_clear: int
    keys: int


class Times(_Frozen):
    """Seconds for one picture; ``keys`` and ``prepare`` (the cloud encodes weights) once."""

    encrypt: Measurement
    cloud: Measurement
    decrypt: Measurement
    cloud_clear: Measurement
    keys: float
    prepare: float


class EncryptionRecord(_Frozen):
    """Encrypted inference of one model behind one cut."""

    schema_version: int = SCHEMA_VERSION
    name: str
    model: str
    weights_sha256: str
    cut: str
    layers: list[str]
    device_layers: list[str]
    cipher: Cipher
    accuracy: Accuracy
    errors: Errors
    sizes: Sizes
    times: Times
    seed: int
    assumptions: list[str] = list(ASSUMPTIONS)
    provenance: Provenance
