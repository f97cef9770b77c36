"""A rectifier with a smooth derivative: what lets gradients of gradients flow."""

import copy

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it


class SmoothRectifier(nn.Module):
    """ReLU forward, ``sigmoid(sharpness h)`` backward (Haim et al. 2022), also for LeakyReLU.

    A ReLU's derivative is a step, whose own derivative is 0: a loss made of gradients could not
    move a picture across it. As sharpness grows the two agree.
    """

    def __init__(self, sharpness: float, slope: float = 0.0) -> None:
        super().__init__()
        self.sharpness, self.slope = sharpness, slope

    def forward(self, h: Tensor) -> Tensor:
        """Return max(h, slope h)."""
        # The value is exact, the derivative that of the softplus: d softplus(s h) / s = sigmoid.
        smooth = F.softplus(h, beta=self.sharpness)
        exact = F.relu(h)
        rectified = smooth + (exact - smooth).detach()
        return self.slope * h + (1 - self.slope) * rectified


def smoothed(network: nn.Module, sharpness: float) -> nn.Module:
    """Return a copy whose ReLU and LeakyReLU modules have a smooth derivative.

    Functional calls of ``relu`` inside a forward method are not seen, and stay as they are.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, SmoothRectifier(sharpness))
            elif isinstance(child, nn.LeakyReLU):
                setattr(parent, name, SmoothRectifier(sharpness, child.negative_slope))
    return copied
