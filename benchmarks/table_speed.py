"""A whole table of He, Zhang and Lee (2019): seconds a rebuilt picture, their recipe and ours.

    SAFELIGHT_DATA=DATA python benchmarks/table_speed.py

Theirs: a few steps of every part are timed here and now and multiplied by the published numbers of
steps (50 epochs of 32 pictures; 5,000 steps a picture; one picture at a time), for the ten pictures
that they rebuild. Ours: the seconds of every cell in the committed results, positive controls and
scoring included. Reference networks are theirs; a shadow of another structure is counted as one of
the same.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight import catalog
from safelight.record.reproduction import Table
from safelight.targets.cut import Cloud, cut
from safelight.targets.target import Normalized

RESULTS = Path(__file__).parents[1] / "reproductions/split-inference/results"
PICTURES, BATCH, EPOCHS, DESCENT = 10, 32, 50, 5000
TIMED, ROUNDS = 20, 5

#: Table -> classifier, (channels, side), training pictures, cut -> their inverse network.
TABLES: dict[str, tuple[str, tuple[int, int], int, dict[str, Callable[[], nn.Module]]]] = {
    "mnist": (
        "lenet",
        (1, 28),
        60000,
        {
            "conv1": lambda: nn.Conv2d(8, 1, 5, padding=4),
            "relu2": lambda: nn.Sequential(
                nn.ConvTranspose2d(16, 8, 5),
                nn.ReLU(),
                nn.ConvTranspose2d(8, 1, 5, stride=2, output_padding=1),
            ),
        },
    ),
    "cifar10": (
        "cifar_cnn",
        (3, 32),
        50000,
        {
            "conv11": lambda: nn.ConvTranspose2d(64, 3, 3, padding=1),
            "relu22": lambda: nn.Sequential(
                nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1, output_padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(64, 3, 3, padding=1),
            ),
            "relu32": lambda: nn.Sequential(
                nn.ConvTranspose2d(128, 128, 3, stride=2, padding=1, output_padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1, output_padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(64, 3, 3, padding=1),
            ),
        },
    ),
}

#: What each adversary's recipe is made of: inverse networks, imitated edges, descents.
PARTS = {
    "white-box": (0, 0, 1),
    "black-box, same set": (1, 0, 0),
    "black-box, same distribution": (1, 0, 0),
    "black-box, random set": (1, 0, 0),
    "black-box, edge rebuilt": (0, 1, 1),
    "query-free, same set, same net": (0, 1, 1),
    "query-free, other set, same net": (0, 1, 1),
    "query-free, same set, other net": (0, 1, 1),
    "query-free, other set, other net": (0, 1, 1),
}


def step_seconds(loss: Callable[[], Tensor], parameters: Iterable[Tensor]) -> float:
    """Return the median seconds of a step of their optimizer."""
    optimizer = torch.optim.Adam(parameters, 1e-3, eps=1e-3, amsgrad=True)
    rounds = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        for _ in range(TIMED):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        rounds.append((time.perf_counter() - began) / TIMED)
    return statistics.median(rounds[1:])  # the first round allocates


def theirs(table: str, name: str) -> float:
    """Return the seconds of their whole recipe for ten pictures at one cut."""
    model, (channels, side), pictures, networks = TABLES[table]
    shape = (channels, side, side)
    network = catalog.load("classifier", model)()
    target = Normalized(network, (0.5,) * channels, (0.5,) * channels).eval()
    edge = cut(target, name, shape)
    cloud = Cloud(edge, shape)
    images, labels = torch.rand(BATCH, *shape), torch.randint(10, (BATCH,))
    with torch.no_grad():
        messages = edge(images)
    inverse = networks[name]()
    decoding = step_seconds(
        lambda: (inverse(messages) - images).square().mean(), inverse.parameters()
    )
    shadow = [one.requires_grad_() for one in edge.parameters()]
    imitating = step_seconds(lambda: F.cross_entropy(cloud(edge(images)), labels), shadow)
    edge.requires_grad_(False)
    x = torch.full((1, *shape), 0.5, requires_grad=True)
    descending = step_seconds(lambda: (edge(x) - messages[:1]).square().mean(), [x])
    steps = EPOCHS * pictures // BATCH
    inverses, imitations, descents = (sum(column) for column in zip(*PARTS.values(), strict=True))
    training = steps * (inverses * decoding + imitations * imitating)
    return float(training + descents * DESCENT * PICTURES * descending)


def main() -> None:
    """Print seconds a picture for every column that has results."""
    print(f"{torch.get_num_threads()} threads; seconds a picture and adversary")
    print("| table | cut | theirs | ours | ratio |\n|---|---|---|---|---|")
    total = [0.0, 0.0]
    for name, (*_, networks) in TABLES.items():
        file = RESULTS / f"{name}.json"
        if not file.is_file():
            continue
        table = Table.model_validate_json(file.read_text())
        for place in networks:
            rows = [one for one in table.rows if one.cut == place and one.adversary in PARTS]
            rebuilt = sum(one.scores["psnr"].n * len(one.seeds) for one in rows if one.seeds)
            if not rebuilt or any(not one.seeds for one in rows):
                continue
            ours = sum(one.seconds for one in rows) / rebuilt
            reference = theirs(name, place) / (PICTURES * len(PARTS))
            total = [total[0] + reference, total[1] + ours]
            print(f"| {name} | {place} | {reference:.1f} | {ours:.3f} | {reference / ours:.0f} |")
    print(f"| all | | {total[0]:.1f} | {total[1]:.3f} | {total[0] / total[1]:.0f} |")


if __name__ == "__main__":
    main()
