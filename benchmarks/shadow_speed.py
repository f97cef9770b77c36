"""How fast shadow models are trained: one by one, one process a core, stacked in one program.

    python benchmarks/shadow_speed.py [SHADOWS] [PICTURES] [EPOCHS]

One by one is timed on one thread, the unit, and with all cores on each shadow. All train the same
networks on the same pictures (noise of CIFAR-10's shape, drawn by a seed) in the same order, in one
run. Prints seconds, the ratio to one by one, and the largest memory of any process. Do not run
anything beside it: the ratio is about idle cores.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.plan.plan import FitPlan
from safelight.stats.seeds import Seeds
from safelight.targets.shadows import Lesson, draw, train
from safelight.targets.target import Normalized
from safelight.targets.untrained import same_structure

WIDTH = 32


def network() -> nn.Module:
    """Three convolutions and a hidden layer: small enough to train sixteen of."""
    return nn.Sequential(
        *(nn.Conv2d(3, WIDTH, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(WIDTH, 2 * WIDTH, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * WIDTH, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def stacked(lesson: Lesson, inside: Tensor, seeds: Seeds) -> None:
    """Train all shadows as one tensor program; AdamW works element by element, so nothing mixes."""
    recipe, pool = lesson.recipe, lesson.pool
    number = [seeds.child(str(one)).integer() % 2**31 for one in range(len(inside))]
    models = [same_structure(lesson.model, one) for one in number]
    weights, buffers = stack_module_state(models)
    orders = [torch.Generator().manual_seed(one) for one in number]
    rows = torch.stack([row.nonzero()[:, 0] for row in inside])
    batches = max(rows.shape[1] // recipe.batch_size, 1)
    optimizer = torch.optim.AdamW(
        weights.values(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=batches * recipe.epochs
    )

    def loss(own: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(models[0], (own, fixed), (x,)), y)

    half = recipe.precision == "bfloat16"
    for _ in range(recipe.epochs):
        shuffled = torch.stack([torch.randperm(rows.shape[1], generator=one) for one in orders])
        for part in shuffled[:, : batches * recipe.batch_size].chunk(batches, 1):
            taken = rows.gather(1, part)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                every = vmap(loss)(weights, buffers, pool.images[taken], pool.labels[taken])
            optimizer.zero_grad()
            every.sum().backward()
            optimizer.step()
            schedule.step()


def timed(what: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.monotonic()
    what()
    return time.monotonic() - began


def main(shadows: int = 16, pictures: int = 1000, epochs: int = 3) -> None:
    """Time each way."""
    draw_pictures = torch.Generator().manual_seed(0)
    pool = ImageSet(
        torch.rand(2 * pictures, 3, 32, 32, generator=draw_pictures),
        torch.randint(10, (2 * pictures,), generator=draw_pictures),
        tuple("0123456789"),
        "noise",
    )
    recipe = FitPlan(epochs=epochs, batch_size=64, learning_rate=2e-3, precision="bfloat16")
    lesson = Lesson(Normalized(network(), (0.5,), (0.25,)), pool, recipe)
    inside = draw(shadows, 2 * pictures, pictures, Seeds(0))
    cores = len(os.sched_getaffinity(0))
    print(f"{shadows} shadows of {pictures} pictures, {epochs} epochs, {cores} cores")
    with tempfile.TemporaryDirectory() as folder:

        def by(name: str, workers: int) -> float:
            cache = Cache(Path(folder) / name)
            return timed(lambda: train(lesson, inside, Seeds(0), cache, workers=workers))

        torch.set_num_threads(1)
        alone = by("alone", 1)
        tell("one by one, one thread", alone, alone, resource.RUSAGE_SELF)
        torch.set_num_threads(cores)
        tell("one by one, all cores", by("wide", 1), alone, resource.RUSAGE_SELF)
        tell("one process a core", by("spread", cores), alone, resource.RUSAGE_CHILDREN)
    tell("stacked", timed(lambda: stacked(lesson, inside, Seeds(0))), alone, resource.RUSAGE_SELF)


def tell(how: str, seconds: float, alone: float, who: int) -> None:
    """Print seconds, the ratio to one by one, and the largest memory of any process so far."""
    memory = resource.getrusage(who).ru_maxrss / 2**20
    print(f"{how:24}{seconds:7.1f} s  {alone / seconds:.2f}x  {memory:.2f} GiB", flush=True)


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:]))
