"""Likelihood attack at conv1: ours beside the paper's own recipe, in one run.

    python benchmarks/likelihood_speed.py

The reference is He, Zhang and Lee (2019) as released: Adam with eps 1e-3 and amsgrad, 5,000 steps
at learning rate 1e-2 from mid-gray, one picture at a time, no box, no prior at this cut. Ours is
``inversion/likelihood`` from gray. Both see the same victims and messages; neither trains anything.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from safelight.attacks.inversion.likelihood import Likelihood
from safelight.cache import Cache
from safelight.metrics.image import psnr, ssim
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.threats.split_inference import SplitInference

VICTIMS = 500
REFERENCE_VICTIMS = 5
ROUNDS = 3


def reference(edge: nn.Module, messages: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Rebuild one picture after the other by the published recipe."""
    claims = []
    for message in messages.split(1):
        x = torch.full((1, *shape), 0.5, requires_grad=True)
        optimizer = torch.optim.Adam([x], lr=1e-2, eps=1e-3, amsgrad=True)
        for _ in range(5000):
            loss = (edge(x) - message).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        claims.append(x.detach().clamp(0, 1))
    return torch.cat(claims)


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Return the result and the seconds it took."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def main() -> None:
    """Alternate the two, and print medians of images per second, quality and the ratio."""
    rates: dict[str, list[float]] = {"reference": [], "safelight": []}
    with TemporaryDirectory() as folder:
        seen, secret = SplitInference(cut="conv1").meet(
            worlds.lenet(), worlds.digits(VICTIMS), torch.device("cpu"), Cache(Path(folder))
        )
        truth = secret.victims.images
        attack = Likelihood(start="gray")
        few = seen.messages[:REFERENCE_VICTIMS]
        for _ in range(ROUNDS):
            theirs, seconds = timed(lambda: reference(seen.edge, few, seen.image_shape))
            rates["reference"].append(len(theirs) / seconds)
            ours, seconds = timed(lambda: attack.run(seen, Seeds(0)).images)
            rates["safelight"].append(len(ours) / seconds)
    print(f"conv1, LeNet, {torch.get_num_threads()} threads, median of {ROUNDS} alternating rounds")
    for name, claim in (("reference", theirs), ("safelight", ours)):
        claim, mine = claim[:REFERENCE_VICTIMS], truth[:REFERENCE_VICTIMS]
        print(
            f"{name:<10} {statistics.median(rates[name]):8.3f} images/s   the same {len(mine)}: "
            f"PSNR {psnr(claim, mine).mean():6.2f} dB   SSIM {ssim(claim, mine).mean():.5f}"
        )
    pairs = zip(rates["safelight"], rates["reference"], strict=True)
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    print(
        f"ratio      {statistics.median(ratios):8.0f} x  (range {ratios[0]:.0f} - {ratios[-1]:.0f})"
    )


if __name__ == "__main__":
    main()
