"""Give a network its weights and check, by every setting that came along, that it is the same."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from safelight.errors import LoadError
from safelight.targets.generators.facts import REMEDY, Facts, quoted

MOST_TOLD = 3
#: Gains are computed in one order or another.
TOLERANCE = 1e-6


def filled(make: Callable[[], nn.Module], facts: Facts) -> nn.Module:
    """Return the network that ``make`` builds with these weights, frozen, in evaluation mode.

    No memory is spent on weights until their names and shapes are known to fit. An attribute that
    a module has under the name of a setting must have its value, so that a variant that this
    package does not know is refused instead of computed wrong.

    Raises:
        LoadError: names, shapes, values or settings do not fit.
    """
    with torch.device("meta"):
        network = make()
    _check_shapes(network.state_dict(), facts.tensors)
    _check_settings(network, facts.settings)
    for name, value in facts.tensors.items():
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise LoadError(f"{name} holds NaN, infinity or whole numbers; download the file again")
    weights = {name: value.float() for name, value in facts.tensors.items()}
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def _check_shapes(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    told = [f"{name} is missing" for name in own if name not in given]
    told += [f"{name} is unknown" for name in given if name not in own]
    told += [
        f"{name} is {list(given[name].shape)}, not {list(value.shape)}"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    if told:
        raise LoadError(f"the tensors do not fit: {'; '.join(told[:MOST_TOLD])}; {REMEDY}")


def _check_settings(network: nn.Module, settings: Mapping[str, Any]) -> None:
    for prefix, module in network.named_modules():
        for key, own in vars(module).items():
            name = f"{prefix}.{key}" if prefix else key
            if name in settings and not _same(own, settings[name]):
                raise LoadError(
                    f"{name} is {quoted(settings[name])}, where only {own!r} is known; {REMEDY}"
                )


def _same(own: Any, given: Any) -> bool:
    """Return whether a value equals a setting, which may repeat it for rows and columns."""
    if isinstance(own, (list, tuple)):
        same_length = isinstance(given, list) and len(given) == len(own)
        return same_length and all(map(_same, own, given))
    if isinstance(given, list):
        return bool(given) and all(_same(own, one) for one in given)
    if isinstance(own, float) and isinstance(given, (int, float)):
        low, high = sorted((own * (1 - TOLERANCE), own * (1 + TOLERANCE)))
        return low <= given <= high
    return bool(own == given)
