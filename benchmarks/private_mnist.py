"""How many digits does a network read that was trained with a promise?

    SAFELIGHT_DATA=DATA python benchmarks/private_mnist.py [SEEDS]

Trains on 59,000 pictures of MNIST's training file at epsilon 3, delta 1e-5, with seeds 1 to SEEDS
(3), and counts what it gets right of the test file: a line of docs/results/membership.md a seed.
Each takes two to three minutes of one core. Needs the data.
"""

import sys
import time

import torch
from torch import nn

from safelight.data.roles import deal
from safelight.defenses.dp_sgd import DPSGD
from safelight.plan.plan import DataPlan, FitPlan, RolePlan
from safelight.stats.intervals import clopper_pearson
from safelight.targets.target import Normalized

DEFENSE = DPSGD(epsilon=3.0, clip=0.1, momentum=0.9)


def network() -> nn.Module:
    """Two convolutions with tanh, 26,010 parameters: bounded activations bear clipping well."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 8, stride=2, padding=3), nn.Tanh(), nn.MaxPool2d(2, 1)),
        *(nn.Conv2d(16, 32, 4, stride=2), nn.Tanh(), nn.MaxPool2d(2, 1)),
        *(nn.Flatten(), nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10)),
    )


def main(seeds: int) -> None:
    """Train with each seed and print what came of it."""
    whole = RolePlan(split="train[1000:]")  # the first thousand are left to choose a recipe by
    roles = deal(DataPlan(source="mnist", public=whole, holdout=RolePlan(split="test")))
    known, asked = roles.public, roles.holdout
    for seed in range(1, seeds + 1):
        recipe = FitPlan(epochs=10, batch_size=1024, learning_rate=1.0, weight_decay=0.0, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Normalized(network(), (0.1307,), (0.3081,))
        begun = time.process_time()
        promise = DEFENSE.train(model, known, recipe)["privacy"]
        took = time.process_time() - begun
        with torch.no_grad():
            right = int((model(asked.images).argmax(1) == asked.labels).sum())
        low, high = clopper_pearson(right, len(asked))
        print(
            f"seed {seed}: {100 * right / len(asked):.1f} % ({100 * low:.1f} to {100 * high:.1f}) "
            f"of {len(asked):,}, trained on {len(known):,}, epsilon {promise['epsilon']:.3f}, "
            f"noise {promise['noise']:.3f}, {promise['steps']} steps, {took:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
