"""What pictures are like before any model is asked: smooth, and inside the range of pixels."""

from torch import Tensor


def total_variation(pictures: Tensor) -> Tensor:
    """Mean absolute difference of neighboring pixels, averaged over pictures [n, c, h, w].

    The anisotropic total variation (Rudin, Osher and Fatemi 1992), divided by the number of
    differences, so that it is in [0, 1] for pixels in [0, 1] whatever their number.
    """
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().mean()
    across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean()
    return (down + across) / 2


def outside_range(pictures: Tensor, low: float, high: float) -> Tensor:
    """Mean distance by which pixels leave [low, high]; 0 inside.

    The paper penalizes what leaves [-1, 1]; the range must be the one the classifier was trained
    on, which is the caller's to say.
    """
    return ((low - pictures).clamp_min(0) + (pictures - high).clamp_min(0)).mean()
