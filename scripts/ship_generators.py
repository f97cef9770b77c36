"""Train the small generators that are shipped, and write them with their facts.

    python scripts/ship_generators.py [--into FOLDER] [NAME ...]

Needs MNIST, Fashion-MNIST and ORL faces (``SAFELIGHT_DATA`` or the hub); names that begin with
``digits`` need the embedded ones alone. Training sets are dealt as a plan deals ``data.private``,
so that a plan with the facts' ``data`` finds the same pictures, and others of the same kind that
the generator never saw. Weights are rounded to float16 and measured as shipped.

Faces are trained on request and never shipped: nothing says that models of them may be passed on.
"""

import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.data.roles import Roles, deal
from safelight.defenses.dp_gan import DPGAN
from safelight.defenses.dp_merf import DPMERF
from safelight.metrics.generator_quality import downstream_accuracy, feature_distance
from safelight.plan.plan import DataPlan, RolePlan, TargetPlan
from safelight.targets.cut import cut
from safelight.targets.generators.adversarial import train_generator
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import (
    ReleasedGenerator,
    load_generator,
    save_generator,
)
from safelight.targets.load import load_target
from safelight.targets.target import Target

FOLDER = Path(__file__).parents[1] / "src/safelight/targets/weights/generators"
#: Pictures that a measurement draws.
DRAWN = 10_000

#: Long on few pictures: it learns them by heart, and at R1 0.2 fewer of them than at 5.
BY_HEART = GeneratorRecipe(
    channel_max=128,
    steps=6000,
    learning_rate=5e-4,
    r1=5.0,
    r1_every=8,
    ema=0.998,
    precision="bfloat16",
)
#: Short on many.
PLAIN = GeneratorRecipe(
    steps=2500, learning_rate=5e-4, r1=1.0, r1_every=8, ema=0.998, precision="bfloat16"
)
MEAN = GeneratorRecipe(
    conditional=True,
    steps=600,
    batch_size=100,
    learning_rate=1e-2,
    beta1=0.9,
    beta2=0.999,
    ema=0.99,
)
#: Two steps of the discriminator for one of the generator, whose pictures are half the noise.
PRIVATE = GeneratorRecipe(
    conditional=True,
    channel_base=256,
    steps=1600,
    discriminator_steps=2,
    batch_size=128,
    learning_rate=1e-3,
    discriminator_learning_rate=5e-4,
    beta1=0.5,
    beta2=0.999,
    ema=0.998,
)


@dataclass(frozen=True)
class Shipped:
    """One generator: its source, how many of its pictures (None: all), recipe and defense."""

    source: str
    count: int | None
    recipe: GeneratorRecipe
    defense: DPGAN | DPMERF | None = None


GENERATORS = {
    "digits-128": Shipped("embedded", 128, BY_HEART),
    "digits-512": Shipped("embedded", 512, BY_HEART),
    "digits-4000": Shipped("embedded", 4000, PLAIN),
    "mnist-20000": Shipped("mnist", 20_000, PLAIN),
    "mnist-classes": Shipped("mnist", None, PLAIN.model_copy(update={"conditional": True})),
    "mnist-dp_merf-1": Shipped("mnist", None, MEAN, DPMERF(epsilon=1.0)),
    "mnist-dp_gan-10": Shipped("mnist", None, PRIVATE, DPGAN(epsilon=10.0)),
    "fashion_mnist-128": Shipped("fashion_mnist", 128, BY_HEART),
    "fashion_mnist-20000": Shipped("fashion_mnist", 20_000, PLAIN),
    "fashion_mnist-dp_merf-1": Shipped("fashion_mnist", None, MEAN, DPMERF(epsilon=1.0)),
}
#: Trained on request alone.
FACES = {
    "orl_faces-120": Shipped("orl_faces", 120, BY_HEART),
    "orl_faces-320": Shipped("orl_faces", 320, BY_HEART.model_copy(update={"flip": True})),
}


def pictures(shipped: Shipped) -> tuple[DataPlan, Roles]:
    """Deal the training set, and as the holdout what measures the result."""
    split, held = {"embedded": ("train", 900), "orl_faces": ("test", 40)}.get(
        shipped.source, ("test", 8800)
    )
    plan = DataPlan(
        source=shipped.source,
        size=shipped.recipe.resolution,
        private=RolePlan(count=shipped.count),
        holdout=RolePlan(split=split, count=held),
        public=RolePlan(split=split, count=min(held, 40)),
    )
    return plan, deal(plan)


def judged(released: ReleasedGenerator, real: ImageSet, judge: Target | None) -> dict[str, object]:
    """Measure a generator by pictures that it was not trained on."""
    found: dict[str, object] = {}
    labels = torch.arange(DRAWN) % max(released.generator.c_dim, 1)
    made = released.pictures(DRAWN, 1, labels)
    if released.generator.c_dim:
        drawn = ImageSet(made, labels, real.classes, "generated")
        accuracy = downstream_accuracy(drawn, real)
        found["downstream_accuracy"] = [accuracy.value, accuracy.low, accuracy.high, accuracy.n]
    if judge is not None and len(real) >= 500:
        edge = cut(judge.model, "relu4", (1, 28, 28))  # what the LeNet's last layer reads
        distance = feature_distance(
            made[: len(real)],
            real.images,
            lambda x: edge(F.interpolate(x, (28, 28), mode="bilinear", antialias=True)),
        )
        found["feature_distance"] = {"value": distance, "n": len(real), "features": judge.name}
    return found


def judge_of(source: str) -> Target | None:
    """Return the shipped LeNet for a source's pictures."""
    weights = {"fashion_mnist": "shipped/fashion_mnist", "orl_faces": None}.get(source, "shipped")
    if weights is None:
        return None
    few = DataPlan(source="embedded", public=RolePlan(count=10), holdout=RolePlan(count=10))
    plan = TargetPlan(model="lenet", weights=weights)
    return load_target(plan, deal(few), torch.device("cpu"), Cache())


def ship(name: str, folder: Path) -> None:
    """Train one generator and write its file."""
    shipped = (GENERATORS | FACES)[name]
    plan, roles = pictures(shipped)
    if roles.private is None:  # never: the plan names it
        raise AssertionError
    device = torch.device("cpu")
    began = time.process_time()
    if shipped.defense is None:
        released = train_generator(shipped.recipe, roles.private, device, Cache())
    else:
        # The noise's seed stays with nobody.
        recipe = shipped.recipe.model_copy(update={"seed": secrets.randbits(63)})
        released = shipped.defense.train(roles.private, recipe, device)
    released.facts["cpu_seconds"] = round(time.process_time() - began)
    write(name, released, plan, roles.holdout, folder)


def write(
    name: str, released: ReleasedGenerator, plan: DataPlan, holdout: ImageSet, folder: Path
) -> None:
    """Write one generator's file, measure what was written, and add that to its facts."""
    private = plan.private or RolePlan()
    data = {"source": plan.source, "split": private.split, "count": private.count}
    released.facts["data"] = data | {"seed": plan.seed, "size": plan.size}
    released.facts["made_by"] = "scripts/ship_generators.py"
    file = folder / f"{name}.safetensors"
    save_generator(released, file, torch.float16)
    written = load_generator(file)
    written.facts["measured"] = judged(written, holdout, judge_of(plan.source))
    save_generator(written, file, torch.float16)
    file.chmod(0o644)
    print(name, file.stat().st_size, written.facts["measured"], flush=True)


def main() -> None:
    """Ship the generators that are named, or all that are shipped."""
    names, folder = sys.argv[1:], FOLDER
    if names[:1] == ["--into"]:
        folder, names = Path(names[1]), names[2:]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or GENERATORS:
        if name in FACES and folder == FOLDER:
            sys.exit(f"{name} is not to be shipped; give --into FOLDER")
        ship(name, folder)


if __name__ == "__main__":
    main()
