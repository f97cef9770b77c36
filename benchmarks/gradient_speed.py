"""Gradient search through a shadow: ours beside the published recipe, in one run.

    python benchmarks/gradient_speed.py [ROUNDS]

The reference is the gradient stage of Thielen's "Shadow Reconstructions" (2024): batches of 32, all
begun at the class mean of the attacker's pictures, 400 steps of Adam at 1e-2, squared distance of
logits averaged over the batch beside 4.4323e-5 times the energy and 9.4879e-3 times the anisotropic
total variation summed over it, the batch's gradient clipped to norm 1, pixels clamped to [0, 1].
float32 and PyTorch's own memory layout, as there; the shadow is in evaluation and its weights take
no gradients, which spares the reference work. Ours is ``inversion/gradient`` as it comes, and once
more without alignment, on the very answers that the reference is given.

Both search through the same shadow for the same victims: embedded MNIST digits at 32x32, the plain
network at a quarter of the published width, logits returned. One thread; seconds are the process's
own, so that a busy machine does not decide. SSIM alone would be won by not searching at all (the
first row); hence also how far the shadow's answer to the found picture is from the answer searched
for, and who is named among 100 look-alikes.
"""

import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.inversion.gradient import Asked, Gradient, Imitation, asked_shadows, heard
from safelight.auditing.setting import Setting, prepare
from safelight.metrics.identity import rank
from safelight.metrics.image import ssim, ssim_gaussian
from safelight.plan.plan import load_plan, override
from safelight.stats.intervals import bootstrap_mean
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Secret, SplitObservation
from safelight.threats.prediction_api import PredictionApi

Result = TypeVar("Result")

VICTIMS = 384
BATCH = 32


@dataclass(frozen=True)
class Stage:
    """What both searches are given: the victims' answers, a shadow, and the truth to score by."""

    setting: Setting
    seen: SplitObservation
    secret: Secret
    shadow: Asked
    attack: Gradient


def stage() -> Stage:
    """Train the target and the shadow, or take them from the cache."""
    plan = override(load_plan("prediction"), [f"data.victims.count={VICTIMS}"], "the benchmark")
    setting = prepare(plan)
    seen, secret = PredictionApi(returns="logits", knows="nothing").meet(
        setting.target, setting.roles, setting.device, setting.cache
    )
    seen = seen.restricted(Gradient.needs)
    attack = Gradient(imitation=Imitation(steps=300))
    (shadow,) = asked_shadows(attack.imitation, 1, seen, Seeds(0))
    return Stage(setting, seen, secret, shadow, attack)


def reference(edge: nn.Module, answers: Tensor, begun: Tensor) -> Tensor:
    """Search for one batch of pictures by the published recipe."""
    x = begun.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=1e-2)
    for _ in range(400):
        down = (x[:, :, 1:] - x[:, :, :-1]).abs().sum()
        right = (x[..., 1:] - x[..., :-1]).abs().sum()
        loss = F.mse_loss(edge(x), answers) + 4.4323e-5 * x.square().sum()
        loss = loss + 9.4879e-3 * (down + right)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([x], 1.0)
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0, 1)
    return x.detach()


def class_means(seen: SplitObservation, said: Tensor) -> Tensor:
    """Return the mean of the attacker's pictures of each class [n] that is recognized."""
    pictures, labels = seen.public.images, seen.labels
    return torch.stack([pictures[labels == label].mean(0) for label in said.tolist()])


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result and the seconds of this process that it took."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def tell(name: str, claim: Tensor, given: Tensor, on: Stage, edge: nn.Module) -> tuple[Tensor, ...]:
    """Print how good the first pictures are; return both SSIMs of each."""
    truth = on.secret.victims.images[: len(claim)]
    labels = on.secret.victims.labels[: len(claim)]
    with torch.no_grad():
        gap = (edge(claim) - given[: len(claim)]).square().mean(1) / given.var()
    named = (rank(claim, truth, labels, on.setting.suspects) == 1).float().mean()
    published, own = ssim_gaussian(claim, truth), ssim(claim, truth)
    print(
        f"{name:<24} SSIM 11x11 {published.mean():.4f}   SSIM 7x7 {own.mean():.4f}   "
        f"answer missed by {gap.mean():.4f} of its variance   named {named:.1%}"
    )
    return published, own


def compare(name: str, ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    """Print by how much SSIM differs, victim by victim."""
    told = []
    for window, one, other in zip(("11x11", "7x7"), ours, theirs, strict=True):
        gap = np.asarray(one - other, dtype=np.float64)
        low, high = bootstrap_mean(gap)
        told.append(f"SSIM {window} {gap.mean():+.4f} ({low:+.4f} to {high:+.4f})")
    print(f"{name} less reference, paired: {',  '.join(told)}")


def main(rounds: int = 3) -> None:
    """Alternate the two, a fresh batch of the reference each round; print rates and quality."""
    torch.set_num_threads(1)
    on = stage()
    seen, shadow, attack = on.seen, on.shadow, on.attack
    edge = copy.deepcopy(shadow.edge).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    raw, said = heard(seen, shadow, align=False)
    begun = class_means(seen, said)
    found, rates, whole = [], [], []
    for one in range(rounds):
        own = slice(one * BATCH, (one + 1) * BATCH)
        theirs, slow = timed(lambda own=own: reference(edge, raw[own], begun[own]))  # type: ignore[misc]
        found.append(theirs)
        ready, choice = timed(lambda: attack.chosen(seen, shadow, Seeds(0)))

        def ours(ready: Gradient = ready) -> tuple[Tensor, Tensor]:
            answers, classes = heard(seen, shadow, align=True)
            return answers, ready.search(seen, shadow.edge, answers, classes, Seeds(0))

        (aligned, claim), quick = timed(ours)
        rates.append((BATCH / slow, VICTIMS / quick))
        whole.append(VICTIMS / (quick + choice))
    bare = ready.search(seen, shadow.edge, raw, said, Seeds(0))
    n = rounds * BATCH
    print(f"{rounds} alternating rounds, 1 thread, seconds of the process; quality on {n} victims")
    print(f"reference                {statistics.median(a for a, _ in rates):8.2f} images/s")
    print(f"safelight                {statistics.median(b for _, b in rates):8.2f} images/s")
    print(f"  with its choice of the variation, {VICTIMS} victims: {statistics.median(whole):.2f}")
    for name, ratios in (
        ("the search", [b / a for a, b in rates]),
        ("with the choice", [b / a for (a, _), b in zip(rates, whole, strict=True)]),
    ):
        ratios = sorted(ratios)
        print(
            f"ratio, {name:<16}  {statistics.median(ratios):8.1f} x  "
            f"(range {ratios[0]:.1f} - {ratios[-1]:.1f})"
        )
    print(f"variation chosen: {ready.variation}")
    tell("start, no search", begun[:n], raw, on, edge)
    base = tell("reference", torch.cat(found), raw, on, edge)
    same = tell("safelight, same answers", bare[:n], raw, on, edge)
    best = tell("safelight, aligned", claim[:n], aligned, on, edge)
    compare("same answers", same, base)
    compare("aligned     ", best, base)


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:]))
