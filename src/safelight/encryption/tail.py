"""What a cloud computes behind a cut, read off one run, and which of it CKKS can compute.

Linear layers (with batch normalization folded in) are computed under encryption, activations
between them as squares (``encryption.circuit``). Activations and softmax behind the last linear
layer are left to the device, which decrypts the answer anyway. Convolutions, pooling, attention and
branches are refused: under CKKS they are matrices of many times the size, or no polynomials at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from safelight.errors import PlanError
from safelight.targets.cut import Cloud, Edge, cut, cut_points
from safelight.targets.target import Normalized

#: ATen operations that change the shape and leave values and their order.
_SHAPES = {
    "view", "_unsafe_view", "reshape", "flatten", "squeeze", "unsqueeze", "alias", "detach",
    "clone", "_to_copy",
}  # fmt: skip

#: Functions of one number.
_ACTIVATIONS = {
    "relu", "leaky_relu", "_prelu_kernel", "sigmoid", "tanh", "gelu", "silu", "elu", "hardtanh",
    "hardswish", "hardsigmoid", "softplus", "square", "pow",
}  # fmt: skip

#: What a device may compute on the answer, beside activations.
_FINISHES = {"_softmax", "_log_softmax"}

_BATCH_NORMS = {
    "native_batch_norm",
    "cudnn_batch_norm",
    "_native_batch_norm_legit_no_training",
}


@dataclass(frozen=True)
class Linear:
    """``x -> weight x + bias``, weight [out, in], bias [out], float64."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Activation:
    """A function of each number by itself, [n, d] -> [n, d]; of whole rows where it finishes."""

    name: str
    apply: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Scale:
    """``x -> factor * x + offset``, both [d]: a batch normalization until it is folded in."""

    factor: Tensor
    offset: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset


_Layer = Linear | Activation | _Scale


@dataclass(frozen=True)
class Tail:
    """The layers behind a cut, for messages that are flattened row by row.

    ``layers`` are for the cloud: linear ones and activations in turn, a linear one last. ``finish``
    is what the device applies to the decrypted answer.
    """

    layers: tuple[Linear | Activation, ...]
    finish: tuple[Activation, ...]

    def describe(self) -> list[str]:
        """Return one line for each layer of the cloud."""
        return [
            f"linear {one.weight.shape[1]} -> {one.weight.shape[0]}"
            if isinstance(one, Linear)
            else one.name
            for one in self.layers
        ]

    def exact(self, messages: Tensor) -> Tensor:
        """Compute the whole tail in the clear, as the model does: [n, ...] -> [n, classes]."""
        x = messages.flatten(1).double().cpu()
        for one in self.layers:
            x = x @ one.weight.T + one.bias if isinstance(one, Linear) else one.apply(x)
        return torch.from_numpy(self.finished(x.numpy()))

    def finished(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply what is left to the device to decrypted answers [n, classes]."""
        said = torch.from_numpy(answers)
        for one in self.finish:
            said = one.apply(said)
        return np.asarray(said.numpy())


def read(model: Normalized, layer: str, image_shape: tuple[int, ...]) -> tuple[Edge, Tail]:
    """Cut a model behind a layer and return its edge, and what CKKS has to compute.

    Raises:
        LoadError: there is no such layer.
        PlanError: something behind the cut cannot be computed; the message names cuts that work.
    """
    edge = cut(model, layer, image_shape)
    found = _attempt(edge, image_shape)
    if isinstance(found, Tail):
        return edge, found
    work = cuts(model, image_shape)
    remedy = f"cuts that work: {', '.join(work)}" if work else "this model has no cut that works"
    raise PlanError(f"behind {layer} {found}; {remedy}")


def cuts(model: Normalized, image_shape: tuple[int, ...]) -> list[str]:
    """Return every cut behind which a cloud can compute on encrypted messages."""
    return [
        layer
        for layer in cut_points(model, image_shape)
        if isinstance(_attempt(cut(model, layer, image_shape), image_shape), Tail)
    ]


def _attempt(edge: Edge, image_shape: tuple[int, ...]) -> Tail | str:
    """Return the tail behind an edge, or why there is none."""
    cloud = Cloud(edge, image_shape).eval()
    device = cloud.model.mean.device
    with torch.no_grad():
        message = edge(torch.zeros(1, *image_shape, device=device))  # as Cloud runs on
        watch = _Watch(message)
        with watch:
            out = cloud(message)
    if watch.refused is None and out is not watch.head:
        watch.refused = "a branch"
    if watch.refused is not None:
        return f"the cloud computes {watch.refused}, which CKKS cannot"
    return _arranged(watch.layers)


class _Watch(TorchDispatchMode):
    """Follow one message through the operations of a pass, as long as it stays one chain."""

    def __init__(self, message: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.head = message
        self.layers: list[_Layer] = []
        self.refused: str | None = None
        self._passed = [message]  # kept alive: an identity may not be given to another tensor

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, and note it if the message goes into it."""
        taken = [one for one in args if any(one is passed for passed in self._passed)]
        before = self.head
        out = func(*args, **(kwargs or {}))
        if not taken or self.refused is not None:
            return out
        name = str(func.overloadpacket).removeprefix("aten.").rstrip("_")
        if any(one is not before for one in taken):
            self.refused = f"a branch ({name})"
            return out
        layer = _layer(name, args, kwargs or {}, before)
        if isinstance(layer, str):
            self.refused = layer
            return out
        if layer is not None:
            self.layers.append(layer)
        self.head = out[0] if isinstance(out, tuple | list) else out
        self._passed.append(self.head)
        return out


def _layer(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], head: Tensor
) -> _Layer | str | None:
    """Return what an operation computes: None for nothing, its name if CKKS cannot."""
    if name in _SHAPES:
        return None
    if name in ("addmm", "mm") and args[-2] is head and not kwargs:
        weight = args[-1].t().double().cpu()
        bias = args[0].double().cpu() if name == "addmm" else torch.zeros(len(weight)).double()
        if len(head) != 1:
            return f"a linear layer on {len(head)} tokens"
        return Linear(weight, bias.expand(len(weight)))
    if name in _BATCH_NORMS:
        return _normalization(head, args[1], args[2], args[3], args[4], args[-1])
    if name == "mul" and args[0] is args[1]:
        return Activation("square", torch.square)
    if name in _ACTIVATIONS | _FINISHES:
        function = getattr(torch.ops.aten, name)
        if any(isinstance(one, Tensor) and one.numel() > 1 for one in args[1:]):
            return f"{name} with a parameter for each channel"
        rest = [one.double().cpu() if isinstance(one, Tensor) else one for one in args[1:]]
        return Activation(name.strip("_"), lambda x: torch.as_tensor(function(x, *rest, **kwargs)))
    return name


def _normalization(
    head: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> _Scale:
    """Return batch normalization with fixed statistics as a factor and an offset per number."""
    factor = (variance.double() + eps).rsqrt() * (1.0 if weight is None else weight.double())
    offset = (0.0 if bias is None else bias.double()) - factor * mean.double()
    each = head[0].numel() // len(factor)  # numbers of one channel, which stand together
    return _Scale(
        factor.repeat_interleave(each).cpu(), torch.as_tensor(offset).repeat_interleave(each).cpu()
    )


def _arranged(layers: list[_Layer]) -> Tail | str:
    """Fold neighbors into each other; leave what is behind the last matrix to the device."""
    last = max((at for at, one in enumerate(layers) if isinstance(one, Linear)), default=None)
    if last is None:
        return "no linear layer is left for the cloud"
    if any(one.name in ("softmax", "log_softmax") for one in layers[:last] if _bends(one)):
        return "the cloud computes softmax before a linear layer, which CKKS cannot"
    folded: list[_Layer] = []
    finish: list[Activation] = []
    for at, one in enumerate(layers):
        if isinstance(one, Activation) and at > last:
            finish.append(one)
            continue
        if isinstance(one, _Scale) and finish:
            finish.append(Activation("batch_norm", one))
            continue
        folded.append(one)
        while len(folded) > 1 and (joined := _joined(folded[-2], folded[-1])) is not None:
            folded[-2:] = [joined]
    return Tail(tuple(one for one in folded if not isinstance(one, _Scale)), tuple(finish))


def _bends(layer: _Layer) -> TypeGuard[Activation]:
    return isinstance(layer, Activation)


def _joined(first: _Layer, then: _Layer) -> _Layer | None:
    """Return one layer for two that follow each other; None for a matrix before an activation.

    An activation before a matrix stays by itself as well, and before a scale, which the matrix
    behind will take.
    """
    if isinstance(first, Activation):
        return _composed(first.name, first.apply, then) if isinstance(then, Activation) else None
    if isinstance(then, Activation):
        return _composed("", first, then) if isinstance(first, _Scale) else None
    if isinstance(then, Linear):
        bias = then.weight @ (first.bias if isinstance(first, Linear) else first.offset) + then.bias
        if isinstance(first, Linear):
            return Linear(then.weight @ first.weight, bias)
        return Linear(then.weight * first.factor, bias)
    if isinstance(first, Linear):
        bias = then.factor * first.bias + then.offset
        return Linear(then.factor[:, None] * first.weight, bias)
    return _Scale(then.factor * first.factor, then.factor * first.offset + then.offset)


def _composed(name: str, inner: Callable[[Tensor], Tensor], then: Activation) -> Activation:
    return Activation(
        ", ".join(one for one in (name, then.name) if one), lambda x: then.apply(inner(x))
    )
