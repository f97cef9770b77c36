"""Candidates whose gradients add up to the weights: the KKT conditions of training, solved."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.attack import Count, Positive
from safelight.attacks.extraction.attack import Extraction, ExtractionAttack
from safelight.catalog import Reference
from safelight.errors import AccessError
from safelight.metrics.extraction_losses.picture_priors import total_variation
from safelight.metrics.extraction_losses.rectifier import smoothed
from safelight.metrics.extraction_losses.row_space import first_dense, span_of
from safelight.metrics.extraction_losses.stationarity import chain_of, dense_residual, residual
from safelight.stats.seeds import Seeds
from safelight.threats.released_model import ReleasedObservation, ReleaseNeeds

#: Pictures that the attack assumes where the size of the training set is not known.
ASSUMED = 100


@dataclass(frozen=True, kw_only=True)
class KKT(ExtractionAttack):
    """Search pictures and multipliers such that theta = sum_i lambda_i grad margin(x_i).

    Descent converges to weights that are such a sum over the training pictures (the KKT conditions
    of the largest margin; with weight decay, of the penalized loss). The candidates start as noise
    around the mean gray and move until the sum of their gradients explains the weights. All
    restarts are one tensor program; in a network of dense layers no gradient is ever formed.

    The theory is for networks that are homogeneous in their weights; biases behind the first
    layer, batch normalization, Adam and early stopping break it more or less.

    Attributes:
        per_picture: candidates for each training picture.
        most: candidates in a restart, however large the training set.
        restarts: independent searches; all their candidates are returned.
        steps: of Adam, with the rates falling to a fiftieth along a cosine.
        learning_rate: of the pixels.
        multiplier_rate: of the logarithm-like multipliers, lambda = softplus(a).
        start: standard deviation of the noise around the mean gray at first.
        sharpness: of the rectifier's derivative, a sigmoid; as large as the signals are small.
        layers: which explain: the ``first``, where small starts leave least behind, or ``all``.
        space: where candidates live: all ``pixels``; the ``row space`` of the first layer; or a
            prior that is learned, the plane of the ``public pictures``' principal components. Onto
            the last two they are projected after each step; without public pictures nothing is
            learned, and it is all pixels.
        components: of the public pictures.
        variation: weight of the mean absolute difference of neighboring pixels.
    """

    reference: ClassVar[Reference] = Reference(
        key="buzaglo2023",
        authors="Buzaglo, Gon and Haim, Niv and Yehudai, Gilad and Vardi, Gal and others",
        title="Deconstructing Data Reconstruction: Multiclass, Weight Decay and General Losses",
        year=2023,
        venue="NeurIPS 2023",
        url="https://arxiv.org/abs/2307.01827",
    )
    needs: ClassVar[ReleaseNeeds] = ReleaseNeeds(weights=True)
    welcomes: ClassVar[ReleaseNeeds] = ReleaseNeeds(
        weights=False, count=True, initialization=True, public=True
    )

    per_picture: Count = 3
    most: Count = 2000
    restarts: Count = 1
    steps: Count = 2000
    learning_rate: Positive = 0.05
    multiplier_rate: Positive = 0.1
    start: Positive = 0.1
    sharpness: Positive = 30.0
    layers: Literal["first", "all"] = "first"
    space: Literal["pixels", "row space", "public pictures"] = "pixels"
    components: Count = 200
    variation: Annotated[float, pydantic.Field(ge=0)] = 0.03

    def unfit(self, seen: ReleasedObservation) -> str:
        """Say whether the candidates' space exists; everything else fits any classifier."""
        if self.space == "row space" and first_dense(seen.model.network) is None:
            return "the network does not begin with a dense layer, so that it has no row space"
        if self.space == "public pictures":
            try:
                _ = seen.public
            except AccessError:
                return "a prior is learned from public pictures, which this adversary does not have"
        return ""

    def run(self, seen: ReleasedObservation, rng: Seeds) -> Extraction:
        """Search from every restart at once."""
        m = min(self.per_picture * (seen.count or ASSUMED), self.most)
        device = seen.model.mean.device
        draw = torch.Generator().manual_seed(rng.integer())
        noise = torch.randn(self.restarts, m, *seen.image_shape, generator=draw).to(device)
        gray = seen.model.mean.expand(1, seen.image_shape[0], 1, 1)
        pictures = (gray + self.start * noise).clamp(0, 1).requires_grad_()
        multipliers = torch.zeros(self.restarts, m, device=device).requires_grad_()
        outputs = seen.model(pictures.detach()[0, :1]).shape[1]
        labels = torch.arange(m, device=device) % max(outputs, 2)
        unexplained = self._loss(seen, labels)
        project = self._projection(seen)
        optimizer = torch.optim.Adam(
            [
                {"params": [pictures], "lr": self.learning_rate},
                {"params": [multipliers], "lr": self.multiplier_rate},
            ],
            betas=(0.9, 0.99),
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps, 0.0)
        for _ in range(self.steps):
            # The sum over restarts: none of them feels another.
            loss = unexplained(pictures, F.softplus(multipliers)).sum()
            if self.variation:
                loss = loss + self.variation * total_variation(pictures.flatten(0, 1)) * len(noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                pictures.copy_(project(pictures).clamp(0, 1))
        with torch.no_grad():
            share = unexplained(pictures, F.softplus(multipliers))
            # A candidate weighs as much as its multiplier, in a restart that explains more.
            weight = F.softplus(multipliers) / F.softplus(multipliers).mean(1, keepdim=True)
            confidence = (weight / share[:, None].clamp_min(1e-12)).flatten()
        return Extraction(
            pictures.detach().flatten(0, 1),
            labels.repeat(self.restarts),
            confidence,
            {"unexplained": float(share.min()), "unexplained at worst": float(share.max())},
        )

    def _loss(
        self, seen: ReleasedObservation, labels: Tensor
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Return what maps pictures [r, m, c, h, w] and multipliers [r, m] to [r]."""
        model, chain = seen.model, chain_of(seen.model.network)
        if chain is not None:
            chosen = [0] if self.layers == "first" else list(range(len(chain.weights)))

            def dense(pictures: Tensor, multipliers: Tensor) -> Tensor:
                inputs = ((pictures - model.mean) / model.std).flatten(2)
                return dense_residual(chain, inputs, labels, multipliers, self.sharpness, chosen)

            return dense
        network = smoothed(model.network, self.sharpness)
        names = [name.rpartition(".")[0] for name, _ in network.named_parameters()]
        wanted = names[:1] if self.layers == "first" else []

        def any_network(pictures: Tensor, multipliers: Tensor) -> Tensor:
            inputs = (pictures - model.mean) / model.std
            return residual(network, inputs, labels, multipliers, wanted)

        return any_network

    def _projection(self, seen: ReleasedObservation) -> Callable[[Tensor], Tensor]:
        """Return what maps pictures [r, m, c, h, w] to the nearest ones where they may live."""
        if self.space == "pixels" or (self.space == "public pictures" and self.unfit(seen)):
            return lambda pictures: pictures
        offset, axes = self._public(seen) if self.space == "public pictures" else self._rows(seen)

        def project(pictures: Tensor) -> Tensor:
            away = pictures.flatten(2) - offset
            inside: Tensor = offset + (away @ axes) @ axes.T
            return inside.reshape(pictures.shape)

        return project

    def _public(self, seen: ReleasedObservation) -> tuple[Tensor, Tensor]:
        """Return the mean of public pictures [pixels], and their principal axes [pixels, k]."""
        own = seen.public.images.flatten(1).to(seen.model.mean)
        axes = torch.linalg.svd(own - own.mean(0), full_matrices=False)[2]
        return own.mean(0), axes[: self.components].T

    def _rows(self, seen: ReleasedObservation) -> tuple[Tensor, Tensor]:
        """Return a picture of the first layer's row space [pixels], and its axes [pixels, k]."""
        found = first_dense(seen.model.network)
        if found is None:
            raise ValueError(self.unfit(seen))
        name, layer = found
        state = seen.initialization
        initial = None if state is None else (state[f"{name}.weight"], state.get(f"{name}.bias"))
        most = seen.count or min(layer.weight.shape)
        normalization = seen.model.mean, seen.model.std
        span = span_of(seen.model.network, normalization, seen.image_shape, most, initial)
        to = seen.model.mean
        axes = torch.linalg.qr(torch.from_numpy(span.basis)).Q.to(to)
        return torch.from_numpy(span.offset).to(to), axes
