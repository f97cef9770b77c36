"""A restart of the KKT search: ours beside the reference recipe, in one run.

    python benchmarks/kkt_speed.py [--pictures 100] [--steps 20]

The reference is Haim et al. (2022) as released: float64, one restart after the other, the gradient
of every picture's margin added up by automatic differentiation in matrices as large as the weights,
all layers, SGD with momentum. Ours is ``extraction/kkt``: float32, restarts as one tensor program,
inner products of signals in place of gradients. Both search twice as many candidates as there are
training pictures in an MLP 784-1000-1000-1; a step costs the same whatever the weights are.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from safelight.attacks.extraction.kkt import KKT
from safelight.data.images import ImageSet
from safelight.metrics.extraction_losses.rectifier import smoothed
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.target import Normalized, Target
from safelight.threats.released_model import ReleasedModel, ReleasedObservation, TrainingSecret

ROUNDS = 3
RESTARTS = 4


def reference(model: Normalized, m: int, steps: int) -> Tensor:
    """Search one restart by the published recipe, for some of its steps."""
    network = smoothed(model.network, 150.0).double()
    parameters = [one.requires_grad_(True) for one in network.parameters()]
    x = (0.03 * torch.randn(m, 1, 28, 28, dtype=torch.float64)).requires_grad_()
    multipliers = torch.rand(m, dtype=torch.float64).requires_grad_()
    signs = torch.arange(m).double() % 2 * 2 - 1
    optimizer = torch.optim.SGD(
        [{"params": [x], "lr": 0.03}, {"params": [multipliers], "lr": 1e-4}], momentum=0.9
    )
    for _ in range(steps):
        margins = network(x)[:, 0] * signs
        sums = torch.autograd.grad((multipliers * margins).sum(), parameters, create_graph=True)
        pairs = zip(parameters, sums, strict=True)
        loss = torch.stack([(own.detach() - one / m).square().sum() for own, one in pairs]).sum()
        loss = loss + (x - 1).relu().square().sum() + (-1 - x).relu().square().sum()
        loss = loss + 5 * (0.45 - multipliers).relu().square().sum()
        optimizer.zero_grad()
        loss.backward(inputs=[x, multipliers])
        optimizer.step()
    return x.detach()


def world(pictures: int) -> ReleasedObservation:
    """Return an observation of an untrained model; only shapes matter to a step."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(pictures, 1, 28, 28, generator=draw)
    own = ImageSet(images, torch.arange(pictures) % 2, ("even", "odd"), "random")
    torch.manual_seed(0)
    model = Normalized(MLP(1, bias="first"), MLP.mean, MLP.std)
    target = Target("mlp", model, "nothing")
    secret = TrainingSecret(own, own)
    return ReleasedModel().meet(target, secret, own, {}, torch.device("cpu"))


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Alternate the recipes, and print medians of seconds for 1,000 steps of one restart."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    seen = world(given.pictures)
    first = KKT(steps=given.steps, per_picture=2, restarts=RESTARTS, variation=0.0)
    every = dataclasses.replace(first, layers="all")
    work: dict[str, tuple[int, Callable[[], object]]] = {
        "reference, float64, sequential, all layers": (
            1,
            lambda: reference(seen.model, 2 * given.pictures, given.steps),
        ),
        "safelight, batched, all layers": (RESTARTS, lambda: every.run(seen, Seeds(0))),
        "safelight, batched, first layer": (RESTARTS, lambda: first.run(seen, Seeds(0))),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, (restarts, run) in work.items():
            taken[name].append(seconds(run) / restarts / given.steps * 1000)
    print(
        f"{given.pictures} training pictures, {2 * given.pictures} candidates a restart, "
        f"{torch.get_num_threads()} threads, median of {ROUNDS} alternating rounds"
    )
    base = taken["reference, float64, sequential, all layers"]
    for name, own in taken.items():
        ratios = sorted(b / a for a, b in zip(own, base, strict=True))
        print(
            f"{name:<44} {statistics.median(own):8.1f} s for 1,000 steps of a restart   "
            f"{statistics.median(ratios):5.1f} x ({ratios[0]:.1f} - {ratios[-1]:.1f})"
        )


if __name__ == "__main__":
    main()
