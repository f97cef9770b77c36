"""Keep candidates apart in the classifier's features, or a generator gives one picture a class."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it


def likeness(features: Tensor) -> Tensor:
    """Mean cosine between the features [n, d] of different candidates, in [-1, 1]."""
    unit = F.normalize(features, dim=1)
    n = len(unit)
    return (unit.sum(0).square().sum() - n) / max(n * (n - 1), 1)


def overlap(features: Tensor) -> Tensor:
    """Mean squared cosine between different candidates, in [0, 1]; 0 where all are orthogonal.

    The paper's |F F' - I|^2 on unit features, whose diagonal is 0, divided by the pairs.
    """
    unit = F.normalize(features, dim=1)
    n = len(unit)
    off = unit @ unit.T - torch.eye(n).to(unit)
    return off.square().sum() / max(n * (n - 1), 1)


class Features:
    """Reads what enters a network's last dense layer: a context that leaves the network as it was.

    Raises:
        ValueError: the network has no dense layer.
    """

    def __init__(self, network: nn.Module) -> None:
        dense = [one for one in network.modules() if isinstance(one, nn.Linear)]
        if not dense:
            raise ValueError("the network has no dense layer to read features at")
        self._layer = dense[-1]
        self._seen: list[Tensor] = []

    def __enter__(self) -> "Features":
        self._handle = self._layer.register_forward_pre_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._seen.append(inputs[0])

    def take(self) -> Tensor:
        """Return the features [n, d] of the last forward pass, and forget the others."""
        features = self._seen[-1]
        self._seen.clear()
        return features.flatten(1)
