"""How far weights are from a sum of gradients at candidate pictures: the KKT condition.

Gradient descent on a classifier that learned its training set by heart converges, in direction, to
a point where theta = sum_i lambda_i grad_theta margin(x_i, y_i), lambda_i >= 0, over the training
pictures alone (Lyu and Li 2020; Haim et al. 2022; Buzaglo et al. 2023 for several classes). With
weight decay it holds for any loss that has settled, with the loss's own derivatives as lambda.

Both losses here are the share of each layer that the candidates leave unexplained,
|theta_l - s G_l|^2 / |theta_l|^2, averaged over layers, at the best common scale s >= 0: the norm
that training happened to stop at, which the multipliers would have to guess, drops out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torch.nn.attention import SDPBackend, sdpa_kernel

from safelight.metrics.extraction_losses.rectifier import SmoothRectifier

#: Share of the logits' spread over which the runner-up is softened: at a hard maximum the second
#: best class could not change while pictures move.
SOFTENED = 0.1


@dataclass(frozen=True)
class Chain:
    """A network of dense layers with rectifiers between: weights [out, in] and biases [out].

    ``slope`` is that of every rectifier below zero.
    """

    weights: list[Tensor]
    biases: list[Tensor | None]
    slope: float


def chain_of(network: nn.Module) -> Chain | None:
    """Read a network as a chain of dense layers, or return None where it is something else.

    Dropout does nothing in evaluation mode and is passed over; batch normalization ends the chain.
    """
    if not isinstance(network, nn.Sequential):
        return None
    weights: list[Tensor] = []
    biases: list[Tensor | None] = []
    slopes, rectified = set(), True
    for module in network:
        if isinstance(module, nn.Linear) and rectified:
            weights.append(module.weight.detach())
            biases.append(None if module.bias is None else module.bias.detach())
            rectified = False
        elif isinstance(module, (nn.ReLU, nn.LeakyReLU)) and weights and not rectified:
            slopes.add(module.negative_slope if isinstance(module, nn.LeakyReLU) else 0.0)
            rectified = True
        elif not isinstance(module, (nn.Flatten, nn.Dropout)):
            return None
    if not weights or rectified or len(slopes) > 1:
        return None
    return Chain(weights, biases, slopes.pop() if slopes else 0.0)


def pull(logits: Tensor, labels: Tensor) -> Tensor:
    """Return d margin / d logits, [..., m, classes], for labels [m].

    The margin is the logit of the label less the runner-up's, softened over the classes close
    behind it; with one output it is the logit with the sign of an odd label.
    """
    classes = logits.shape[-1]
    if classes == 1:
        return (labels % 2 * 2 - 1).to(logits).reshape(-1, 1).expand_as(logits)
    own = F.one_hot(labels, classes).bool()
    others = logits.detach().masked_fill(own, -torch.inf)
    spread = logits.detach().flatten(-2).std(-1)[..., None, None].clamp_min(1e-12)
    return own.to(logits) - F.softmax(others / (SOFTENED * spread), -1)


def dense_residual(
    chain: Chain,
    inputs: Tensor,
    labels: Tensor,
    multipliers: Tensor,
    sharpness: float,
    layers: Sequence[int],
) -> Tensor:
    """Return the unexplained share of the chosen layers, [restarts], without forming a gradient.

    A layer's gradient is G = sum_i d_i a_i', d_i the backward and a_i the forward signal, so that
    <theta, G> = sum_i d_i . (theta a_i) and |G|^2 = sum_ij (d_i . d_j) (a_i . a_j): m^2 products
    instead of matrices as large as the weights, for all restarts in batched ones.

    Args:
        chain: the network.
        inputs: what its first layer takes, [restarts, m, pixels].
        labels: [m].
        multipliers: [restarts, m], nonnegative.
        sharpness: of the rectifiers' derivative.
        layers: numbers of the layers that count.
    """
    rectify = SmoothRectifier(sharpness, chain.slope)
    signals, sums = [inputs], []
    for place, (weight, bias) in enumerate(zip(chain.weights, chain.biases, strict=True)):
        sums.append(F.linear(signals[-1], weight))
        h = sums[-1] if bias is None else sums[-1] + bias
        signals.append(rectify(h) if place + 1 < len(chain.weights) else h)
    back = multipliers[..., None] * pull(signals[-1], labels)
    agreement, size = torch.zeros(len(inputs)).to(inputs), torch.zeros(len(inputs)).to(inputs)
    for place in reversed(range(min(layers), len(chain.weights))):
        weight, bias = chain.weights[place], chain.biases[place]
        if place in layers:
            norm = weight.square().sum() + (0 if bias is None else bias.square().sum())
            inner = (back * sums[place]).sum((1, 2))
            kernel = signals[place] @ signals[place].mT
            if bias is not None:
                inner = inner + (back.sum(1) * bias).sum(1)
                kernel = kernel + 1  # a bias is a weight on an input of 1
            agreement = agreement + inner / norm
            size = size + ((back @ back.mT) * kernel).sum((1, 2)) / norm
        if place > min(layers):
            bias = chain.biases[place - 1]
            h = sums[place - 1] if bias is None else sums[place - 1] + bias
            gate = chain.slope + (1 - chain.slope) * torch.sigmoid(sharpness * h)
            back = F.linear(back, weight.T) * gate
    return _unexplained(agreement, size, len(layers))


def residual(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    multipliers: Tensor,
    layers: Sequence[str] = (),
) -> Tensor:
    """Return the unexplained share of any network's layers, [restarts], by autograd.

    Args:
        network: images [n, c, h, w] -> logits; its rectifiers should be smoothed.
        images: [restarts, m, c, h, w].
        labels: [m].
        multipliers: [restarts, m], nonnegative.
        layers: names of the modules that count, weight and bias together; all where empty.
    """
    state = {name: value.detach() for name, value in network.named_parameters()}
    chosen = layers or list(dict.fromkeys(_module(name) for name in state))
    wanted = {name: value for name, value in state.items() if _module(name) in chosen}
    fixed = {name: value for name, value in state.items() if name not in wanted}

    def weighted(moved: dict[str, Tensor], x: Tensor, scale: Tensor) -> Tensor:
        logits: Tensor = functional_call(network, moved | fixed, (x,))
        margins = (logits * pull(logits, labels)).sum(-1)  # the pull itself is held constant
        return (scale * margins).sum()

    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        sums: Mapping[str, Tensor] = vmap(grad(weighted), in_dims=(None, 0, 0))(
            wanted, images, multipliers
        )
    agreement, size = torch.zeros(len(images)).to(images), torch.zeros(len(images)).to(images)
    for layer in chosen:
        own = [name for name in wanted if _module(name) == layer]
        norm = torch.stack([wanted[name].square().sum() for name in own]).sum().clamp_min(1e-30)
        for name in own:
            agreement = agreement + (sums[name] * wanted[name]).flatten(1).sum(1) / norm
            size = size + sums[name].square().flatten(1).sum(1) / norm
    return _unexplained(agreement, size, len(chosen))


def _module(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _unexplained(agreement: Tensor, size: Tensor, layers: int) -> Tensor:
    """Min over s of the mean of 1 - 2 s <theta, G> / |theta|^2 + s^2 |G|^2 / |theta|^2.

    With a wrong sign of s the share counts as more than all, so that descent leads out of there.
    """
    return 1 - agreement * agreement.abs() / size.clamp_min(1e-30) / layers
