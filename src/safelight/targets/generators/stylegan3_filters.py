"""The low-pass filters of StyleGAN3 and where each layer's spectrum ends.

Karras et al. 2021, sections 2 and 3.2, appendices B and C; Kaiser's formulas for the window.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special
import torch
from torch import Tensor

from safelight.errors import LoadError

Array = np.ndarray[Any, Any]
#: The published networks have 24 at most. A radial filter has the square of it.
MOST_TAPS = 256


@dataclass(frozen=True)
class Band:
    """The signal at one end of a layer: rates in samples, frequencies in cycles per image.

    Below ``cutoff`` all passes; beyond ``cutoff + half_width`` nothing should. ``size`` is the
    number of samples with the margins that keep the image's borders out of sight.
    """

    sampling_rate: int
    cutoff: float
    half_width: float
    size: int


def bands(
    resolution: int,
    num_layers: int,
    num_critical: int = 2,
    first_cutoff: float = 2.0,
    first_stopband: float = 2.0**2.1,
    last_stopband_rel: float = 2.0**0.3,
    margin: int = 10,
) -> list[Band]:
    """Return the band that each of the layers 0 to ``num_layers`` puts out.

    Cutoff and stopband grow geometrically from the first layer to the first critically sampled
    one: ``f_c[i] = f_c0 (f_cN / f_c0)^min(i / (N - N_crit), 1)``, ``f_t[i]`` alike. The rate is
    the power of 2 from ``2 f_t`` on, at most the resolution; the half width is
    ``max(s / 2, f_t) - f_c``. The image itself, of the last two layers, has no margin.

    Raises:
        LoadError: cutoffs or stopbands do not grow, or do not lie above each other.
    """
    last_cutoff = resolution / 2
    last_stopband = last_cutoff * last_stopband_rel
    if not (1 <= first_cutoff < min(first_stopband, last_cutoff) and last_stopband_rel > 1):
        raise LoadError(
            f"cutoffs from {first_cutoff} to {last_cutoff} and stopbands from {first_stopband} to "
            f"{last_stopband} are no spectrum of StyleGAN3; correct its first_cutoff"
        )
    out = []
    for index in range(num_layers + 1):
        progress = min(index / (num_layers - num_critical), 1)
        cutoff = first_cutoff * (last_cutoff / first_cutoff) ** progress
        stopband = first_stopband * (last_stopband / first_stopband) ** progress
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
        half_width = max(stopband, rate / 2) - cutoff
        size = resolution if index >= num_layers - 1 else rate + 2 * margin
        out.append(Band(rate, cutoff, half_width, size))
    return out


def low_pass(taps: int, cutoff: float, width: float, rate: float, radial: bool) -> Tensor | None:
    """Return the Kaiser-windowed low-pass filter, its sum being 1; None where it has one tap.

    A vector [taps] ``sinc(2 f_c t / s) w(t)`` for rows and columns in turn, or, radial, a matrix
    [taps, taps] ``jinc(2 f_c |t| / s) w(t_x) w(t_y)`` that treats all directions alike. ``width``
    of the transition and ``cutoff`` are in the unit of ``rate``.
    """
    if taps == 1:
        return None
    if taps > MOST_TAPS:
        raise LoadError(f"a filter of {taps} taps is none of StyleGAN3; correct its layers' rates")
    t = np.arange(taps) - (taps - 1) / 2
    window = np.kaiser(taps, _beta(taps, width / (rate / 2)))
    scale = 2 * cutoff / rate
    if radial:
        shape = _jinc(scale * np.hypot(t[:, None], t[None, :])) * np.outer(window, window)
    else:
        shape = np.sinc(scale * t) * window
    return torch.as_tensor(shape / shape.sum(), dtype=torch.float32)


def _jinc(x: Array) -> Array:
    """Return ``2 J1(pi x) / (pi x)``, the transform of a disc; 1 at 0."""
    y = np.pi * np.where(x == 0, 1, x)
    values: Array = np.where(x == 0, 1, 2 * scipy.special.j1(y) / y)
    return values


def _beta(taps: int, width: float) -> float:
    """Return the shape of Kaiser's window for a transition ``width`` in half sampling rates.

    Its stopband attenuation is ``A = 2.285 (L - 1) pi width + 7.95`` decibels.
    """
    attenuation = 2.285 * (taps - 1) * math.pi * width + 7.95
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * math.pow(attenuation - 21, 0.4) + 0.07886 * (attenuation - 21)
    return 0.0
