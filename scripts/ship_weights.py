"""Train the targets that are shipped and write their weights with their facts.

    python scripts/ship_weights.py [NAME ...]

Needs MNIST, Fashion-MNIST and CIFAR-10 (``SAFELIGHT_DATA`` or the hub). Of each training file a
first part is left to attackers. Of MNIST that is the half which holds the embedded digits, so that
a shipped target has seen no picture of the demo. Weights are rounded to float16 where that saves a
megabyte, and measured as shipped.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from safelight import catalog
from safelight.data.roles import deal
from safelight.plan.plan import DataPlan, FitPlan, RolePlan
from safelight.targets.fit import fit
from safelight.targets.target import Normalized, Target

FOLDER = Path(__file__).parents[1] / "src/safelight/targets/weights"


@dataclass(frozen=True)
class Shipped:
    """One target: its architecture, its pictures, the first one that is its own, its recipe."""

    model: str
    source: str
    first: int
    recipe: FitPlan
    dtype: torch.dtype = torch.float32


TARGETS = {
    "lenet": Shipped("lenet", "mnist", 30_000, FitPlan(epochs=12)),
    "lenet-fashion_mnist": Shipped("lenet", "fashion_mnist", 30_000, FitPlan(epochs=20)),
    "cifar_cnn": Shipped(
        "cifar_cnn",
        "cifar10",
        10_000,
        FitPlan(
            epochs=24,
            learning_rate=2e-3,
            weight_decay=5e-2,
            flip=True,
            shift=4,
            precision="bfloat16",
        ),
        torch.float16,
    ),
}


def ship(name: str, shipped: Shipped) -> None:
    """Train one target, measure it on the test file, and write both of its files."""
    split = f"train[{shipped.first}:]"
    data = DataPlan(
        source=shipped.source,
        private=RolePlan(split=split),
        public=RolePlan(split="train[:1000]"),
        holdout=RolePlan(split="train[1000:2000]"),
        victims=RolePlan(split="test"),
    )
    roles = deal(data)
    if roles.private is None:  # never: the plan above names it
        raise AssertionError
    torch.manual_seed(shipped.recipe.seed)
    network = catalog.load("classifier", shipped.model)()
    model = Normalized(network, network.mean, network.std)
    facts = fit(model, roles.private, shipped.recipe)
    weights = {key: value.to(shipped.dtype) for key, value in network.state_dict().items()}
    network.load_state_dict(weights)
    target = Target(shipped.model, model, split)
    hits = target.correct(roles.victims.images, roles.victims.labels)
    n = len(roles.victims)
    content = safetensors.torch.save(weights)
    (FOLDER / f"{name}.safetensors").write_bytes(content)
    facts |= {
        "trained_on": f"{shipped.source} {split}, {facts['n']} pictures",
        "made_by": "scripts/ship_weights.py",
        "torch": torch.__version__,
        "test_accuracy": hits / n,
        "test_n": n,
        "file_sha256": hashlib.sha256(content).hexdigest(),
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    print(name, json.dumps(facts, indent=2))


def main() -> None:
    """Ship the targets that are named, or all."""
    for name in sys.argv[1:] or TARGETS:
        ship(name, TARGETS[name])


if __name__ == "__main__":
    main()
