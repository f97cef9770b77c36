"""Gradient reconstruction: search for the picture to which a shadow gives the victim's answer."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.catalog import Reference
from safelight.errors import PlanError
from safelight.metrics.image import ssim
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation

#: The study that inverts answers through a shadow model, whose answers are not the target's.
SHADOW_RECONSTRUCTIONS = Reference(
    key="thielen2024",
    authors="Thielen, P.",
    title="Shadow Reconstructions",
    year=2024,
    venue="Bachelor thesis, Eindhoven University of Technology",
    url="https://github.com/forcept007/Shadow_Reconstruction",
)

#: Added to every covariance, in units of its mean variance: directions in which hardly anything
#: moves are not stretched.
RIDGE = 0.05

#: How many answers per number of an answer a borrowed covariance counts for.
BORROWED = 5


@dataclass(frozen=True, kw_only=True)
class Imitation:
    """How a shadow model is trained.

    Attributes:
        steps: optimizer steps.
        batch_size: public pictures a step.
        learning_rate: peak of the one-cycle schedule.
        precision: of the passes; ``bfloat16`` is faster where the hardware has it.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    steps: Count = 600
    batch_size: Count = 64
    learning_rate: Positive = 3e-3
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of one shadow."""
        edge = seen.untrained_edge(Seeds(0))
        return 3 * self.steps * self.batch_size * forward_flops(edge, seen.public.images[:1])

    def train(self, seen: SplitObservation, rows: Tensor, seeds: Seeds) -> nn.Module:
        """Return an edge trained on some public pictures by the cross-entropy behind the cloud."""
        work: dict[str, Any] = {"imitation": dataclasses.asdict(self), "rows": rows.tolist()}
        work["seed"] = seeds.integer()
        edge = seen.untrained_edge(seeds)
        edge.load_state_dict(seen.remember(work, lambda: self._fit(seen, rows, seeds)))
        return edge.eval().requires_grad_(False)

    def _fit(self, seen: SplitObservation, rows: Tensor, seeds: Seeds) -> dict[str, Tensor]:
        edge, cloud = seen.untrained_edge(seeds), seen.cloud
        edge = edge.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        pictures = seen.public.images[rows].contiguous(memory_format=torch.channels_last)
        labels = seen.labels[rows]
        draw = torch.Generator().manual_seed(seeds.child("order").integer())
        optimizer = torch.optim.AdamW(edge.parameters(), self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.steps + 1
        )
        half, kind = self.precision == "bfloat16", labels.device.type
        with torch.random.fork_rng():  # dropout draws from the global generator
            torch.manual_seed(seeds.integer())
            for _ in range(self.steps):
                some = torch.randint(len(labels), (self.batch_size,), generator=draw)
                some = some.to(labels.device)
                with torch.autocast(kind, torch.bfloat16, enabled=half):
                    logits = cloud(edge(pictures[some]))
                loss = F.cross_entropy(logits.float(), labels[some])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return {name: value.contiguous() for name, value in edge.state_dict().items()}


@dataclass(frozen=True)
class Asked:
    """A shadow with what it says of pictures that it was not trained on.

    ``answers`` [n, d], read; ``said`` [n], the classes that it recognizes; ``pictures``
    [n, c, h, w].
    """

    edge: nn.Module
    answers: Tensor
    said: Tensor
    pictures: Tensor


def asked_shadows(
    imitation: Imitation, count: int, seen: SplitObservation, seeds: Seeds
) -> list[Asked]:
    """Return shadows, each trained on the public pictures but its own fold and asked about it."""
    rows = torch.randperm(len(seen.public), generator=torch.Generator().manual_seed(0))
    asked = []
    for fold in range(count):
        own = torch.arange(len(rows)) % max(count, 2) == fold
        edge = imitation.train(seen, rows[~own].sort().values, seeds.child("shadow", str(fold)))
        pictures = seen.public.images[rows[own].to(seen.public.images.device)]
        messages = seen.imagine(edge).query(pictures)
        answers = read(messages, in_logs(seen))
        asked.append(Asked(edge, answers, recognized(seen, messages), pictures))
    return asked


def in_logs(seen: SplitObservation) -> bool:
    """Return whether all answers are to be read as logarithms: probabilities without noise.

    What is added to a probability is as large beside a small one, whose logarithm is then noise.
    Undefended messages decide, for all pictures at once: rounded ones may sum to anything.
    """
    return seen.scale.simplex and not seen.noisy


def read(messages: Tensor, logs: bool) -> Tensor:
    """Return answers [n, d] on a scale on which they vary evenly: as they are, or centered logs.

    Of logarithms, classes whose probability was removed or rounded to zero share what is left to
    one; none of them gets more than the least likely class that came.

    Args:
        messages: [n, ...].
        logs: see ``in_logs``.
    """
    flat = messages.flatten(1).float()
    if not logs:
        return flat
    none = flat <= 0
    left = (1 - flat.clamp_min(0).sum(1, keepdim=True)).clamp_min(1e-6)
    left = left / none.sum(1, keepdim=True).clamp_min(1)
    left = left.minimum(flat.masked_fill(none, math.inf).amin(1, keepdim=True))
    told = torch.where(none, left, flat).clamp_min(1e-30).log()
    return told - told.mean(1, keepdim=True)


@torch.no_grad()
def recognized(seen: SplitObservation, messages: Tensor) -> Tensor:
    """Return the classes [n] that the cloud reads off messages."""
    return torch.cat([seen.cloud(part).argmax(1) for part in messages.split(500)])


@dataclass(frozen=True)
class Spread:
    """How a model's answers are distributed within classes: means [k, d], covariances [k, d, d]."""

    means: Tensor
    covariances: Tensor

    @classmethod
    def of(cls, answers: Tensor, said: Tensor, near: "Spread | None" = None) -> "Spread":
        """Measure answers [n, d] by their classes [n].

        A class of few answers borrows its covariance from all classes, these from ``near`` (scaled
        as all answers together are), and its mean from there (moved as they are): the fewer there
        are, the more.
        """
        n, d = answers.shape
        classes = int(said.max()) + 1 if near is None else len(near.means)
        z, member = answers.double(), F.one_hot(said, max(classes, int(said.max()) + 1)).double()
        member = member[:, :classes]
        count = member.sum(0)
        means = member.T @ z / count.clamp_min(1)[:, None]
        if near is not None:
            moved = z.mean(0) - count @ near.means / count.sum().clamp_min(1)
            means = (count[:, None] * means + near.means + moved) / (count[:, None] + 1)
        off = z - member @ means
        each = torch.einsum("nk,ni,nj->kij", member, off, off)
        pooled = each.sum(0) / n
        if near is not None:  # few answers of many numbers have no covariance of their own
            other = near.covariances.mean(0)
            other = other * (pooled.trace() / (other.trace() + 1e-12))
            pooled = (n * pooled + BORROWED * d * other) / (n + BORROWED * d)
        own = each / count.clamp_min(1)[:, None, None]
        trust = (count / (count + d))[:, None, None]
        unit = pooled.diagonal().mean() + 1e-12
        ridge = RIDGE * unit * torch.eye(d).to(z)
        return cls(means, trust * own + (1 - trust) * pooled + ridge)

    @classmethod
    def average(cls, several: Sequence["Spread"]) -> "Spread":
        """Return the average of several, over the classes that all of them know."""
        classes = max(len(one.means) for one in several)
        full = [one for one in several if len(one.means) == classes]
        return cls(
            torch.stack([one.means for one in full]).mean(0),
            torch.stack([one.covariances for one in full]).mean(0),
        )

    def carry(self, answers: Tensor, said: Tensor, onto: "Spread") -> Tensor:
        """Return answers [n, d] of this distribution as answers of another.

        Within each class, z -> m' + A (z - m), the optimal transport between two Gaussians
        (Dowson and Landau 1982): of all linear maps that do, the one that moves answers least.
        """
        carried = answers.clone()
        for label in said.unique().tolist():
            if label >= min(len(self.means), len(onto.means)):
                continue
            root, inverse = _roots(self.covariances[label])
            middle, _ = _roots(root @ onto.covariances[label] @ root)
            there = inverse @ middle @ inverse
            rows = said == label
            off = answers[rows].double() - self.means[label]
            carried[rows] = (onto.means[label] + off @ there.T).float()
        return carried


def _roots(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return C^(1/2) and C^(-1/2) of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(1e-10 * values.max() + 1e-30)
    return (vectors * values.sqrt()) @ vectors.T, (vectors / values.sqrt()) @ vectors.T


#: Weights of total variation to choose from, rising, and on how many public pictures.
VARIATIONS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2)
TUNED_ON = 64

#: The published weights for a single picture: regularizers are sums over a batch of 32 there,
#: beside a mean over it. To be divided by the variance of the answers to be used here.
PUBLISHED_ENERGY = 32 * 4.4323e-5
PUBLISHED_VARIATION = 32 * 9.4879e-3


@dataclass(frozen=True, kw_only=True)
class Gradient(InversionAttack):
    """Train a shadow, and search by gradient for the picture that it answers with the same vector.

    Minimizes, for every picture by itself, mean((f(x) - z)^2) / var(z) + energy * sum(x^2) +
    variation * sum(|x_down - x| + |x_right - x|) by Adam, clamped to [0, 1] after each step. As no
    picture's gradient depends on another's, batches are as large as is fast. The published search
    takes 400 steps at a constant rate of 0.01 in batches of 32; 30 steps at 0.06, falling, can
    still turn a black pixel white, and come nearer to the answer. The shadow's answers to other
    pictures also serve to align the victims' with them (see ``inversion/aligned_template``).

    Attributes:
        imitation: how the shadow is trained.
        start: the ``class mean`` of public pictures, an ``instance`` of the class, or ``random``.
        loss: ``squared`` distance of answers, or ``cross-entropy`` of their softmax.
        align: carry the victims' answers onto the shadow's distribution first.
        steps: of each search.
        learning_rate: of Adam, falling to zero along a cosine.
        energy: weight of the sum of squared pixels.
        variation: weight of the total variation (anisotropic), or ``chosen`` as serves best on
            public pictures that the shadow was not trained on.
        batch_size: pictures searched for at once.
        precision: of the passes through the shadow.
    """

    reference: ClassVar[Reference] = SHADOW_RECONSTRUCTIONS
    needs: ClassVar[Needs] = Needs(messages=True, cloud=True, public=True, labels=True)

    imitation: Imitation = field(default_factory=Imitation)
    start: Literal["class mean", "instance", "random"] = "class mean"
    loss: Literal["squared", "cross-entropy"] = "squared"
    align: bool = True
    steps: Count = 30
    learning_rate: Positive = 0.06
    energy: Annotated[float, pydantic.Field(ge=0)] = 0.0
    variation: Annotated[float, pydantic.Field(ge=0)] | Literal["chosen"] = "chosen"
    batch_size: Count = 128
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of the shadow and of every victim's search."""
        edge = seen.untrained_edge(Seeds(0))
        once = 3 * forward_flops(edge, seen.public.images[:1])
        return self.imitation.flops(seen) + self.steps * len(seen.messages) * once

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim by a search of its own."""
        (shadow,) = asked_shadows(self.imitation, 1, seen, rng.child("gradient"))
        answers, said = heard(seen, shadow, self.align)
        ready = self.chosen(seen, shadow, rng)
        claim = ready.search(seen, shadow.edge, answers, said, rng)
        return Reconstruction(claim, {"variation": float(ready.variation)})

    def chosen(self, seen: SplitObservation, shadow: Asked, rng: Seeds) -> "Gradient":
        """Return this search with the variation that serves best on the shadow's other pictures.

        Weights rise until one serves worse: too little leaves noise, too much a blur.
        """
        if self.variation != "chosen":
            return self
        answers, said = shadow.answers[:TUNED_ON], shadow.said[:TUNED_ON]
        best, highest = self, -math.inf
        for weight in VARIATIONS:
            one = dataclasses.replace(self, variation=weight)
            claim = one.search(seen, shadow.edge, answers, said, rng)
            score = float(ssim(claim, shadow.pictures[:TUNED_ON]).mean())
            if score < highest:
                break
            best, highest = one, score
        return best

    def search(
        self, seen: SplitObservation, edge: nn.Module, answers: Tensor, said: Tensor, rng: Seeds
    ) -> Tensor:
        """Return the pictures [n, c, h, w] for which an edge gives answers [n, d], read.

        ``said``: [n], the class in which each search starts.
        """
        if self.variation == "chosen":
            raise PlanError("choose a variation before the search; see ``chosen``")
        begun = self._begun(seen, said, rng)
        unit = float(answers.var()) + 1e-12
        edge = edge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts = zip(begun.split(self.batch_size), answers.split(self.batch_size), strict=True)
        return torch.cat([self._descend(edge, x, z, unit, in_logs(seen)) for x, z in parts])

    def _begun(self, seen: SplitObservation, said: Tensor, rng: Seeds) -> Tensor:
        draw = torch.Generator().manual_seed(rng.child("start").integer())
        pictures, labels = seen.public.images, seen.labels
        if self.start == "random":
            return torch.rand(len(said), *seen.image_shape, generator=draw).to(pictures)
        begun = pictures.mean(0).repeat(len(said), 1, 1, 1)
        for label in said.unique().tolist():
            own = (labels == label).nonzero().flatten()
            if len(own) == 0:
                continue
            rows = said == label
            if self.start == "class mean":
                begun[rows] = pictures[own].mean(0)
            else:
                some = torch.randint(len(own), (int(rows.sum()),), generator=draw)
                begun[rows] = pictures[own[some.to(own.device)]]
        return begun

    def _descend(
        self, edge: nn.Module, begun: Tensor, answers: Tensor, unit: float, logs: bool
    ) -> Tensor:
        x = begun.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        optimizer = torch.optim.Adam([x], self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        half, weight = self.precision == "bfloat16", float(self.variation)
        with torch.enable_grad():
            for _ in range(self.steps):
                with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
                    messages = edge(x)
                said = read(messages, logs)
                if self.loss == "squared":
                    off = (said - answers).square().mean(1) / unit
                else:
                    off = -(answers.softmax(1) * said.log_softmax(1)).sum(1)
                down = (x[..., 1:, :] - x[..., :-1, :]).abs().flatten(1).sum(1)
                right = (x[..., :, 1:] - x[..., :, :-1]).abs().flatten(1).sum(1)
                loss = off + self.energy * x.square().flatten(1).sum(1)
                loss = (loss + weight * (down + right)).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    x.clamp_(0, 1)
        return x.detach()


def heard(seen: SplitObservation, shadow: Asked, align: bool) -> tuple[Tensor, Tensor]:
    """Return the victims' answers [n, d], as the shadow would give them, and their classes [n]."""
    answers, said = read(seen.messages, in_logs(seen)), recognized(seen, seen.messages)
    if align:
        near = Spread.of(shadow.answers, shadow.said)
        answers = Spread.of(answers, said, near).carry(answers, said, near)
    return answers, said
