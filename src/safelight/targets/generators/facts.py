"""What a pickled network tells about itself, looked up by name, bounded and typed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from safelight.errors import LoadError

T = TypeVar("T")

REMEDY = "give a network as StyleGAN2-ADA or StyleGAN3 publishes it"
#: Beyond any published network, and small enough to plan for at once.
LARGEST = 65536
LONGEST_QUOTE = 80


@dataclass(frozen=True)
class Facts:
    """Settings by dotted name, constructor arguments, and tensors by dotted name."""

    settings: Mapping[str, Any]
    kwargs: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Return the shape of a tensor.

        Raises:
            LoadError: there is no such tensor, or it has other dimensions.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise LoadError(f"the tensors do not fit: {name} is missing; {REMEDY}")
        if tensor.ndim != dimensions or not tensor.numel():
            raise LoadError(f"the tensors do not fit: {name} is {list(tensor.shape)}; {REMEDY}")
        return tuple(tensor.shape)

    def whole(self, name: str, low: int = 0, high: int = LARGEST) -> int:
        """Return a setting that is a whole number from ``low`` to ``high``."""
        value = self.settings.get(name)
        if type(value) is not int or not low <= value <= high:
            raise _odd(name, value)
        return value

    def number(self, name: str) -> float:
        """Return a setting that is a positive number."""
        return _number(name, self.settings.get(name))

    def clamp(self, name: str) -> float | None:
        """Return a setting that is a positive number or None, for no bound."""
        value = self.settings.get(name)
        return None if value is None else _number(name, value)

    def argument(self, name: str, default: float) -> float:
        """Return a constructor's argument that is a positive number, or its default."""
        return _number(name, self.kwargs.get(name, default))

    def whole_argument(self, name: str, default: int) -> int:
        """Return a constructor's argument that is a whole positive number, or its default."""
        value = self.kwargs.get(name, default)
        if type(value) is not int or not 0 < value <= LARGEST:
            raise _odd(name, value)
        return value

    def one_of(self, name: str, known: Sequence[T]) -> T:
        """Return a setting that has one of the known values."""
        value = self.settings.get(name)
        for one in known:
            if type(value) is type(one) and value == one:
                return one
        raise _odd(name, value)

    def count(self, prefix: str) -> int:
        """Return how many layers are numbered on from ``prefix`` 0."""
        found = 0
        while f"{prefix}{found}.weight" in self.tensors:
            found += 1
        return found


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value <= LARGEST:
        raise _odd(name, value)
    return float(value)


def _odd(name: str, value: Any) -> LoadError:
    return LoadError(f"its setting {name} is {quoted(value)}; {REMEDY}")


def appended_channels(channels: int, features: int) -> int:
    """Return how many channels of minibatch statistics a layer takes beside its features.

    Raises:
        LoadError: the features cannot be shared out over them.
    """
    appended = channels - features
    if appended < 0 or (appended and features % appended):
        raise LoadError(f"its last convolution has {features} to {channels} channels; {REMEDY}")
    return appended


def quoted(value: Any) -> str:
    """Return a value of the file so that it can neither break nor flood a line of a terminal."""
    return ascii(value)[:LONGEST_QUOTE]
