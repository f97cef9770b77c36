"""How alike two pictures are, batch by batch. Higher SSIM and PSNR mean that more leaked."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

#: PSNR is capped here: below a squared error of 1e-12 float32 pixels no longer tell.
PSNR_CAP = 120.0

#: Side of the SSIM window; smaller pictures cannot be scored.
SMALLEST = 7

#: Side and standard deviation of the Gaussian window.
WINDOW, DEVIATION = 11, 1.5


def mse(claim: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error per picture, [n]; 0 is perfect.

    Both [n, channels, height, width] with pixels in [0, 1].
    """
    return (claim - truth).square().flatten(1).mean(1)


def psnr(claim: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per picture in dB, [n]: 10 log10(1 / MSE), at most 120."""
    return -10 * mse(claim, truth).clamp_min(10 ** (-PSNR_CAP / 10)).log10()


def ssim(claim: Tensor, truth: Tensor, own_range: bool = False) -> Tensor:
    """Structural similarity per picture, [n], in [-1, 1] (Wang et al. 2004, equation 13).

    A 7x7 uniform window over the valid area, sample covariances and the mean over channels, as in
    scikit-image and hence the split-inference literature, but with the data range fixed at 1: the
    literature takes the range of the reconstruction, which makes a flat reconstruction look
    private. Differentiable.

    Both [n, channels, height, width] with pixels in [0, 1], at least 7x7. ``own_range`` takes the
    range of each claim, to compare with published figures and for nothing else; a claim without
    any range, for which theirs is undefined, scores 0.
    """
    # In float64: float32 cancels away the variance of bright flat areas.
    a, b = claim.double(), truth.double()
    if own_range:  # L = the claim's range: the same as dividing both pictures by it
        span = (a.amax((1, 2, 3), keepdim=True) - a.amin((1, 2, 3), keepdim=True)).clamp_min(1e-9)
        a, b = a / span, b / span
    unbiased = SMALLEST**2 / (SMALLEST**2 - 1)  # sample, not population, (co)variances
    return _similarity(a, b, lambda x: F.avg_pool2d(x, SMALLEST, stride=1), unbiased)


def ssim_gaussian(claim: Tensor, truth: Tensor) -> Tensor:
    """SSIM with the window of Wang et al. (2004), [n]: 11x11, Gaussian with deviation 1.5.

    Population covariances over the valid area, data range 1; to compare with papers that use it.
    Pictures smaller than 11x11 have none, NaN.

    Both [n, channels, height, width] with pixels in [0, 1].
    """
    if min(claim.shape[2:]) < WINDOW:
        return torch.full((len(claim),), torch.nan, device=claim.device)
    place = torch.arange(WINDOW, dtype=torch.float64, device=claim.device) - WINDOW // 2
    weights = (-(place**2) / (2 * DEVIATION**2)).exp()
    weights = weights / weights.sum()

    def local(x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)[:, None]
        down = F.conv2d(flat, weights[None, None, :, None])
        return F.conv2d(down, weights[None, None, None]).reshape(*x.shape[:2], *_valid(x))

    return _similarity(claim.double(), truth.double(), local, 1.0)


def _valid(x: Tensor) -> tuple[int, int]:
    return x.shape[2] - WINDOW + 1, x.shape[3] - WINDOW + 1


def _similarity(a: Tensor, b: Tensor, local: Callable[[Tensor], Tensor], unbiased: float) -> Tensor:
    """Return the mean of equation 13, where ``local`` averages over windows."""
    c1, c2 = 0.01**2, 0.03**2  # (K L)^2 with data range L = 1
    moments = torch.stack([a, b, a * a, b * b, a * b])
    x, y, xx, yy, xy = local(moments.flatten(0, 1)).unflatten(0, (5, -1))
    covariance = unbiased * (xy - x * y)
    variances = unbiased * (xx - x * x + yy - y * y)
    contrast = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * x * y + c1) / (x * x + y * y + c1)
    return torch.as_tensor((luminance * contrast).flatten(1).mean(1).float())
