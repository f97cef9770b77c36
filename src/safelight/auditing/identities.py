"""Which person is shown? Score pictures that were rebuilt from nothing but a person's class.

The judge compares a claim with pictures of everybody that the attacked model was not trained on,
and never asks that model: pictures that it takes for somebody need not look like them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safelight.data.images import ImageSet
from safelight.errors import DataError
from safelight.record.record import Measurement
from safelight.stats.intervals import clopper_pearson
from safelight.stats.seeds import Seeds

#: What is left of a claim, beside brightness and the mean face, is nothing below this share of its
#: norm: pixels are float32, whose rounding leaves 1e-7; a level of 8 bits in each is 1e-3.
NOTHING = 1e-5

#: Dealings of the claims to persons at random. The smallest p-value is 1 / 10,001.
DEALINGS = 10_000

LEVEL = 0.95


@dataclass(frozen=True)
class Identified:
    """Whether claims show the persons that they are meant to show.

    ``share``: who is ranked first, persons being the units. ``place``: the mean over persons of
    (rank - 1) / (persons - 1), 0 is first and 1 last. ``p``: how often claims that are dealt
    to persons at random name as many, or more.
    """

    share: Measurement
    place: float
    p: float


def likeness(claims: Tensor, shown: ImageSet) -> Tensor:
    """How much claims [k, c, h, w] look like each person's most similar picture, [k, persons].

    The correlation of pixels, given brightness and the mean face: both are projected out of the
    claim and of every picture. So it does not matter how much of them a claim holds, and a claim
    of nothing else is like nobody (0). The mean face gives every person the same weight.

    Raises:
        DataError: somebody has no picture to be recognized by.
    """
    people = len(shown.classes)
    counts = torch.bincount(shown.labels, minlength=people)
    if (counts == 0).any():
        name = shown.classes[int((counts == 0).nonzero()[0])]
        raise DataError(f"there is no picture of {name!r} to recognize a claim by; add one")
    pictures = shown.images.flatten(1).double()
    mean = (pictures / counts[shown.labels, None]).sum(0) / people
    known, _ = torch.linalg.qr(torch.stack([torch.ones_like(mean), mean], 1))

    def peculiar(flat: Tensor) -> Tensor:
        left = flat - flat @ known @ known.T
        size = left.norm(dim=1, keepdim=True)
        there = size > NOTHING * flat.norm(dim=1, keepdim=True)
        return torch.where(there, left / size.clamp_min(1e-300), 0.0)

    alike = peculiar(claims.flatten(1).double()) @ peculiar(pictures).T
    best = alike.new_full((len(alike), people), -1.0)
    return best.scatter_reduce(1, shown.labels.expand(len(alike), -1), alike, "amax")


def ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """Rank of each claim's own person among all, [k], 1 is named.

    Args:
        scores: [k, persons], higher for more alike.
        labels: [k], the persons that the claims are meant to show.

    Chance: 1 / persons is named. Ties, and scores that are no numbers, count against the attacker.
    """
    own = scores.gather(1, labels[:, None])
    others = ~(scores < own)
    others.scatter_(1, labels[:, None], False)
    return others.sum(1) + 1


def identified(scores: Sequence[Tensor], seed: int = 0) -> Identified:
    """Measure who is named by the claims of one or more models.

    Args:
        scores: one [persons, persons] matrix a repetition; row k scores the claim for person k.
        seed: of the dealings.

    Persons are the units, not claims: repetitions on the same persons are averaged first, and all
    are dealt alike.
    """
    table = torch.stack(list(scores)).cpu()
    repetitions, people, _ = table.shape
    every = torch.arange(people)
    rank = torch.stack([ranks(one, every) for one in table])
    named = float((rank == 1).double().mean(0).sum())
    low, high = clopper_pearson(named, people, LEVEL)
    share = Measurement(
        value=named / people,
        low=low,
        high=high,
        level=LEVEL,
        n=people,
        seeds=repetitions,
        chance=1 / people,
        worse="higher",
        unit="share",
    )
    lucky = named_by_chance(table, seed)
    p = (1 + int((lucky >= named - 1e-9).sum())) / (1 + len(lucky))
    return Identified(share, float((rank - 1).double().mean() / max(people - 1, 1)), p)


def named_by_chance(scores: Tensor, seed: int = 0) -> NDArray[np.float64]:
    """How many persons are named if claims are dealt to them at random, [DEALINGS]: the null.

    ``scores``: [repetitions, persons, persons]. What the claims look like stays as it is, so a
    person whom every claim resembles is named no more often than once.
    """
    first = np.zeros(scores.shape[1:])
    for person in range(scores.shape[2]):
        labels = torch.full((scores.shape[1],), person)
        for one in scores:
            first[:, person] += (ranks(one, labels) == 1).numpy() / len(scores)
    rng = np.random.default_rng(seed)
    people = np.arange(scores.shape[2])
    return np.array([first[rng.permutation(people), people].sum() for _ in range(DEALINGS)])


def mislabeled(pictures: ImageSet, seeds: Seeds) -> ImageSet:
    """Return pictures whose labels are dealt anew: the negative control is trained on them.

    A class of that model is no person, so what is rebuilt of it must name nobody.
    """
    draw = torch.Generator().manual_seed(seeds.integer())
    order = torch.randperm(len(pictures), generator=draw).to(pictures.labels.device)
    return ImageSet(
        pictures.images, pictures.labels[order], pictures.classes, f"{pictures.source}, mislabeled"
    )


class Templates(nn.Module):
    """A classifier that leaks what every class looks like: the positive control.

    Pictures [n, c, h, w] -> logits [n, classes], the product with each class's mean picture
    less the mean of all, of length one, times ``gain``. Its weights are those pictures.
    """

    weight: Tensor
    mean: Tensor

    def __init__(self, pictures: ImageSet, gain: float = 10.0) -> None:
        super().__init__()
        flat, classes = pictures.images.flatten(1), len(pictures.classes)
        means = torch.stack([flat[pictures.labels == one].mean(0) for one in range(classes)])
        mean = means.mean(0)
        away = means - mean
        self.gain = gain
        self.register_buffer("weight", away / away.norm(dim=1, keepdim=True))
        self.register_buffer("mean", mean)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return torch.as_tensor(self.gain * (x.flatten(1) - self.mean) @ self.weight.T)
