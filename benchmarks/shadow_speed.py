"""How fast shadow models are trained: one by one, one process a core, stacked in one program.

    python benchmarks/shadow_speed.py [SHADOWS] [PICTURES] [EPOCHS]

All three train the same networks on the same pictures (noise of CIFAR-10's shape, drawn by a seed)
in the same order, in one run. Prints seconds, the ratio to one by one, and the largest memory of
any process. Do not run anything beside it: the ratio is about idle cores.
"""

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
    """Time all three."""
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
    cores = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:

        def by(workers: int) -> float:
            cache = Cache(Path(folder) / str(workers))
            return timed(lambda: train(lesson, inside, Seeds(0), cache, workers=workers))

        alone = by(1)
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        spread = by(cores)
        each = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    together = timed(lambda: stacked(lesson, inside, Seeds(0)))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{shadows} shadows of {pictures} pictures, {epochs} epochs, {cores} threads")
    print(f"one by one              {alone:7.1f} s  1.00x  {own:.2f} GiB")
    print(
        f"one process a core      {spread:7.1f} s  {alone / spread:.2f}x  {each:.2f} GiB a process"
    )
    print(f"stacked                 {together:7.1f} s  {alone / together:.2f}x  {most:.2f} GiB")


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:]))
