"""Whom does a face classifier show to those who ask about a name? (Fredrikson et al. 2015).

    SAFELIGHT_DATA=DATA python benchmarks/mi_face.py [SEEDS] [SHEET]

Prints the tables of docs/results/faces.md: 40 persons of the ORL faces, seeds 1 to SEEDS (3), each
with its own division into seven pictures a person to train on and three to judge by, and its own
models. Writes what the first seed's searches find into the picture SHEET, if named. Without
SAFELIGHT_DATA there are no faces.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from safelight.attacks.inversion.class_confidence import (
    Answers,
    ClassConfidence,
    Differences,
    Found,
)
from safelight.auditing.identities import Templates, identified, likeness, mislabeled
from safelight.data.images import ImageSet
from safelight.data.roles import open_split
from safelight.plan.plan import DataPlan, FitPlan, RolePlan
from safelight.stats.intervals import clopper_pearson
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.classifiers.plain_cnn import PlainCNN
from safelight.targets.fit import fit
from safelight.targets.target import Normalized

SIZE, PEOPLE, TRAINED_ON = 32, 40, 7
SHAPE = (1, SIZE, SIZE)
EVERYBODY = torch.arange(PEOPLE)
STEPS = 1000


def sigmoid() -> nn.Module:
    """Return the paper's perceptron, a layer of sigmoids, with 300 of them for its 3,000."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(SIZE**2, 300), nn.Sigmoid(), nn.Linear(300, PEOPLE)
    )


#: Each classifier, and the epochs that it is trained for.
MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "softmax regression": (lambda: MLP(PEOPLE, SHAPE, ()), 60),
    "perceptron": (sigmoid, 100),
    "CNN": (lambda: PlainCNN(PEOPLE, SHAPE, (8, 16, 32), 64), 40),
}

#: Compared on seed 0, whose figures are not among those reported.
SMOOTH = ClassConfidence(steps=300, variation=2.0, confidence=0.999)
SEARCHES = {
    "as published, from black": ClassConfidence(steps=STEPS, objective="confidence", start="black"),
    "as published, from gray": ClassConfidence(steps=STEPS, objective="confidence"),
    "log confidence, from black": ClassConfidence(steps=STEPS, start="black"),
    "log confidence, from gray (as it comes)": ClassConfidence(steps=STEPS),
    "... denoised and sharpened": ClassConfidence(
        steps=300, confidence=0.999, process="denoise and sharpen", every=20
    ),
    "... with variation 2": SMOOTH,
}
BLOCKS = Differences(width=0.05, block=4)
DECIMALS = (2, 1)


def faces() -> ImageSet:
    """Return all 400 faces."""
    role = RolePlan(count=1)
    plan = DataPlan(source="orl_faces", size=SIZE, channels=1, public=role, holdout=role)
    splits = [open_split("orl_faces", name, plan) for name in ("train", "test")]
    pictures = [one.pictures(np.arange(len(one.labels))) for one in splits]
    labels = np.concatenate([one.labels for one in splits])
    images = torch.from_numpy(np.concatenate(pictures))
    return ImageSet(images, torch.from_numpy(labels), splits[0].classes, "ORL faces")


def divided(everything: ImageSet, seeds: Seeds) -> tuple[ImageSet, ImageSet]:
    """Return seven pictures a person to train on, and the other three."""
    draw = torch.Generator().manual_seed(seeds.child("division").integer())
    first, rest = [], []
    for person in range(PEOPLE):
        rows = (everything.labels == person).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=draw)]
        first.append(rows[:TRAINED_ON])
        rest.append(rows[TRAINED_ON:])
    return everything.rows(torch.cat(first)), everything.rows(torch.cat(rest))


def classifier(
    make: Callable[[], nn.Module], train: ImageSet, epochs: int, seeds: Seeds, shift: int = 0
) -> Normalized:
    """Return a classifier, trained where there are epochs."""
    seed = seeds.child("classifier").integer() % 2**31
    torch.manual_seed(seed)
    model = Normalized(make(), (0.5,), (0.25,))
    if epochs:
        recipe = FitPlan(
            epochs=epochs, batch_size=40, learning_rate=3e-3, seed=seed, shift=shift, flip=shift > 0
        )
        fit(model, train, recipe)
    return model.eval().requires_grad_(False)


def logs(model: nn.Module, decimals: int | None = None) -> Answers:
    """Return how a model answers: log probabilities, of rounded ones where ``decimals`` is set."""

    def answers(x: Tensor) -> Tensor:
        if decimals is None:
            return torch.as_tensor(model(x).log_softmax(1))
        rounded = model(x).softmax(1).round(decimals=decimals)
        return torch.as_tensor(rounded.clamp_min(0.5 * 10.0**-decimals).log())

    return answers


class Judges:
    """Collects claims by row, and tells whom both judges name."""

    def __init__(self) -> None:
        self.scores: dict[str, list[Tensor]] = {}
        self.recognized: dict[str, list[float]] = {}
        self.notes: dict[str, list[tuple[float, float, float]]] = {}

    def meet(self, shown: ImageSet, seeds: Seeds) -> None:
        """Take the pictures to judge by, and train a recognizer on them alone."""
        self.shown = shown
        make, _ = MODELS["CNN"]
        self.recognizer = classifier(make, shown, 60, seeds.child("recognizer"), shift=2)

    def right(self, pictures: Tensor, labels: Tensor) -> float:
        """Return the share of pictures that the recognizer gives to their person."""
        with torch.no_grad():
            return float((self.recognizer(pictures).argmax(1) == labels).double().mean())

    def printed(self, claims: Tensor) -> Tensor:
        """Return claims as faces: what each has of its own, of usual strength, on the mean face.

        A recognizer of photographs knows nothing of pictures that hold no face at all.
        """
        pictures, flat = self.shown.images.flatten(1), claims.flatten(1)
        mean = pictures.mean(0)
        known, _ = torch.linalg.qr(torch.stack([torch.ones_like(mean), mean], 1))
        own, usual = (one - one @ known @ known.T for one in (flat, pictures))
        own = own / own.norm(dim=1, keepdim=True).clamp_min(1e-4) * usual.norm(dim=1).median()
        return torch.as_tensor((mean + own).clamp(0, 1).reshape(claims.shape))

    def take(self, row: str, claims: Tensor, found: Found | None = None) -> None:
        """Judge one claim a person."""
        self.scores.setdefault(row, []).append(likeness(claims, self.shown))
        self.recognized.setdefault(row, []).append(self.right(self.printed(claims), EVERYBODY))
        if found is not None:
            reached = float((found.confidence >= 0.5).double().mean())
            note = (reached, float(found.steps.double().mean()), found.queries / PEOPLE)
            self.notes.setdefault(row, []).append(note)

    def table(self) -> None:
        """Print every row."""
        print(
            "\n| claims | named by likeness [95%] | place | p | named by the recognizer [95%] "
            "| sure | steps | queries a person |\n|---|---|---|---|---|---|---|---|"
        )
        for row, scores in self.scores.items():
            who = identified(scores)
            share = float(np.mean(self.recognized[row]))
            low, high = clopper_pearson(share * PEOPLE, PEOPLE)
            note = " | | "
            if row in self.notes:
                reached, steps, queries = np.mean(self.notes[row], axis=0)
                note = f"{reached:.0%} | {steps:.0f} | {queries:.0f}"
            print(
                f"| {row} | {who.share.value:.1%} [{who.share.low:.0%}, {who.share.high:.0%}] "
                f"| {who.place:.3f} | {who.p:.4f} | {share:.1%} [{low:.0%}, {high:.0%}] | {note} |"
            )


def nulls(judges: Judges, train: ImageSet) -> None:
    """Judge claims that ask no model: what they name is by chance, or the most that can be."""
    judges.take("null: gray", torch.full((PEOPLE, *SHAPE), 0.5))
    judges.take("null: mean face", train.images.mean(0).expand(PEOPLE, -1, -1, -1))
    judges.take("null: another person's picture", _firsts(train).roll(1, 0))
    judges.take("ceiling: a picture trained on", _firsts(train))
    means = [train.images[train.labels == one].mean(0) for one in range(PEOPLE)]
    judges.take("ceiling: mean of those trained on", torch.stack(means))


def _firsts(pictures: ImageSet) -> Tensor:
    rows = [int((pictures.labels == one).nonzero()[0]) for one in range(PEOPLE)]
    return pictures.images[rows]


def attack(
    judges: Judges, row: str, how: ClassConfidence, answers: Answers, **more: Differences
) -> Tensor:
    """Search everybody, and let the claims be judged."""
    found = how.search(answers, EVERYBODY, SHAPE, **more)
    judges.take(row, found.images, found)
    return found.images


def one_seed(
    everything: ImageSet, seed: int, judges: Judges
) -> tuple[list[Tensor], dict[str, float]]:
    """Train and attack every model; return what was found, and accuracies."""
    seeds, plain = Seeds(seed), SEARCHES["log confidence, from gray (as it comes)"]
    train, shown = divided(everything, seeds)
    judges.meet(shown, seeds)
    right = {"recognizer": judges.right(train.images, train.labels)}
    nulls(judges, train)
    rows = [_firsts(train)]
    for how, search in SEARCHES.items():
        attack(judges, f"control: templates, {how}", search, logs(Templates(train)))
    for name, (make, epochs) in MODELS.items():
        model = classifier(make, train, epochs, seeds.child(name))
        with torch.no_grad():
            right[name] = float((model(shown.images).argmax(1) == shown.labels).double().mean())
        for how, search in SEARCHES.items():
            found = attack(judges, f"{name}, {how}", search, logs(model))
            if how in ("as published, from gray", "... with variation 2"):
                rows.append(found)
        if name == "softmax regression":
            attack(judges, f"{name}, by queries alone", plain, logs(model), numerical=BLOCKS)
            for decimals in DECIMALS:
                row = f"{name}, by queries alone, rounded to {decimals} decimals"
                attack(judges, row, plain, logs(model, decimals), numerical=BLOCKS)
        untrained = classifier(make, train, 0, seeds.child(name, "untrained"))
        brief = ClassConfidence(steps=200)  # few of these searches would ever end
        attack(judges, f"null: untrained {name}", brief, logs(untrained))
        wrong = mislabeled(train, seeds.child(name))
        model = classifier(make, wrong, epochs, seeds.child(name, "mislabeled"))
        attack(judges, f"control: mislabeled {name}", plain, logs(model))
    return rows, right


def sheet(rows: list[Tensor], path: Path) -> None:
    """Write the first ten persons, a row for each kind of claim, every claim in its own range."""
    lines = []
    for claims in rows:
        some = claims[:10, 0]
        low, high = some.flatten(1).amin(1), some.flatten(1).amax(1)
        some = (some - low[:, None, None]) / (high - low).clamp_min(1e-6)[:, None, None]
        lines.append(torch.cat(list(some), 1))
    pixels = (255 * torch.cat(lines, 0)).round().byte().numpy()
    picture = Image.fromarray(pixels)
    picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(path)


def main(last: int = 3, path: str = "") -> None:
    """Print every table; 0 runs seed 0 alone, on which searches were compared."""
    began = time.monotonic()
    everything, judges = faces(), Judges()
    accuracy: dict[str, list[float]] = {}
    for seed in range(1, last + 1) if last else [0]:
        rows, right = one_seed(everything, seed, judges)
        for name, share in right.items():
            accuracy.setdefault(name, []).append(share)
        if path and seed <= 1:
            sheet(rows, Path(path))
        print(f"seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    print("\n| model | right on pictures that it was not trained on |\n|---|---|")
    for name, shares in accuracy.items():
        print(f"| {name} | {np.mean(shares):.1%} ({min(shares):.1%} to {max(shares):.1%}) |")
    judges.table()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int((sys.argv[1:2] or ["3"])[0]), "".join(sys.argv[2:3]))
