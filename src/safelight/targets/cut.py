"""Cut any module at any named layer: the edge computes up to it, the cloud does the rest."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from safelight import catalog
from safelight.errors import LoadError
from safelight.targets.target import Normalized


class _Reached(Exception):  # noqa: N818 - not an error: it ends the forward pass at the cut
    pass


class Edge(nn.Module):
    """The part of a model that runs on the device.

    Maps pixels [n, c, h, w] in [0, 1] to the message [n, ...], the output of layer ``cut``;
    nothing behind that layer is computed. ``conv#2`` is the second call of a layer that one
    forward pass calls more than once.
    """

    def __init__(self, model: Normalized, cut: str) -> None:
        super().__init__()
        self.model = model
        self.layer, _, call = cut.partition("#")
        self.call = int(call or 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the message."""
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen.append(output)
            if len(seen) == self.call:
                raise _Reached

        hook = self.model.network.get_submodule(self.layer).register_forward_hook(keep)
        try:
            self.model(x)
        except _Reached:
            pass
        finally:
            hook.remove()
        return seen[self.call - 1]


class Cloud(nn.Module):
    """The part of a model that runs behind the cut: messages [n, ...] -> logits [n, classes].

    A copy of the model in which every weight that only the edge uses is zero. It is run on one
    black picture, and the message takes the place of what its edge puts out.
    """

    def __init__(self, edge: Edge, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.model = copy.deepcopy(edge.model)
        self.layer, self.call = edge.layer, edge.call
        self.image_shape = image_shape
        self._forget_the_edge()

    def forward(self, message: Tensor) -> Tensor:
        """Return the logits."""
        calls = 0

        def replace(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return message if calls == self.call else output

        hook = self.model.network.get_submodule(self.layer).register_forward_hook(replace)
        try:
            black = torch.zeros(1, *self.image_shape, device=message.device)
            out: Tensor = self.model(black)
        finally:
            hook.remove()
        return out

    @torch.no_grad()
    def _forget_the_edge(self) -> None:
        """Zero the weights of layers that run before the cut and not again behind it."""
        before: set[nn.Module] = set()
        behind: set[nn.Module] = set()
        calls = 0

        def watch(module: nn.Module, _inputs: Any) -> None:
            (behind if calls == self.call else before).add(module)

        def passed(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            nonlocal calls
            calls += 1

        hooks = [one.register_forward_pre_hook(watch) for one in self.model.network.modules()]
        last = self.model.network.get_submodule(self.layer)
        hooks.append(last.register_forward_hook(passed))
        try:
            self.model(torch.zeros(2, *self.image_shape, device=self.model.mean.device))
        finally:
            for hook in hooks:
                hook.remove()
        used = {id(one) for module in behind for one in module.parameters(recurse=False)}
        for module in before - {self.model.network}:
            for one in module.parameters(recurse=False):
                if id(one) not in used:
                    one.zero_()


def cut_points(model: Normalized, image_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return every place where the model can be cut -> the shape of one message, in order.

    Raises:
        LoadError: the model does not accept pictures of that shape.
    """
    points: dict[str, tuple[int, ...]] = {}
    calls: dict[str, int] = {}
    device = model.mean.device
    with _on_every_layer(model.network, points, calls), torch.no_grad():
        try:
            model(torch.zeros(2, *image_shape, device=device))
        except Exception as error:  # a model may refuse an input in any way
            reason = str(error).strip().split("\n")[0]
            raise LoadError(
                f"the model does not take pictures of shape {list(image_shape)}: {reason}; "
                "set data.size and data.channels to what it was trained on"
            ) from None
    return points


def cut(model: Normalized, layer: str, image_shape: tuple[int, ...]) -> Edge:
    """Cut a model behind a layer.

    Raises:
        LoadError: the model has no such layer; the message lists them and suggests the nearest.
    """
    points = cut_points(model, image_shape)
    if layer not in points:
        raise LoadError(catalog.unknown("cut point", layer, list(points)))
    return Edge(model, layer).eval().requires_grad_(False)


@contextmanager
def _on_every_layer(
    network: nn.Module, points: dict[str, tuple[int, ...]], calls: dict[str, int]
) -> Iterator[None]:
    """Record the output shape of every named layer that puts out one batched tensor."""

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, Tensor) and output.ndim >= 2 and output.shape[0] == 2:
                suffix = f"#{calls[name]}" if calls[name] > 1 else ""
                points[name + suffix] = tuple(output.shape[1:])

        return hook

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in network.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()
