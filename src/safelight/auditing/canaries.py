"""Audit a private training from what it releases: is it as private as it says?

Nothing of the training is looked into: it is called like any other, and only the final weights are
read. Three questions, each of which catches what the others cannot see.

Sensitivity: trained for one step without noise, how far does one loud picture move the weights?
Sampling: in steps without noise, do batches vary in size as batches of independent coins do?
Noise: trained as it is, do canaries that were in by a fair coin stand out more than promised?

A canary is a picture that the network answers through a weight of its own, so that what it adds to
the sum of gradients is read off that weight, and clipping has cut it to the largest that is
allowed: the strongest canary there is (Nasr et al. 2021, 2023; Steinke et al. 2023).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2, norm
from torch import Tensor, nn

from safelight.bounds.one_run_audit import OneRunAudit
from safelight.bounds.one_run_audit import audit as one_run
from safelight.bounds.two_run_audit import Mu
from safelight.data.images import ImageSet
from safelight.plan.plan import FitPlan
from safelight.stats.seeds import Seeds
from safelight.targets.target import Normalized
from safelight.targets.untrained import same_structure

#: Trains a model in place at a noise multiplier, and returns facts; ``DPSGD.train`` is one, with
#: ``dataclasses.replace(defense, noise=...)`` before it.
Train = Callable[[float, Normalized, ImageSet, FitPlan], dict[str, Any]]

#: How many times the clipping bound a canary's gradient is, at least: without clipping it shows.
LOUD = 20.0

#: Learning rate of the audit, so small that a canary's weight does not change what it answers.
RATE = 1e-3

#: Noise that is none beside a clipped gradient, which training at 0 might refuse.
SILENT = 1e-6

#: A sound training is called unsound this seldom, by each question.
ERROR = 0.001


@dataclass(frozen=True)
class Claim:
    """What a training says of itself: DP-SGD's options, and what they come to."""

    epsilon: float
    delta: float
    noise: float
    clip: float


@dataclass(frozen=True)
class Answer:
    """One question to a training; ``passed`` is False where it breaks its word."""

    question: str
    passed: bool
    detail: str


class Canaries(nn.Module):
    """A network, and a weight of its own for each of m canaries.

    Logits are network(x) + LOUD W e_j where x is canary j's picture, and network(x) elsewhere.

    Args:
        network: any.
        pictures: the canaries', [m, c, h, w], as the network sees them.
        classes: outputs of the network.
    """

    pictures: Tensor

    def __init__(self, network: nn.Module, pictures: Tensor, classes: int) -> None:
        super().__init__()
        self.network = network
        self.told = _Told(pictures)
        self.own = nn.Linear(len(pictures), classes, bias=False)
        nn.init.zeros_(self.own.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        answer: Tensor = self.network(x) + self.own(LOUD * self.told(x))
        return answer


class _Told(nn.Module):
    """Which canary a picture is by its pixels, one-hot; all zero for others."""

    pictures: Tensor

    def __init__(self, pictures: Tensor) -> None:
        super().__init__()
        self.register_buffer("pictures", pictures.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, m]."""
        exact = "donot_use_mm_for_euclid_dist"  # products of rows would round 0 to more than that
        return (torch.cdist(x.flatten(1), self.pictures, compute_mode=exact) < 1e-3).to(x)


def audit(
    train: Train,
    claim: Claim,
    model: Normalized,
    data: ImageSet,
    recipe: FitPlan,
    canaries: int,
    seed: int = 0,
) -> list[Answer]:
    """Ask all three questions.

    Args:
        train: the training.
        claim: what it says of itself, with this recipe on ``data`` and half of the canaries.
        model: a classifier of ``data``'s pictures; not changed.
        data: ordinary training pictures.
        recipe: expected batch size and epochs; the learning rate is the audit's own.
        canaries: how many; each is in by a fair coin.
        seed: of canaries and coins.
    """
    seeds = Seeds(seed, ("canaries",))
    recipe = recipe.model_copy(update={"learning_rate": RATE, "weight_decay": 0.0})
    answers = [
        sensitivity(train, claim, model, data, recipe, seeds.child("sensitivity")),
        sampling(train, claim, model, data, recipe, seeds.child("sampling")),
    ]
    found = noise(train, claim, model, data, recipe, canaries, seeds.child("noise"))
    n = len(data) + int(found.included.sum())
    promised = largest_mu(claim.noise, recipe.batch_size / n, found.steps)
    proved, mu = found.proved, found.mu
    answers.append(
        Answer(
            "Do canaries stand out no more than promised?",
            mu.low <= promised and proved.epsilon <= claim.epsilon,
            f"canaries stand out by mu = {mu.value:.3g} ({mu.low:.3g} to {mu.high:.3g}), "
            f"{promised:.3g} is promised; one run proves epsilon >= {proved.epsilon:.3g} "
            f"({proved.right} of {proved.guesses} guesses right), {claim.epsilon:.3g} is claimed",
        )
    )
    return answers


@dataclass(frozen=True)
class NoiseRun:
    """Scores of canaries after one run, [m], who was in, [m], and what that proves."""

    scores: NDArray[np.float64]
    included: NDArray[np.bool_]
    steps: int
    proved: OneRunAudit
    mu: Mu


def noise(
    train: Train,
    claim: Claim,
    model: Normalized,
    data: ImageSet,
    recipe: FitPlan,
    canaries: int,
    seeds: Seeds,
) -> NoiseRun:
    """Train once with each canary in by a fair coin, and read how much each stands out.

    With s_j = minus the weight of canary j along its gradient at the start, s_j is Gaussian about
    0 without it, and about clip x (times it was drawn) / batch with it.
    """
    rng = np.random.default_rng(seeds.integer())
    included = rng.random(canaries) < 0.5
    pictures, labels = _pictures(canaries, data, rng)
    own = ImageSet(pictures, labels, data.classes, "canaries")
    watched, network = _watched(model, own, seeds)
    inside = own.rows(torch.from_numpy(included))
    both = ImageSet(
        torch.cat([data.images, inside.images]),
        torch.cat([data.labels, inside.labels]),
        data.classes,
        data.source,
    )
    directions = _directions(watched, own)
    train(claim.noise, watched, both, recipe)
    weights = network.own.weight.detach().T
    scores = -(weights * directions).sum(1).double().numpy() / recipe.learning_rate
    guesses = [max(canaries // part, 2) for part in (20, 10, 5, 2)]
    proved = one_run(scores, included, guesses, claim.delta, 1 - ERROR)
    steps = max(round(recipe.epochs * len(both) / recipe.batch_size), 1)
    mu = _stand_out(scores[included], scores[~included])
    return NoiseRun(scores, included, steps, proved, mu)


def _stand_out(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> Mu:
    """Return by how many deviations of canaries that were out those that were in lie above.

    mu = (mean in - mean out) / s_out (Glass 1976): s_out is the noise alone, while scores of those
    that were in vary with how often they were drawn as well. To first order its variance is
    (s_in / s_out)^2 / m + 1 / n + mu^2 / 2 (n - 1).
    """
    m, n = inside.size, outside.size
    spread = max(float(outside.std(ddof=1)), 1e-30)
    mu = float(inside.mean() - outside.mean()) / spread
    ratio = float(inside.std(ddof=1)) / spread
    off = float(norm.isf(ERROR)) * sqrt(ratio**2 / m + 1 / n + mu**2 / (2 * (n - 1)))
    return Mu(mu, mu - off, mu + off)


def largest_mu(noise: float, rate: float, steps: int) -> float:
    """Return the most by which a canary's score may stand out, in its deviations without it.

    The canary adds clip in a Poisson number of steps, about rate x steps, and the noise has
    deviation noise x clip in each: mu = rate x steps / (noise sqrt(steps)).
    """
    return rate * sqrt(steps) / noise if noise > 0 else float("inf")


def sensitivity(
    train: Train, claim: Claim, model: Normalized, data: ImageSet, recipe: FitPlan, seeds: Seeds
) -> Answer:
    """Leave a loud picture out and see how the sum of gradients of one noiseless step changes.

    The sum is (w - w') batch / learning rate. No other picture's gradient may change, so that the
    two sums differ by the picture's own, which is clipped: by clip at most.
    """
    rng = np.random.default_rng(seeds.integer())
    few = data.rows(torch.arange(min(len(data), 3)))  # the fewer, the more one changes the rest
    pictures, labels = _pictures(1, data, rng)
    own = ImageSet(pictures, labels, data.classes, "a canary")
    more = ImageSet(
        torch.cat([few.images, own.images]),
        torch.cat([few.labels, own.labels]),
        few.classes,
        few.source,
    )
    sums = []
    for given in (few, more):
        watched, network = _watched(model, own, seeds)
        before = _flat(network)
        # A large step: what float32 rounds off a weight is then small beside it.
        step = {"batch_size": len(given), "epochs": 1, "learning_rate": 1.0}
        train(SILENT, watched, given, recipe.model_copy(update=step))
        sums.append((before - _flat(network)) * len(given))
    moved = float((sums[0] - sums[1]).norm()) / claim.clip
    noise = SILENT * sqrt(2 * sums[0].numel())
    return Answer(
        "Does one picture move the model no further than its clipped gradient?",
        moved <= 1 + 2e-3 + 3 * noise,
        f"one loud picture changed the sum of gradients by {moved:.4g} times the clipping bound",
    )


def sampling(
    train: Train,
    claim: Claim,
    model: Normalized,
    data: ImageSet,
    recipe: FitPlan,
    seeds: Seeds,
    runs: int = 24,
) -> Answer:
    """Count how often pictures were drawn in several runs of one epoch, all of them canaries.

    Sizes of Poisson-sampled batches vary like Binomial(n, q); those of shuffled or fixed-size ones
    do not vary at all, and have another privacy than the accountant counts. Tested by the index of
    dispersion over runs, sum (b - T n q)^2 / T n q (1 - q) ~ chi^2(runs), b the pictures drawn in
    all T steps.
    """
    rng = np.random.default_rng(seeds.integer())
    n, size = 64, 16
    pictures, labels = _pictures(n, data, rng)
    own = ImageSet(pictures, labels, data.classes, "canaries")
    counts = []
    for number in range(runs):
        watched, network = _watched(model, own, seeds)
        directions = _directions(watched, own)
        step = recipe.model_copy(
            update={"batch_size": size, "epochs": 1, "seed": recipe.seed + number}
        )
        train(SILENT, watched, own, step)
        weights = network.own.weight.detach().T
        moved = -(weights * directions).sum(1) / recipe.learning_rate * size / claim.clip
        counts.append(float(moved.round().clamp_min(0).sum()))
    steps = n // size
    expected, variance = steps * size, steps * size * (1 - size / n)
    dispersion = float(((np.array(counts) - expected) ** 2).sum() / variance)
    low, high = chi2.ppf([ERROR / 2, 1 - ERROR / 2], runs)
    return Answer(
        "Do batches vary in size as independent coins make them?",
        bool(low <= dispersion <= high),
        f"over {runs} epochs of {n} canaries, the number drawn has {dispersion / runs:.3g} times "
        f"the variance of Poisson sampling ({low / runs:.3g} to {high / runs:.3g} would do)",
    )


def _pictures(count: int, data: ImageSet, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw pictures of noise with random classes: nothing else in the data looks like them."""
    pictures = torch.from_numpy(rng.random((count, *data.shape)).astype(np.float32))
    return pictures, torch.from_numpy(rng.integers(0, len(data.classes), count))


def _watched(model: Normalized, canaries: ImageSet, seeds: Seeds) -> tuple[Normalized, Canaries]:
    """Return a fresh copy of the model that has a weight for each canary."""
    fresh: Any = same_structure(model, seeds.integer() % 2**31)
    seen = (canaries.images - fresh.mean) / fresh.std
    network = Canaries(fresh.network, seen, len(canaries.classes))
    mean, std = (tuple(one.flatten().tolist()) for one in (fresh.mean, fresh.std))
    return Normalized(network, mean, std), network


def _flat(network: nn.Module) -> Tensor:
    every: list[Tensor] = [one.detach().flatten().clone() for one in network.parameters()]
    return torch.cat(every)


@torch.no_grad()
def _directions(watched: Normalized, canaries: ImageSet) -> Tensor:
    """Return the unit directions in which each canary's loss pushes its weight, [m, classes]."""
    watched.eval()
    said = torch.cat([watched(part) for part in canaries.images.split(200)]).softmax(1)
    push: Tensor = said - torch.nn.functional.one_hot(canaries.labels, said.shape[1])
    return torch.nn.functional.normalize(push)
