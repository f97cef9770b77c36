"""How far below the best attack does the certificate of calibrated noise lie?

    SAFELIGHT_DATA=DATA python benchmarks/certificate_gap.py [SEEDS] [RESULTS]

Prints the tables of docs/defenses/fisher-noise.md: the shipped LeNet at its second ReLU, messages
under Gaussian noise whose one deviation is calibrated on public pictures to a mean dFIL, seeds 1 to
SEEDS (3). First on pictures drawn from the Gaussian prior that the bound is about, where it holds
and no attack may err less; then on digits, where it need not hold, and beside it the same decoder
behind noise that is calibrated to each picture (one seed). What is measured is added to the file
RESULTS, if named, and taken from there when the benchmark is run again.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from safelight.attacks.inversion.decoder import Decoder, InverseNetwork, rebuild, train_inverse
from safelight.bounds.cramer_rao import GaussianPrior, bayes_bound, fit_prior
from safelight.bounds.fisher import Noise, mean_gram, trace
from safelight.cache import Cache
from safelight.controls.nulls import NULLS
from safelight.data.roles import Roles, deal
from safelight.defenses.fisher_noise import FisherNoise
from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.metrics.image import mse, ssim
from safelight.plan.plan import DataPlan, RolePlan, TargetPlan
from safelight.stats.intervals import bootstrap_mean
from safelight.stats.seeds import Seeds
from safelight.targets.load import load_target
from safelight.targets.release import Release, Scale
from safelight.threats.observation import Link, Needs, Secret, observe
from safelight.threats.split_inference import SplitInference

#: 1 / dFIL, the mean squared error per pixel of the best unbiased attacker.
TARGETS = (0.01, 0.1, 1.0)
VICTIMS, PUBLIC, DRAWS = 500, 10_000, 48

#: Of the searches, chosen on draws of the prior that are not among the victims.
CLIMB, CLIMBED, MOMENTUM = 0.15, 60, 0.9
STRIDE, FRICTION, WALKED, WARMED = 0.45, 0.1, 260, 40

#: What chooses the deviation: the mean over pictures, or each picture.
NOISE = ("mean", "picture")

#: In both worlds; on digits it is the attack as it comes.
SMALL = Decoder(steps=300, width=8, blocks=2)
LARGE = Decoder(steps=300, width=16, blocks=2)


@dataclass(frozen=True)
class World:
    """The watched network, whose pictures, and what the attacker takes for their distribution."""

    edge: nn.Module
    cloud: nn.Module
    roles: Roles
    prior: GaussianPrior
    gram: Tensor
    trace: float

    def deviation(self, target: float) -> float:
        """Return s with E tr(J'J) / (d s^2) = 1 / target."""
        return math.sqrt(self.trace / self.roles.victims.images[0].numel() * target)


def world() -> World:
    """Load network and pictures; measure the edge."""
    data = DataPlan(
        source="mnist",
        public=RolePlan(split=f"train[:{PUBLIC}]"),
        victims=RolePlan(split="test", count=VICTIMS),
        holdout=RolePlan(split="test", count=VICTIMS),
    )
    roles = deal(data)
    target = load_target(
        TargetPlan(model="lenet", weights="shipped"), roles, torch.device("cpu"), Cache()
    )
    edge, cloud = SplitInference(cut="relu2").parts(target, roles.victims.shape)
    prior = fit_prior(roles.public.images)
    drawn = prior.draw(DRAWS // 2, Seeds(0, ("preconditioner",)))
    traces = trace(edge, roles.public.images[:500], 32, Seeds(0, ("calibration",))).value
    return World(edge, cloud, roles, prior, mean_gram(edge, drawn), float(traces.mean()))


class Posterior:
    """The density of pictures given noisy messages, up to a constant, under a Gaussian prior.

    Searches move by M = (E[J'J] / s^2 + P)^-1, the matrix whose trace is the bound: in its units
    the density is about as wide in every direction.
    """

    def __init__(self, own: World, messages: Tensor, s: float) -> None:
        self.edge, self.messages, self.s = own.edge, messages, s
        root = torch.linalg.cholesky(own.prior.covariance)
        inner = root.T @ own.gram @ root / s**2
        inner.diagonal().add_(1)
        half = torch.linalg.solve_triangular(torch.linalg.cholesky(inner), root.T, upper=False)
        self.half, self.moved = half.float(), (half.T @ half).float()
        self.precision = torch.cholesky_inverse(root).float()
        self.mean = own.prior.mean.float()

    def slope(self, x: Tensor) -> Tensor:
        """Return the gradient of |f(x) - z|^2 / 2 s^2 + (x - m)' P (x - m) / 2 at x [n, d]."""
        with torch.enable_grad():
            pictures = x.reshape(-1, *self.mean.shape).requires_grad_()
            misfit = (self.edge(pictures) - self.messages).square().sum() / (2 * self.s**2)
            (back,) = torch.autograd.grad(misfit, pictures)
        return back.flatten(1) + (x - self.mean.flatten()) @ self.precision

    def peak(self, start: Tensor) -> Tensor:
        """Climb to the most likely pictures [n, d]: the maximum a posteriori."""
        x, move = start, torch.zeros_like(start)
        for _ in range(CLIMBED):
            move = MOMENTUM * move - CLIMB * self.slope(x.clone()) @ self.moved
            x = x + move
        return x

    def walk(self, start: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the mean of the pictures [n, d] met on a random walk, and the last one.

        Underdamped Langevin dynamics, split as B A O A B (Leimkuhler and Matthews 2013).
        """
        keep = math.exp(-FRICTION)
        lost = math.sqrt(1 - keep**2)

        def kick() -> Tensor:
            return torch.randn(start.shape, generator=draw) @ self.half

        x, speed, total = start, kick(), torch.zeros_like(start)
        force = self.slope(x.clone()) @ self.moved
        for step in range(WALKED):
            x = x + STRIDE / 2 * (speed := speed - STRIDE / 2 * force)
            x = x + STRIDE / 2 * (speed := keep * speed + lost * kick())
            force = self.slope(x.clone()) @ self.moved
            speed = speed - STRIDE / 2 * force
            total += x if step >= WARMED else 0
        return total / (WALKED - WARMED), x


def noisy(clean: Tensor, s: float, seeds: Seeds) -> Tensor:
    """Return messages under fresh noise."""
    draw = torch.Generator().manual_seed(seeds.integer())
    return clean + s * torch.randn(clean.shape, generator=draw)


@torch.no_grad()
def sent(edge: nn.Module, pictures: Tensor) -> Tensor:
    """Return the messages of pictures."""
    return torch.cat([edge(part) for part in pictures.split(500)])


def linear(x: Tensor, clean: Tensor, s: float, heard: Tensor) -> Tensor:
    """Return the best linear guess: covariances of pictures and messages, the noise's added."""
    z, flat = clean.flatten(1).double(), x.flatten(1).double()
    middle = z.mean(0)
    z = z - middle
    own = z.T @ z / len(z)
    own.diagonal().add_(s**2)
    weights = torch.linalg.solve(own, z.T @ (flat - flat.mean(0)) / len(z))
    return (flat.mean(0) + (heard.flatten(1).double() - middle) @ weights).float()


def learned(x: Tensor, clean: Tensor, s: float, heard: Tensor, seeds: Seeds) -> Tensor:
    """Return what an inverse network sees that was trained on noisy messages of draws.

    The attack's own network; its training is for pictures in [0, 1], which draws may leave.
    """
    torch.manual_seed(seeds.child("network").integer() % 2**31)
    network = InverseNetwork(tuple(clean.shape[1:]), (1, 28, 28), SMALL)
    network.mean.copy_(clean.mean((0, 2, 3)))
    network.std.copy_((clean.var((0, 2, 3)) + s**2).sqrt())
    rate = SMALL.learning_rate
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, SMALL.steps + 1, pct_start=0.1)
    draw = torch.Generator().manual_seed(seeds.child("lessons").integer())
    for _ in range(SMALL.steps):
        rows = torch.randint(0, len(x), (SMALL.batch_size,), generator=draw)
        z = clean[rows]
        z = z + s * torch.randn(z.shape, generator=draw)
        loss = (network(z) - x[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return network(heard).flatten(1)


def under_the_prior(own: World, target: float, seed: int) -> dict[str, list[float]]:
    """Return each attack's squared error per pixel on 500 pictures drawn from the prior."""
    seeds, s = Seeds(seed, (str(target),)), own.deviation(target)
    truth = own.prior.draw(VICTIMS, seeds.child("victims"))
    heard = noisy(sent(own.edge, truth), s, seeds.child("noise"))
    lessons = own.prior.draw(PUBLIC, seeds.child("lessons"))
    clean = sent(own.edge, lessons)
    guess = linear(lessons, clean, s, heard)
    posterior = Posterior(own, heard, s)
    peak = posterior.peak(guess)
    draw = torch.Generator().manual_seed(seeds.child("walk").integer())
    mean, last = posterior.walk(peak, draw)
    claims = {
        "prior mean": posterior.mean.flatten().expand_as(guess),
        "best linear guess": guess,
        "inverse network": learned(lessons, clean, s, heard, seeds),
        "maximum a posteriori": peak,
        "posterior mean": mean,
        "one draw of the posterior": last,
    }
    flat = truth.flatten(1)
    return {name: (claim - flat).square().mean(1).tolist() for name, claim in claims.items()}


def on_digits(own: World, target: float, seed: int, each: bool) -> dict[str, list[float]]:
    """Return the decoder's errors and likenesses on 500 digits; ``each``: noise by the picture."""
    roles = own.roles
    scale = Scale.of(sent(own.edge, roles.public.images[:500]))
    single = GaussianNoise(deviation=own.deviation(target) / scale.deviation)
    release: Release = FisherNoise(leakage=1 / target, probes=8) if each else single
    link = Link(own.edge, own.cloud, release=release, scale=scale)
    offers = Needs(messages=True, queries=True, public=True)
    with TemporaryDirectory() as folder:
        seen = observe(
            link, Secret(roles.victims), roles.public, offers, cache=Cache(Path(folder)), threat=""
        )
        network = train_inverse(LARGE, seen.restricted(LARGE.needs), Seeds(seed))
    heard = link.send(roles.victims.images, Seeds(seed, ("victims", str(target))))
    claim, truth = rebuild(network, heard), roles.victims.images
    with torch.no_grad():
        right = (own.cloud(heard).argmax(1) == roles.victims.labels).double()
    found = {"error": mse(claim, truth).tolist(), "ssim": ssim(claim, truth).tolist()}
    return found | {"right": right.tolist()}


class Results:
    """What was measured, by name; kept in a file where there is one."""

    def __init__(self, path: str) -> None:
        self.path, self.found = Path(path or "/dev/null"), {}
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        self.found = dict(map(json.loads, lines))

    def __call__(
        self, name: str, measure: Callable[[], dict[str, list[float]]]
    ) -> dict[str, list[float]]:
        """Return what was measured under that name, measuring it where it was not."""
        if name not in self.found:
            began = time.process_time()
            self.found[name] = measure()
            with self.path.open("a") as file:
                file.write(json.dumps([name, self.found[name]]) + "\n")
            print(f"{name}: {time.process_time() - began:.0f} s of one core", flush=True)
        return self.found[name]


def told(values: np.ndarray, unit: float = 1.0, digits: str = ".2f") -> str:
    """Write a mean over pictures and its 95 % interval."""
    low, high = bootstrap_mean(values / unit)
    return f"{values.mean() / unit:{digits}} ({low:{digits}} to {high:{digits}})"


def measured(own: World, results: Results, seeds: range) -> None:
    """Measure every cell, the bound's world first."""
    for target in TARGETS:

        def certificate(s: float = own.deviation(target)) -> dict[str, list[float]]:
            pictures = own.prior.draw(DRAWS, Seeds(0, ("bound",)))
            found = bayes_bound(own.edge, own.prior, Noise("gaussian", s), pictures)
            return {"bound": [found.value or 0.0, found.estimate or 0.0]}

        results(f"bound {target}", certificate)
        for seed in seeds:
            results(f"prior {target} {seed}", lambda t=target, s=seed: under_the_prior(own, t, s))
    for seed in seeds:
        for target in TARGETS:
            for each in (False, True)[: 2 if seed == seeds[0] else 1]:
                results(
                    f"digits {target} {NOISE[each]} {seed}",
                    lambda t=target, s=seed, e=each: on_digits(own, t, s, e),
                )


def best_null(own: World) -> float:
    """Return the SSIM of the best claim on the digits that reads no message."""
    truth = own.roles.victims
    scores = {
        name: float(ssim(null.claim(own.roles.public, truth), truth.images).mean())
        for name, null in NULLS.items()
        if not null.oracle
    }
    best = max(scores, key=lambda name: scores[name])
    print(f"\nbest null on digits: {best}, SSIM {scores[best]:.3f}")
    return scores[best]


def main(last: int = 3, path: str = "") -> None:
    """Measure and print both tables."""
    own, results = world(), Results(path)
    measured(own, results, range(1, last + 1))
    null, found = best_null(own), results.found
    unit = Scale.of(sent(own.edge, own.roles.public.images[:500])).deviation
    for target in TARGETS:
        bound, estimate = found[f"bound {target}"]["bound"]
        s = own.deviation(target)
        print(
            f"\n1 / dFIL = {target:g}: s = {s:.3f} ({s / unit:.2f} of the messages' deviation), "
            f"bound {bound:.5f} ({estimate:.5f} before its margin)\n"
            "| attack | error per pixel | over the bound [95%] |\n|---|---|---|"
        )
        drawn = [found[f"prior {target} {seed}"] for seed in range(1, last + 1)]
        for name in drawn[0]:
            errors = np.concatenate([one[name] for one in drawn])
            print(f"| {name} | {errors.mean():.5f} | {told(errors, bound)} |")
        for noise in NOISE:
            rows = [one for name, one in found.items() if f"digits {target} {noise} " in name]
            mean = {name: np.mean([one[name] for one in rows], axis=0) for name in rows[0]}
            gain = told(mean["ssim"] - null, digits="+.3f")
            print(
                f"| digits, decoder, noise by {noise}, seeds: {len(rows)} "
                f"| {mean['error'].mean():.5f} | {told(mean['error'], bound)} "
                f"| SSIM gain {gain} | right {mean['right'].mean():.1%} |"
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int((sys.argv[1:2] or ["3"])[0]), "".join(sys.argv[2:3]))
