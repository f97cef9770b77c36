"""Latent search: look for latents whose pictures have a property that training pictures have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import cmaes
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.generator_attack import Count, MemorizedPictures, MemoryAttack
from safelight.catalog import Reference
from safelight.data.images import ImageSet
from safelight.metrics.memorization import nearest
from safelight.plan.plan import FitPlan
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.plain_cnn import PlainCNN
from safelight.targets.fit import fit
from safelight.targets.target import Normalized
from safelight.threats.released_generator import GeneratorNeeds, GeneratorObservation, Painter

#: Where a white-box search goes: z; w; w+, a w of its own for every layer.
Space = Literal["z", "w", "w+"]

#: Pictures [n, c, h, w] and the numbers of the searches that made them [n] -> what to minimize [n].
Loss = Callable[[Tensor, Tensor], Tensor]

#: Step size of Adam on latents of deviation 1, and searches made at once.
RATE, TOGETHER = 0.05, 250

#: Weight of keeping latents to the shell where those of training lay (Chen et al. 2020, eq. 9).
SHELL = 1e-3

#: First deviation of CMA-ES about its start: a third of that of latents.
SIGMA = 0.3

#: Latents whose w say where w lies, and how widely.
MAPPED = 1000

#: Neighbors behind a membership score of a picture.
NEIGHBORS = 5

#: What the auxiliary classifier learns on the adversary's own pictures.
RECIPE = FitPlan(epochs=4, batch_size=64, learning_rate=2e-3)


def started(
    seen: GeneratorObservation, images: Tensor, count: int, rng: Seeds
) -> tuple[Tensor, Tensor | None]:
    """Draw ``count`` latents; return for each image [n, c, h, w] that of the nearest picture."""
    z, classes = seen.latents(count, rng.child("starts"))
    which = nearest(images, seen.pictures(z, classes))[1][:, 0]
    return z[which], None if classes is None else classes[which]


def descend(
    painter: Painter, loss: Loss, z: Tensor, classes: Tensor | None, space: Space, steps: int
) -> Tensor:
    """Minimize a loss over latents by Adam; return the best picture of each search.

    In z, and in w, a penalty keeps latents where those of training lay; in w+ every layer is kept
    by itself, which lets the search reconstruct nearly anything.

    Args:
        painter: the generator.
        loss: what to minimize.
        z: where to start, [n, z_dim].
        classes: [n], where the generator has them.
        space: what is moved.
        steps: of Adam, its step size falling to 0 along a cosine.

    Returns:
        [n, c, h, w] in [0, 1].
    """
    rows = torch.arange(len(z), device=z.device)
    parts = [
        _descend(
            painter, loss, z[own], None if classes is None else classes[own], own, space, steps
        )
        for own in rows.split(TOGETHER)
    ]
    return torch.cat(parts)


def _descend(
    painter: Painter,
    loss: Loss,
    z: Tensor,
    classes: Tensor | None,
    rows: Tensor,
    space: Space,
    steps: int,
) -> Tensor:
    moved, paint, kept = _variable(painter, z, classes, space)
    optimizer = torch.optim.Adam([moved], RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best = torch.full((len(z),), float("inf"), device=z.device)
    with torch.no_grad():
        found = paint(moved).clamp(0, 1)
    for step in range(steps + 1):
        pictures = paint(moved)
        value = loss(pictures, rows)
        better = value.detach() < best
        best = torch.where(better, value.detach(), best)
        found[better] = pictures.detach()[better].clamp(0, 1)
        if step == steps:
            break
        (gradient,) = torch.autograd.grad((value + SHELL * kept(moved)).sum(), moved)
        moved.grad = gradient
        optimizer.step()
        falling.step()
    return found


def _variable(
    painter: Painter, z: Tensor, classes: Tensor | None, space: Space
) -> tuple[Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return what is moved, how it becomes pictures, and the penalty that keeps it at home."""
    if space == "z":
        start = z.clone().requires_grad_(True)

        def shell(moved: Tensor) -> Tensor:
            return (moved.square().mean(1) - 1).square()  # (||z||^2 / d - 1)^2

        return start, lambda moved: painter.of_z(moved, classes), shell
    with torch.no_grad():
        ws = painter.mapped(z, classes)
        rng = torch.Generator().manual_seed(0)
        many = torch.randn(MAPPED, z.shape[1], generator=rng).to(z)
        labels = None if classes is None else classes[torch.arange(MAPPED) % len(classes)]
        home = painter.mapped(many, labels)
        mean, deviation = home.mean(0), home.std(0).clamp_min(1e-6)
    layers = ws.shape[1]
    scaled = (ws - mean) / deviation  # moved in deviations, as z is
    first = scaled[:, :1] if space == "w" else scaled
    start = first.clone().requires_grad_(True)

    def paint(moved: Tensor) -> Tensor:
        return painter.of_ws(mean + deviation * moved.expand(-1, layers, -1))

    def far(moved: Tensor) -> Tensor:
        return (moved.square().mean((1, 2)) - 1).clamp_min(0).square()

    return start, paint, far


def evolve(
    seen: GeneratorObservation,
    loss: Loss,
    z: Tensor,
    classes: Tensor | None,
    steps: int,
    rng: Seeds,
) -> Tensor:
    """Minimize a loss over z by CMA-ES with a diagonal covariance (Ros and Hansen 2008).

    No gradient is used: the generator is asked for pictures, population by population. Returns the
    best picture of each search, [n, c, h, w] in [0, 1].
    """
    n, device = len(z), z.device
    root = np.random.default_rng(rng.child("evolution").integer())
    searches = [
        cmaes.SepCMA(one.double().cpu().numpy(), SIGMA, seed=int(root.integers(2**31))) for one in z
    ]
    size = searches[0].population_size
    found = seen.pictures(z, classes)
    rows = torch.arange(n, device=device)
    with torch.no_grad():
        best = loss(found, rows)
    rows = rows.repeat_interleave(size)
    own = None if classes is None else classes[rows]
    for _ in range(steps):
        asked = np.stack([[one.ask() for _ in range(size)] for one in searches])
        tried = torch.from_numpy(asked).float().flatten(0, 1).to(device)
        with torch.no_grad():
            pictures = seen.pictures(tried, own)
            values = loss(pictures, rows).reshape(n, size)
        told = values.double().cpu().numpy()
        for search, points, value in zip(searches, asked, told, strict=True):
            search.tell(list(zip(points, value.tolist(), strict=True)))
        least, which = values.min(1)
        better = least < best
        best = torch.where(better, least, best)
        found[better] = pictures.unflatten(0, (n, size))[better, which[better]]
    return found


@dataclass(frozen=True, kw_only=True)
class LatentSearch(MemoryAttack):
    """Search latents for pictures of the training set, guided by a property.

    Attributes:
        guide: ``confidence``: the discriminator takes the picture for a training picture;
            ``classifier``: a classifier that was trained on the adversary's own pictures sees the
            class that is sought; ``similar``: the picture is like one that the adversary owns, and
            the generator may draw it to the training picture most like that; ``membership``: many
            pictures of the generator lie nearer to it than the adversary's own do.
        by: ``gradient`` (white-box) or ``evolution`` (CMA-ES, black-box, in z alone).
        space: z, w, or w+.
        searches: how many, each with a start of its own.
        steps: of each search.
        samples: pictures made, to start from and to measure membership by.
    """

    reference: ClassVar[Reference] = Reference(
        key="zhang2020",
        authors="Zhang, Yuheng and Jia, Ruoxi and Pei, Hengzhi and Wang, Wenxiao and Li, Bo and "
        "Song, Dawn",
        title="The Secret Revealer: Generative Model-Inversion Attacks Against Deep Neural "
        "Networks",
        year=2020,
        venue="CVPR 2020",
        doi="10.1109/CVPR42600.2020.00033",
    )

    guide: Literal["confidence", "classifier", "similar", "membership"] = "membership"
    by: Literal["gradient", "evolution"] = "gradient"
    space: Space = "z"
    searches: Count = 200
    steps: Count = 60
    samples: Count = 2000

    @property
    def needs(self) -> GeneratorNeeds:
        """The generator in the way of ``by``, and what the guide is made of."""
        return GeneratorNeeds(
            samples=self.guide == "membership",
            latents=self.by == "evolution" or self.guide == "similar",
            weights=self.by == "gradient",
            discriminator=self.guide == "confidence",
            reference=self.guide != "confidence",
        )

    def unfit(self, seen: GeneratorObservation) -> str:
        """Evolution moves z."""
        del seen
        if self.by == "evolution" and self.space != "z":
            return "by evolution only z is searched; set space = 'z' or by = 'gradient'"
        return ""

    def run(self, seen: GeneratorObservation, rng: Seeds) -> MemorizedPictures:
        """Search from as many starts, and claim what every search ends with."""
        z, classes = seen.latents(self.searches, rng.child("latent search"))
        loss: Loss
        if self.guide == "similar":
            own = _drawn(seen.reference, self.searches, rng).images
            z, classes = started(seen, own, self.samples, rng)
            loss = _likeness_to(own)
        elif self.guide == "confidence":
            loss = _confidence(seen, classes)
        elif self.guide == "classifier":
            loss = _classified(seen.reference, classes, rng)
        else:
            loss = _membership(seen.samples(self.samples, rng), seen.reference.images)
        if self.by == "gradient":
            found = descend(seen.painter, loss, z, classes, self.space, self.steps)
        else:
            found = evolve(seen, loss, z, classes, self.steps, rng)
        rows = torch.arange(len(found), device=found.device)
        with torch.no_grad():
            value = loss(found, rows)
        return MemorizedPictures(found, -value, {"loss": float(value.mean())})


def _drawn(images: ImageSet, count: int, rng: Seeds) -> ImageSet:
    order = torch.Generator().manual_seed(rng.child("similar").integer())
    # With fewer pictures than searches, some are sought twice.
    rows = torch.randint(len(images), (count,), generator=order)
    return images.rows(rows.to(images.labels.device))


def _likeness_to(own: Tensor) -> Loss:
    return lambda pictures, rows: (pictures - own[rows]).square().flatten(1).mean(1)


def _confidence(seen: GeneratorObservation, classes: Tensor | None) -> Loss:
    def loss(pictures: Tensor, rows: Tensor) -> Tensor:
        return -seen.judged(pictures, None if classes is None else classes[rows])

    return loss


def _membership(made: Tensor, own: Tensor) -> Loss:
    """The membership score of a picture x: log r_own(x) - log r_made(x), mean distances to 5."""

    def mean_distance(pictures: Tensor, among: Tensor) -> Tensor:
        with torch.no_grad():
            which = nearest(pictures, among, NEIGHBORS)[1]
        apart = (pictures[:, None] - among[which]).flatten(2).square().mean(2)
        return (apart + 1e-8).sqrt().mean(1)

    def loss(pictures: Tensor, rows: Tensor) -> Tensor:
        del rows
        return mean_distance(pictures, made).log() - mean_distance(pictures, own).log()

    return loss


def _classified(own: ImageSet, classes: Tensor | None, rng: Seeds) -> Loss:
    """Cross-entropy to the class sought: the generator's own, or each class in turn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.child("classifier").integer())
        network = PlainCNN(
            len(own.classes), own.shape, channels=(16, 32), hidden=64, batch_norm=False, slope=0.0
        )
    mean, deviation = float(own.images.mean()), float(own.images.std())
    channels = own.shape[0]
    model = Normalized(network, (mean,) * channels, (deviation,) * channels).to(own.images.device)
    fit(model, own, RECIPE)
    model.eval().requires_grad_(False)

    def loss(pictures: Tensor, rows: Tensor) -> Tensor:
        wanted = rows % len(own.classes) if classes is None else classes[rows]
        return F.cross_entropy(model(pictures), wanted, reduction="none")

    return loss
