"""Train the targets that are shipped and write their weights with their facts.

    python scripts/ship_weights.py

Needs MNIST (``SAFELIGHT_DATA`` or the hub). Half of MNIST's training file is used, the half that
holds none of the embedded digits, so that a shipped target has seen no picture of the demo.
"""

import hashlib
import json
from pathlib import Path

import safetensors.torch
import torch

from safelight.data.roles import deal
from safelight.plan.plan import DataPlan, FitPlan, RolePlan
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.fit import fit
from safelight.targets.target import Normalized, Target

FOLDER = Path(__file__).parents[1] / "src/safelight/targets/weights"
SPLIT = "train[30000:]"
RECIPE = FitPlan(epochs=12)


def main() -> None:
    """Train LeNet, measure it on MNIST's test file, and write both files."""
    data = DataPlan(
        source="mnist",
        private=RolePlan(split=SPLIT),
        public=RolePlan(split="train[:1000]"),
        holdout=RolePlan(split="train[1000:2000]"),
        victims=RolePlan(split="test"),
    )
    roles = deal(data)
    torch.manual_seed(RECIPE.seed)
    network = LeNet()
    model = Normalized(network, network.mean, network.std)
    facts = fit(model, roles.private, RECIPE)
    target = Target("lenet", model, SPLIT)
    hits = target.correct(roles.victims.images, roles.victims.labels)
    n = len(roles.victims)
    content = safetensors.torch.save(network.state_dict())
    (FOLDER / "lenet.safetensors").write_bytes(content)
    facts |= {
        "trained_on": f"MNIST {SPLIT}, {facts['n']} pictures",
        "made_by": "scripts/ship_weights.py",
        "torch": torch.__version__,
        "test_accuracy": hits / n,
        "test_n": n,
        "file_sha256": hashlib.sha256(content).hexdigest(),
    }
    (FOLDER / "lenet.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
