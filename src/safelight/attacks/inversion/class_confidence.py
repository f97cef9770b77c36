"""Class confidence: search for the picture that a classifier is surest about (MI-Face)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.attacks.inversion.gradient import recognized
from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation
from safelight.threats.prediction_api import PredictionApi

#: How classifiers are asked: pictures [n, c, h, w] in [0, 1] -> log probabilities [n, classes].
Answers = Callable[[Tensor], Tensor]

#: Non-local means: how far it looks, and how different two 3x3 patches may be to be averaged, as a
#: root mean square of pixels.
NEAR = 2
ALIKE = 0.1

#: Share of what a 3x3 mean takes away that sharpening adds.
SHARPER = 0.5


@dataclass(frozen=True)
class Found:
    """What a search returns: one row a class.

    ``images``: [k, c, h, w], the best pictures. ``confidence``: [k], what the classifier says of
    them. ``steps``: [k], updates made before the search stopped. ``queries``: pictures shown to
    the classifier, all classes together.
    """

    images: Tensor
    confidence: Tensor
    steps: Tensor
    queries: int


@dataclass(frozen=True, kw_only=True)
class ClassConfidence(InversionAttack):
    """Rebuild what a class looks like from the classifier's confidence in it alone (MI-Face).

    Descends a cost from a blank picture, x <- process(x - rate dc/dx), held in [0, 1]. Published
    is c(x) = 1 - p_k(x) + w TV(x). A search stops when its best cost has not improved for
    ``patience`` steps, or is at most that of the wanted ``confidence``, and its best picture is
    the claim.

    Where p_k is nearly 0 at the start, so is the gradient of 1 - p_k, and the search never begins:
    a classifier whose weights are pictures of its classes then seems to leak nothing. Therefore
    c(x) = -log p_k(x) + w TV(x) as it comes.

    Where a class is one person, the claim shows that person. All pictures of a class get the same
    claim, so it names no picture among those of its class: an audit of pictures ends INCONCLUSIVE
    by it unless SSIM alone shows a leak. Whether the right person is shown is what
    ``safelight.auditing.identities`` measures.

    Attributes:
        steps: at most, in each search; the paper's alpha.
        patience: steps without a better cost that end a search; its beta.
        confidence: that ends a search; its gamma.
        learning_rate: its lambda.
        objective: of the descent: ``log confidence``, or ``confidence`` as published.
        start: the blank picture: ``gray``, or ``black`` as published.
        variation: weight of the mean total variation, the paper's AuxTerm.
        process: of the picture, every ``every`` steps: ``denoise and sharpen`` by non-local means
            and an unsharp mask, as the paper does for its autoencoder.
        every: steps between processing.
    """

    reference: ClassVar[Reference] = PredictionApi.reference
    needs: ClassVar[Needs] = Needs(messages=True, weights=True, cloud=True)

    steps: Count = 5000
    patience: Count = 100
    confidence: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.99
    learning_rate: Positive = 0.1
    objective: Literal["log confidence", "confidence"] = "log confidence"
    start: Literal["gray", "black"] = "gray"
    variation: Annotated[float, pydantic.Field(ge=0)] = 0.0
    process: Literal["none", "denoise and sharpen"] = "none"
    every: Count = 50

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of searches for every class that no stopping rule shortens."""
        blank = torch.zeros(1, *seen.image_shape).to(seen.messages)
        return 3 * self.steps * self._classes(seen) * forward_flops(seen.edge, blank)

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Claim for every victim what its predicted class looks like; nothing in it is random."""
        said = recognized(seen, seen.messages)
        labels, place = said.unique(return_inverse=True)
        edge, cloud = seen.edge, seen.cloud
        found = self.search(lambda x: cloud(edge(x)).log_softmax(1), labels, seen.image_shape)
        facts = {
            "confidence": float(found.confidence.mean()),
            "steps": float(found.steps.double().mean()),
        }
        return Reconstruction(found.images[place], facts)

    def search(
        self,
        answers: Answers,
        labels: Tensor,
        image_shape: tuple[int, int, int],
        numerical: "Differences | None" = None,
    ) -> Found:
        """Rebuild classes.

        Args:
            answers: the classifier; differentiable unless ``numerical`` is given. Log
                probabilities must be finite: give those that a service rounds to 0 a floor.
            labels: [k], the classes.
            image_shape: (channels, height, width).
            numerical: how to take gradients where only answers are seen.
        """
        x = torch.full((len(labels), *image_shape), 0.5 * (self.start == "gray"))
        x = x.to(labels.device)
        best, least = x.clone(), torch.full((len(x),), math.inf).to(x)
        steps, since = torch.zeros_like(labels), torch.zeros_like(labels)
        queries, rows = 0, torch.arange(len(x), device=x.device)
        bar = self._cost(torch.tensor(math.log(self.confidence)))
        for step in range(self.steps + 1):
            cost, slope, asked = self._look(answers, x[rows], labels[rows], numerical)
            cost, queries = cost.to(x), queries + asked
            better = cost < least[rows]
            since[rows] = torch.where(better, 0, since[rows] + 1)
            least[rows[better]], best[rows[better]] = cost[better], x[rows[better]]
            going = (least[rows] > bar) & (since[rows] < self.patience)
            rows, slope = rows[going], slope[going]
            if len(rows) == 0 or step == self.steps:
                break
            x[rows] = self._processed(x[rows] - self.learning_rate * slope, step + 1)
            steps[rows] += 1
        with torch.no_grad():
            sure = answers(best).gather(1, labels[:, None])[:, 0].exp()
        return Found(best, sure, steps, queries)

    def _classes(self, seen: SplitObservation) -> int:
        return len(recognized(seen, seen.messages).unique())

    def _cost(self, log: Tensor) -> Tensor:
        """Return the cost of log probabilities."""
        return 1 - log.exp() if self.objective == "confidence" else -log

    def _look(
        self, answers: Answers, x: Tensor, labels: Tensor, numerical: "Differences | None"
    ) -> tuple[Tensor, Tensor, int]:
        """Return the cost [k] of pictures, its gradient [k, c, h, w], and the pictures shown."""
        x = x.clone().requires_grad_()

        def unsure(pictures: Tensor, classes: Tensor) -> Tensor:
            return self._cost(answers(pictures).gather(1, classes[:, None])[:, 0])

        with torch.enable_grad():
            smooth = self.variation * _variation(x)
            if numerical is None:
                cost = unsure(x, labels) + smooth
                (slope,) = torch.autograd.grad(cost.sum(), x)
                return cost.detach(), slope, len(x)
            (slope,) = torch.autograd.grad(smooth.sum(), x)
        x = x.detach()
        with torch.no_grad():
            cost = unsure(x, labels) + smooth
            measured, asked = numerical.slope(unsure, x, labels)
        return cost, slope + measured, len(x) + asked

    def _processed(self, x: Tensor, step: int) -> Tensor:
        x = x.clamp(0, 1)
        if self.process == "denoise and sharpen" and step % self.every == 0:
            x = denoised(x)
            x = (x + SHARPER * (x - _mean3(x))).clamp(0, 1)
        return x


@dataclass(frozen=True)
class Differences:
    """Gradients from answers alone: central differences along square blocks of pixels.

    ``width``: change of the pixels, either way. ``block``: side of a block in pixels; the gradient
    is constant within one, and a step takes 2 c (h / block) (w / block) queries a class.
    """

    width: float = 0.05
    block: int = 1

    def slope(
        self, cost: Callable[[Tensor, Tensor], Tensor], x: Tensor, labels: Tensor
    ) -> tuple[Tensor, int]:
        """Return the gradient [k, c, h, w] of a cost of pictures and classes, and the queries."""
        channels, height, across = x.shape[1:]
        rows, columns = math.ceil(height / self.block), math.ceil(across / self.block)
        blocks = torch.eye(channels * rows * columns).to(x).unflatten(1, (channels, rows, columns))
        blocks = blocks.repeat_interleave(self.block, 2).repeat_interleave(self.block, 3)
        blocks = blocks[..., :height, :across]
        slopes, queries = [], 0
        for picture, label in zip(x, labels, strict=True):
            moved = torch.cat([picture + self.width * blocks, picture - self.width * blocks])
            parts = [cost(part, label.expand(len(part))) for part in moved.split(2048)]
            more, less = torch.cat(parts).chunk(2)
            rate = (more - less) / (2 * self.width * blocks.flatten(1).sum(1))
            slopes.append(torch.einsum("b,bchw->chw", rate, blocks))
            queries += len(moved)
        return torch.stack(slopes), queries


def denoised(x: Tensor) -> Tensor:
    """Return non-local means of pictures [n, c, h, w] (Buades, Coll and Morel 2005).

    Every pixel becomes the mean of those around it, weighed by exp(-d / h^2), d the mean squared
    difference of their 3x3 patches.
    """
    height, across = x.shape[2:]
    wide = F.pad(x, (NEAR,) * 4, mode="replicate")
    total, weights = torch.zeros_like(x), torch.zeros_like(x[:, :1])
    for down in range(2 * NEAR + 1):
        for right in range(2 * NEAR + 1):
            other = wide[..., down : down + height, right : right + across]
            unlike = _mean3((x - other).square().mean(1, keepdim=True))
            weight = (-unlike / ALIKE**2).exp()
            total, weights = total + weight * other, weights + weight
    return total / weights


def _mean3(x: Tensor) -> Tensor:
    """Return the 3x3 mean around every pixel; beyond the edge, what lies at it."""
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _variation(x: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbors, down and across added, [n]."""
    down = (x[..., 1:, :] - x[..., :-1, :]).abs().flatten(1).mean(1)
    return down + (x[..., :, 1:] - x[..., :, :-1]).abs().flatten(1).mean(1)
