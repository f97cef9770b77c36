"""What does a generator's promise cost in quality, and what does it hide?

    SAFELIGHT_DATA=DATA python benchmarks/private_generators.py RESULTS [--pictures 250]
        [--steps 1600] [--seed 1] [--only CELL ...]

Trains generators of the same pictures of MNIST's training file, with a class each: DP-MERF at
epsilon 0.2, 1 and 10, DP-GAN at epsilon 1, 10 and 100, and the same GAN without a promise. Beside
what they promise stands what they are good for (the accuracy on MNIST's test file of a small
network that learned on 10,000 of their pictures, and a Fréchet distance by the features of the
shipped LeNet) and what they leak (an audit with its controls: the calibrated distance, from
pictures alone, and the discriminator's score where there is a discriminator). Every cell is a line
of JSON that is appended to RESULTS as soon as it is measured, and is not measured again. All seven
take about 13 minutes of one core.

The seeds are written here, so that a run can be repeated: nobody is hidden by noise that anybody
can draw. Give nothing out that was trained in this way.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.auditing.generator import audit, prepare
from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.data.roles import deal
from safelight.defenses.dp_gan import DPGAN
from safelight.defenses.dp_sgd import noise_for
from safelight.metrics.generator_quality import downstream_accuracy, feature_distance
from safelight.plan.plan import DataPlan, Plan, RolePlan, TargetPlan, parse_plan
from safelight.record.store import Run
from safelight.targets.cut import cut
from safelight.targets.generators.released import ReleasedGenerator
from safelight.targets.load import load_target
from safelight.targets.target import Target

#: Pictures that quality is measured on, candidates of a side at most, and own pictures of the
#: attacker, all of the training file but the first.
DRAWN, CANDIDATES, OWN = 10_000, 1000, 4000

#: Real pictures beside as many made ones, for the Fréchet distance.
COMPARED = 2000

#: Long enough that no cell's seed is refused; it hides nothing.
FIRST_SEED = 2**62

#: Of every generator; the same batch, rates and width as ``scripts/ship_generators.py`` has.
ADVERSARIAL: dict[str, Any] = {
    "conditional": True,
    "channel_base": 256,
    "discriminator_steps": 2,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "discriminator_learning_rate": 5e-4,
    "beta1": 0.5,
    "beta2": 0.999,
    "ema": 0.998,
}
MEAN: dict[str, Any] = {
    "conditional": True,
    "steps": 600,
    "batch_size": 100,
    "learning_rate": 1e-2,
    "beta1": 0.9,
    "beta2": 0.999,
    "ema": 0.99,
}


@dataclass(frozen=True)
class Cell:
    """One generator: how it is trained, and the epsilon that it promises; None for no promise."""

    method: str
    epsilon: float | None

    @property
    def name(self) -> str:
        """The name on the command line."""
        return f"{self.method}-{self.epsilon:g}" if self.epsilon else self.method


CELLS = [
    *(Cell("dp_merf", epsilon) for epsilon in (0.2, 1.0, 10.0)),
    *(Cell("dp_gan", epsilon) for epsilon in (1.0, 10.0, 100.0)),
    Cell("gan", None),
]


def plan_of(cell: Cell, pictures: int, steps: int, seed: int) -> Plan:
    """Return the audit of one cell's generator, which it trains."""
    recipe = MEAN if cell.method == "dp_merf" else ADVERSARIAL | {"steps": steps}
    candidates = min(pictures, CANDIDATES)
    judge = cell.method != "dp_merf"
    told: dict[str, Any] = {
        "name": cell.name,
        "data": {
            "source": "mnist",
            "size": 32,
            "private": {"split": "train", "count": pictures},
            "holdout": {"split": "train", "count": candidates},
            "public": {"split": "train", "count": OWN},
        },
        "target": {
            "model": "generator",
            "options": {"recipe": recipe | {"seed": FIRST_SEED + seed}, "candidates": candidates},
        },
        "threats": [
            {"name": "released_generator", "access": "samples", "discriminator": judge},
        ],
        "attacks": [{"name": "membership/generator_distance"}]
        + [{"name": "membership/discriminator_score"}] * judge,
    }
    if cell.method == "dp_gan":  # the noise, as a search for it would be made twice
        delta, rate = DPGAN().delta, ADVERSARIAL["batch_size"] / pictures
        noise = noise_for(cell.epsilon or 1.0, delta, rate, steps)
        told["defense"] = {"name": "dp_gan", "noise": noise}
    elif cell.epsilon is not None:
        told["defense"] = {"name": cell.method, "epsilon": cell.epsilon}
    return parse_plan(told, f"the cell {cell.name}")


def measured(cell: Cell, pictures: int, steps: int, seed: int) -> dict[str, Any]:
    """Train a cell's generator, audit it, and measure its pictures."""
    began = time.process_time()
    setting = prepare(plan_of(cell, pictures, steps, seed))
    trained = time.process_time()
    with TemporaryDirectory() as folder:
        record = audit(setting, Run(Path(folder) / "run"), lambda *_: None)
    promised = setting.networks.facts.get("privacy", {})
    found: dict[str, Any] = {"epsilon": promised.get("epsilon"), "noise": promised.get("noise")}
    for finding in record.findings:
        if finding.failed or finding.scores is None:
            raise SystemExit(f"{finding.attack} failed: {finding.failed}")
        area = finding.scores.auc.measurement
        found[finding.attack] = {
            "auc": [area.value, area.low, area.high],
            "level": area.level,
            "n": area.n,
            "verdict": finding.verdict.outcome,
            "controls": {one.name: one.passed for one in finding.controls},
        }
    found["controls"] = {one.name: one.passed for one in record.controls}
    found |= quality(setting.networks)
    spent = {"training": trained - began, "whole": time.process_time() - began}
    return found | {"cpu_seconds": {name: round(one) for name, one in spent.items()}}


def quality(released: ReleasedGenerator) -> dict[str, Any]:
    """Return what a generator's pictures are good for, by pictures of the test file."""
    test = DataPlan(
        source="mnist", size=32, public=RolePlan(count=10), holdout=RolePlan(split="test")
    )
    real, labels = deal(test).holdout, torch.arange(DRAWN) % 10
    made = released.pictures(DRAWN, 1, labels)
    accuracy = downstream_accuracy(ImageSet(made, labels, real.classes, "generated"), real)
    edge = cut(_judge().model, "relu4", (1, 28, 28))
    distance = feature_distance(
        made[:COMPARED],
        real.images[:COMPARED],
        lambda x: edge(F.interpolate(x, (28, 28), mode="bilinear", antialias=True)),
    )
    return {
        "accuracy": [accuracy.value, accuracy.low, accuracy.high, accuracy.n],
        "feature_distance": distance,
    }


def _judge() -> Target:
    few = DataPlan(source="embedded", public=RolePlan(count=10), holdout=RolePlan(count=10))
    plan = TargetPlan(model="lenet", weights="shipped")
    return load_target(plan, deal(few), torch.device("cpu"), Cache())


def row(line: dict[str, Any]) -> str:
    """Return one row of the table of docs/defenses/dp-gan.md."""

    def leak(attack: str) -> str:
        found = line.get(attack)
        if not found:
            return ""
        value, low, high = found["auc"]
        passed = all(found["controls"].values()) and all(line["controls"].values())
        told = found["verdict"] if passed else f"{found['verdict']}, a control failed"
        return f"{value:.3f} ({low:.3f} to {high:.3f}), {told}"

    value, low, high, n = line["accuracy"]
    promise = "none" if line["epsilon"] is None else f"{line['epsilon']:.3g}"
    cells = (
        line["cell"].partition("-")[0],
        promise,
        f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f}), n = {n:,}",
        f"{line['feature_distance']:.1f}",
        leak("membership/generator_distance"),
        leak("membership/discriminator_score"),
        f"{line['cpu_seconds']['whole']} s",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure what is not in the file yet, and print the table of what is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--pictures", type=int, default=250)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=[one.name for one in CELLS])
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    if given.results.exists():
        lines = [json.loads(one) for one in given.results.read_text().splitlines()]
    for cell in CELLS:
        steps = MEAN["steps"] if cell.method == "dp_merf" else given.steps
        key = {
            "cell": cell.name,
            "pictures": given.pictures,
            "steps": steps,
            "seed": given.seed,
        }
        known = [one for one in lines if key.items() <= one.items()]
        if given.only and cell.name not in given.only:
            continue
        if not known:
            known = [key | measured(cell, given.pictures, given.steps, given.seed)]
            with given.results.open("a") as file:
                file.write(json.dumps(known[0]) + "\n")
        print(row(known[0]), flush=True)


if __name__ == "__main__":
    main()
