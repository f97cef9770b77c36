"""What the evaluation of He, Zhang and Lee (2019) hides, each flaw by itself on trained networks.

    SAFELIGHT_DATA=DATA python benchmarks/he_2019_flaws.py

Prints the tables of docs/findings/split-inference.md. Their search is theirs (no box, mean over
the batch); only what a table names is changed. Without SAFELIGHT_DATA the pictures are fetched
from the hub. Everything is chosen on public pictures, never on victims.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.data.roles import Roles, deal
from safelight.metrics.image import psnr, ssim
from safelight.plan.plan import DataPlan, RolePlan, TargetPlan
from safelight.stats.intervals import bootstrap_mean
from safelight.targets.load import load_target
from safelight.targets.target import Target
from safelight.threats.split_inference import SplitInference

VICTIMS = 30
TUNED_ON = 10
STEPS = 300
SMOOTHNESS = (0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class World:
    """A trained network, pictures in their roles, and the edge up to one cut."""

    name: str
    target: Target
    roles: Roles
    cut: str

    def edge(self) -> nn.Module:
        """Return the edge."""
        with TemporaryDirectory() as folder:
            threat = SplitInference(cut=self.cut, knows="weights")
            seen, _ = threat.meet(self.target, self.roles, torch.device("cpu"), Cache(Path(folder)))
        return seen.edge


@dataclass(frozen=True)
class Search:
    """Adam on the pictures' distance in the message space, as one recipe or another runs it."""

    eps: float = 1e-8
    learning_rate: float = 1e-2
    steps: int = STEPS
    smoothness: float = 0.0
    batch_size: int = VICTIMS
    mean_over_batch: bool = False
    unit_variance: bool = True
    amsgrad: bool = False

    def __call__(
        self, edge: nn.Module, messages: Tensor, shape: Sequence[int], mask: Tensor | None = None
    ) -> Tensor:
        """Return pictures [n, *shape] whose messages, where ``mask`` is 1, are those given."""
        mask = torch.ones_like(messages) if mask is None else mask
        unit = messages.var() if self.unit_variance else 1.0
        claims = []
        for z, m in zip(messages.split(self.batch_size), mask.split(self.batch_size), strict=True):
            x = torch.full((len(z), *shape), 0.5, requires_grad=True)
            optimizer = torch.optim.Adam(
                [x], self.learning_rate, eps=self.eps, amsgrad=self.amsgrad
            )
            for _ in range(self.steps):
                off = (m * (edge(x) - z)).square().flatten(1).sum(1) / unit
                each = off / m.flatten(1).sum(1) + self.smoothness * _roughness(x)
                loss = each.mean() if self.mean_over_batch else each.sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            claims.append(x.detach().clamp(0, 1))
        return torch.cat(claims)


def _roughness(x: Tensor) -> Tensor:
    down = (x[..., 1:, :] - x[..., :-1, :]).square().flatten(1).mean(1)
    right = (x[..., :, 1:] - x[..., :, :-1]).square().flatten(1).mean(1)
    return down + right


def world(name: str, model: str, public: int, cut: str) -> World:
    """Load a shipped network and its pictures."""
    data = DataPlan(
        source=name,
        private=RolePlan(split=f"train[{public}:]"),
        public=RolePlan(split=f"train[:{public}]"),
        victims=RolePlan(split=f"test[:{VICTIMS}]"),
        holdout=RolePlan(split=f"test[{VICTIMS}:]"),
    )
    roles = deal(data)
    plan = TargetPlan(model=model, weights="shipped")
    target = load_target(plan, roles, torch.device("cpu"), Cache())
    return World(f"{name} {cut}", target, roles, cut)


def spread(values: Tensor, digits: int) -> str:
    """Write a mean and its 95 % interval over pictures."""
    low, high = bootstrap_mean(values.double().numpy())
    return f"{values.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def scores(claim: Tensor, truth: Tensor) -> str:
    """Write PSNR and SSIM."""
    return f"{spread(psnr(claim, truth), 1)} | {spread(ssim(claim, truth), 3)}"


def epsilon(worlds: Sequence[World]) -> None:
    """Change Adam's epsilon and nothing else in the published search."""
    print("\n## Adam's epsilon\n\n| cut | eps | steps | PSNR dB | SSIM |\n|---|---|---|---|---|")
    for one in worlds:
        edge, victims = one.edge(), one.roles.victims
        messages = edge(victims.images).detach()
        for eps, steps in ((1e-3, STEPS), (1e-3, 5 * STEPS), (1e-8, STEPS), (1e-12, STEPS)):
            search = Search(eps=eps, steps=steps, unit_variance=False, amsgrad=True)
            claim = search(edge, messages, victims.shape)
            print(
                f"| {one.name} | {eps:g} | {steps} | {scores(claim, victims.images)} |", flush=True
            )


def batching(one: World) -> None:
    """Change the number of pictures that share one loss."""
    print("\n## Batching\n\n| eps | batch | loss over it | PSNR dB | SSIM |\n|---|---|---|---|---|")
    edge, victims = one.edge(), one.roles.victims
    messages = edge(victims.images).detach()
    published = Search(unit_variance=False, amsgrad=True)
    for eps in (1e-3, 1e-12):
        for size, mean in ((1, True), (VICTIMS, True), (VICTIMS, False)):
            search = dataclasses.replace(published, eps=eps, batch_size=size, mean_over_batch=mean)
            claim = search(edge, messages, victims.shape)
            how = "mean" if mean else "sum"
            print(f"| {eps:g} | {size} | {how} | {scores(claim, victims.images)} |", flush=True)


def own_range(one: World) -> None:
    """Score flat claims in the range of the claim and in that of pictures."""
    print("\n## SSIM's range\n\n| claim | PSNR dB | SSIM, own range | SSIM, range 1 |")
    print("|---|---|---|---|")
    truth = one.roles.victims.images
    average = one.roles.public.images.mean(0).expand_as(truth)
    flat = truth.mean((2, 3), keepdim=True).expand_as(truth)
    for name, claim in {
        "the victim, contrast a tenth": flat + 0.1 * (truth - flat),
        "the victim, contrast a half": flat + 0.5 * (truth - flat),
        "mean public picture": average,
        "mean public picture, contrast a tenth": 0.5 + 0.1 * (average - 0.5),
    }.items():
        both = (ssim(claim, truth, own_range=True), ssim(claim, truth))
        written = " | ".join(spread(value, 3) for value in both)
        print(f"| {name} | {spread(psnr(claim, truth), 1)} | {written} |", flush=True)


def dropout(one: World, rates: Sequence[float], steps: int) -> None:
    """Drop numbers of the message, unscaled, and attack with and without ignoring zeros."""
    print(
        f"\n## Dropout at {one.name}\n\n| rate | accuracy | attack | PSNR dB | SSIM "
        "| SSIM, own range |\n|---|---|---|---|---|---|"
    )
    edge, victims = one.edge(), one.roles.victims
    own = one.roles.public.images[:TUNED_ON]
    before = _accuracy(one, 0.0)
    for rate in rates:
        accuracy = _accuracy(one, rate)
        sent = _dropped(edge(victims.images).detach(), rate, seed=0)
        trial = _dropped(edge(own).detach(), rate, seed=1)
        for ignore in (False, True) if rate else (False,):
            found = _search_sent(edge, own, trial, sent, ignore, steps)
            print(
                f"| {rate:g} | {accuracy:.2%} ({accuracy - before:+.2%}) "
                f"| {'zeros ignored' if ignore else 'unaware'} "
                f"| {scores(found, victims.images)} "
                f"| {spread(ssim(found, victims.images, own_range=True), 3)} |",
                flush=True,
            )


def _search_sent(
    edge: nn.Module, own: Tensor, trial: Tensor, sent: Tensor, ignore: bool, steps: int
) -> Tensor:
    """Search with the smoothness that does best on the adversary's own pictures."""

    def claim(messages: Tensor, smoothness: float) -> Tensor:
        search = Search(learning_rate=0.05, smoothness=smoothness, steps=steps)
        return search(
            edge, messages, own.shape[1:], (messages != 0).to(messages) if ignore else None
        )

    best = max(SMOOTHNESS, key=lambda weight: float(ssim(claim(trial, weight), own).mean()))
    return claim(sent, best)


def _dropped(messages: Tensor, rate: float, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return messages * (torch.rand(messages.shape, generator=draw) >= rate)


def _accuracy(one: World, rate: float) -> float:
    """Return the accuracy on the holdout with dropout where the message leaves."""
    draw = torch.Generator().manual_seed(2)

    def drop(module: nn.Module, given: object, out: Tensor) -> Tensor:
        return out * (torch.rand(out.shape, generator=draw) >= rate)

    layer = dict(one.target.model.named_modules())[f"network.{one.cut}"]
    handle = layer.register_forward_hook(drop)
    try:
        return _share_right(one.target.model, one.roles.holdout)
    finally:
        handle.remove()


def _share_right(model: nn.Module, pictures: ImageSet) -> float:
    right = 0
    with torch.no_grad():
        for images, labels in zip(
            pictures.images.split(500), pictures.labels.split(500), strict=True
        ):
            right += int((model(images).argmax(1) == labels).sum())
    return right / len(pictures)


def main() -> None:
    """Print every table."""
    conv1, relu2 = (world("mnist", "lenet", 30000, cut) for cut in ("conv1", "relu2"))
    conv11, relu22 = (world("cifar10", "cifar_cnn", 10000, cut) for cut in ("conv11", "relu22"))
    print(f"{VICTIMS} test pictures, intervals 95 %, {torch.get_num_threads()} threads")
    epsilon([conv1, relu2, conv11])
    batching(conv1)
    own_range(conv11)
    dropout(relu2, (0.0, 0.2, 0.4, 0.6, 0.8), STEPS)
    dropout(relu22, (0.0, 0.2, 0.4, 0.6), STEPS // 2)  # each step costs 300 times as much


if __name__ == "__main__":
    main()
