"""What the classifier should say of a candidate, and how strongly it would still learn from it."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torch.nn.attention import SDPBackend, sdpa_kernel


def as_classes(logits: Tensor) -> Tensor:
    """Return logits of two classes [n, 2] where the model puts out one, else them as they are."""
    if logits.shape[1] == 1:
        return torch.cat([-logits / 2, logits / 2], 1)
    return logits


def condition(labels: Tensor, classes: int, sharpness: float, draw: torch.Generator) -> Tensor:
    """Draw the vectors that a generator is conditioned on, [n, classes], each a distribution.

    A softmax of Gaussian logits whose largest is moved to the label: the label is their mode, and
    what else is in them differs, so that equal labels ask for different pictures. ``sharpness``
    multiplies the logits; a large one gives one-hot vectors.
    """
    logits = sharpness * torch.randn(len(labels), classes, generator=draw).to(labels.device)
    own, top = labels[:, None], logits.argmax(1, keepdim=True)
    highest, there = logits.gather(1, top), logits.gather(1, own)
    return logits.scatter(1, top, there).scatter(1, own, highest).softmax(1)


def divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """KL(wanted || softmax(logits)) in nats, averaged over candidates [n, classes].

    The softmax is taken once, here: the published code takes it twice, which bounds its loss away
    from 0 and its gradient near it.
    """
    return F.kl_div(logits.log_softmax(1), wanted, reduction="batchmean")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log of the probability of the label in nats, averaged over candidates."""
    return F.cross_entropy(logits, labels)


def gradient_norm(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Euclidean norm of d mean cross-entropy / d weights, divided by that of the weights.

    It is small at pictures that the network has nothing left to learn from, and differentiable in
    them where the network's rectifiers are (``smoothed``).
    """
    state = {name: value.detach() for name, value in network.named_parameters()}

    def loss(moved: dict[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(network, moved, (inputs,))
        return cross_entropy(as_classes(logits), labels)

    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        found = grad(loss)(state)
    square = torch.stack([one.square().sum() for one in found.values()]).sum()
    whole = torch.stack([one.square().sum() for one in state.values()]).sum()
    # The root's own derivative is infinite at 0.
    return (square / whole + 1e-12).sqrt()


def perturbed(pictures: Tensor, strength: float, draw: torch.Generator) -> Tensor:
    """Return pictures with ``strength`` added to or taken from each pixel at random, in [0, 1]."""
    sign = torch.randn(pictures.shape, generator=draw).sign().to(pictures)
    return (pictures + strength * sign).clamp(0, 1)
