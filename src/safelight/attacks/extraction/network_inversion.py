"""Network inversion: a generator of pictures that the weights could have been trained on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.attack import Count, Positive
from safelight.attacks.extraction.attack import Extraction, ExtractionAttack
from safelight.catalog import Reference
from safelight.metrics.extraction_losses.diversity import Features, likeness, overlap
from safelight.metrics.extraction_losses.picture_priors import outside_range, total_variation
from safelight.metrics.extraction_losses.prediction import (
    as_classes,
    condition,
    cross_entropy,
    divergence,
    gradient_norm,
    perturbed,
)
from safelight.metrics.extraction_losses.rectifier import smoothed
from safelight.metrics.extraction_losses.stationarity import chain_of, dense_residual, residual
from safelight.stats.seeds import Seeds
from safelight.targets.target import Normalized
from safelight.threats.released_model import ReleasedObservation, ReleaseNeeds

#: Pictures that the attack assumes where the size of the training set is not known.
ASSUMED = 100

Weight = Annotated[float, pydantic.Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class NetworkInversion(ExtractionAttack):
    """Train a generator, conditioned on a latent and a class vector, on a weighted sum of losses.

    Every candidate has one latent, one class vector and one multiplier throughout, and the
    classifier sees pixels in the range it was trained on. Each loss is a field; 0 leaves it out.
    The weights are not the paper's, which are of losses of other sizes: they were chosen on planted
    training sets, where all but the stationary loss hardly help.

    Attributes:
        kl: divergence of the classifier's answer from the class vector.
        kl_perturbed: the same of perturbed candidates.
        ce: cross-entropy of the label.
        ce_perturbed: the same of perturbed candidates.
        stationary: share of the weights that the candidates' gradients do not explain.
        variation: mean absolute difference of neighboring pixels.
        pixel: mean distance of pixels from the range of data before they are clamped.
        cosine: mean cosine between candidates' features.
        orthogonality: mean squared cosine between candidates' features.
        gradient: norm of the gradient of the cross-entropy, relative to the weights.
        perturbation: added to or taken from each pixel of a perturbed candidate.
        per_picture: candidates for each training picture.
        most: candidates in all, however large the training set.
        latent: numbers in a latent vector.
        channels: of the generator's widest layer.
        steps: of Adam, with the rates falling to 0 along a cosine.
        learning_rate: of the generator.
        multiplier_rate: of the multipliers.
        sharpness: of the rectifiers' derivative where gradients are differentiated.
        condition_sharpness: of the class vectors; a large one makes them one-hot.
        layers: whose weights the stationary loss explains, the ``first`` or ``all``.
    """

    reference: ClassVar[Reference] = Reference(
        key="suhail2024",
        authors="Suhail, Pirzada and Sethi, Amit",
        title="Network Inversion for Training-Like Data Reconstruction",
        year=2024,
        venue="arXiv",
        url="https://arxiv.org/abs/2410.16884",
    )
    needs: ClassVar[ReleaseNeeds] = ReleaseNeeds(weights=True)
    welcomes: ClassVar[ReleaseNeeds] = ReleaseNeeds(weights=False, count=True)

    kl: Weight = 0.1
    kl_perturbed: Weight = 0.0
    ce: Weight = 0.1
    ce_perturbed: Weight = 0.0
    stationary: Weight = 100.0
    variation: Weight = 0.1
    pixel: Weight = 1.0
    cosine: Weight = 0.1
    orthogonality: Weight = 0.1
    gradient: Weight = 0.0
    perturbation: Weight = 0.2
    per_picture: Count = 2
    most: Count = 2000
    latent: Count = 64
    channels: Count = 64
    steps: Count = 600
    learning_rate: Positive = 3e-3
    multiplier_rate: Positive = 1e-2
    sharpness: Positive = 100.0
    condition_sharpness: Positive = 4.0
    layers: Literal["first", "all"] = "all"

    def unfit(self, seen: ReleasedObservation) -> str:
        """Fit any classifier with a dense layer, whose inputs are its features."""
        if not any(isinstance(one, nn.Linear) for one in seen.model.network.modules()):
            return "the network has no dense layer to read features at"
        return ""

    def run(self, seen: ReleasedObservation, rng: Seeds) -> Extraction:
        """Train the generator on its own candidates, and return them."""
        device = seen.model.mean.device
        m = min(self.per_picture * (seen.count or ASSUMED), self.most)
        draw = torch.Generator().manual_seed(rng.integer())
        outputs = seen.model(torch.zeros(1, *seen.image_shape, device=device)).shape[1]
        classes = max(outputs, 2)
        labels = torch.arange(m, device=device) % classes
        wanted = condition(labels, classes, self.condition_sharpness, draw)
        latents = torch.randn(m, self.latent, generator=draw).to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.child("generator").integer())
            generator = Generator(self.latent, classes, seen.image_shape, self.channels).to(device)
        multipliers = torch.zeros(m, device=device).requires_grad_()
        optimizer = torch.optim.Adam(
            [
                {"params": generator.parameters(), "lr": self.learning_rate},
                {"params": [multipliers], "lr": self.multiplier_rate},
            ]
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        losses = _Losses(self, seen.model, labels, wanted)
        for _ in range(self.steps):
            raw = generator(latents, wanted)
            loss = losses.total(raw, F.softplus(multipliers), draw)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            images = generator(latents, wanted).clamp(0, 1)
            share = losses.unexplained(images, F.softplus(multipliers))
        return Extraction(
            images, labels, F.softplus(multipliers).detach(), {"unexplained": float(share)}
        )


class Generator(nn.Module):
    """Latents [n, latent] and class vectors [n, classes] to pictures, mostly in [0, 1].

    A dense layer to a quarter of the side, then two doublings with convolutions. No normalization
    over the batch: a candidate depends on its own latent alone.
    """

    def __init__(
        self, latent: int, classes: int, shape: tuple[int, int, int], channels: int
    ) -> None:
        super().__init__()
        depth, self.height, self.width = shape
        self.grid = -(-self.height // 4), -(-self.width // 4)
        self.channels = channels
        self.first = nn.Linear(latent + classes, channels * self.grid[0] * self.grid[1])
        self.second = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.third = nn.Conv2d(channels // 2, channels // 4, 3, padding=1)
        self.last = nn.Conv2d(channels // 4, depth, 3, padding=1)

    def forward(self, latents: Tensor, wanted: Tensor) -> Tensor:
        """Return pictures [n, c, h, w]; pixels may leave [0, 1] a little."""
        h = F.leaky_relu(self.first(torch.cat([latents, wanted], 1)), 0.2)
        h = h.reshape(-1, self.channels, *self.grid)
        for layer in (self.second, self.third):
            h = F.leaky_relu(layer(F.interpolate(h, scale_factor=2.0)), 0.2)
        pictures: Tensor = self.last(h)[..., : self.height, : self.width]
        # Between -0.1 and 1.1: both ends of the range of pixels are reached, not only neared.
        return 1.2 * torch.sigmoid(pictures) - 0.1


class _Losses:
    """The weighted sum, with what it compares candidates to."""

    def __init__(
        self, weights: NetworkInversion, model: Normalized, labels: Tensor, wanted: Tensor
    ) -> None:
        self.weights, self.model, self.labels, self.wanted = weights, model, labels, wanted
        self.network = smoothed(model.network, weights.sharpness)
        self.chain = chain_of(model.network)

    def total(self, raw: Tensor, multipliers: Tensor, draw: torch.Generator) -> Tensor:
        """Return the sum of weighted losses of candidates before they are clamped."""
        w, images = self.weights, raw.clamp(0, 1)
        inputs = (images - self.model.mean) / self.model.std
        with Features(self.network) as reader:
            logits = as_classes(self.network(inputs))
            features = reader.take()
        shaken = perturbed(images, w.perturbation, draw)
        again = logits
        if w.kl_perturbed or w.ce_perturbed:
            again = as_classes(self.network((shaken - self.model.mean) / self.model.std))
        terms: list[tuple[float, Callable[[], Tensor]]] = [
            (w.kl, lambda: divergence(logits, self.wanted)),
            (w.kl_perturbed, lambda: divergence(again, self.wanted)),
            (w.ce, lambda: cross_entropy(logits, self.labels)),
            (w.ce_perturbed, lambda: cross_entropy(again, self.labels)),
            (w.stationary, lambda: self.unexplained(images, multipliers)),
            (w.variation, lambda: total_variation(images)),
            (w.pixel, lambda: outside_range(raw, 0.0, 1.0)),
            (w.cosine, lambda: likeness(features)),
            (w.orthogonality, lambda: overlap(features)),
            (w.gradient, lambda: gradient_norm(self.network, inputs, self.labels)),
        ]
        return torch.stack([weight * term() for weight, term in terms if weight]).sum()

    def unexplained(self, images: Tensor, multipliers: Tensor) -> Tensor:
        """Return the stationary loss of candidates [m, c, h, w], a scalar in about [0, 1]."""
        inputs = ((images - self.model.mean) / self.model.std)[None]
        if self.chain is not None:
            first = self.weights.layers == "first"
            layers = [0] if first else list(range(len(self.chain.weights)))
            flat, scale = inputs.flatten(2), multipliers[None]
            return dense_residual(
                self.chain, flat, self.labels, scale, self.weights.sharpness, layers
            )[0]
        names = [name.rpartition(".")[0] for name, _ in self.network.named_parameters()]
        wanted = names[:1] if self.weights.layers == "first" else []
        return residual(self.network, inputs, self.labels, multipliers[None], wanted)[0]
