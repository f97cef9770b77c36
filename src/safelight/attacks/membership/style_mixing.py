"""Style mixing: pictures whose layers take the styles of two latents may show training pictures."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from safelight.attacks.generator_attack import CandidateAttack, CandidateScores, Count
from safelight.catalog import Reference
from safelight.metrics.memorization import nearest
from safelight.stats.seeds import Seeds
from safelight.targets.generators.mapping import mixed
from safelight.threats.released_generator import BATCH, GeneratorNeeds, GeneratorObservation

#: Distances below a hundredth of a gray level out of 255 are the same picture.
SAME_PICTURE = 4e-5


@dataclass(frozen=True, kw_only=True)
class StyleMixing(CandidateAttack):
    """Score a candidate by how near pictures of mixed styles come to it.

    Every picture takes the w of one latent up to a random layer and that of another from there on
    (Karras et al. 2019, section 3.1). Beside ``membership/generator_distance`` by as many samples
    and neighbors it says whether mixing exposes training pictures more than plain pictures do. A
    generator with one layer of styles mixes nothing, and makes plain pictures here too.

    Attributes:
        samples: pictures made.
        neighbors: nearest pictures that a distance is a mean over.
    """

    reference: ClassVar[Reference] = Reference(
        key="karras2019",
        authors="Karras, Tero and Laine, Samuli and Aila, Timo",
        title="A Style-Based Generator Architecture for Generative Adversarial Networks",
        year=2019,
        venue="CVPR 2019",
        doi="10.1109/CVPR.2019.00453",
    )

    samples: Count = 10_000
    neighbors: Count = 5

    @property
    def needs(self) -> GeneratorNeeds:
        """Candidates, the mapping apart from the synthesis, and own pictures to calibrate by."""
        return GeneratorNeeds(candidates=True, weights=True, reference=True)

    def run(self, seen: GeneratorObservation, rng: Seeds) -> CandidateScores:
        """Score by log r_own(x) - log r_mixed(x), r the mean distance to the nearest pictures."""
        images = seen.candidates.images
        made = self._made(seen, rng)
        apart, which = nearest(images, made, self.neighbors)
        own = nearest(images, seen.reference.images, self.neighbors)[0]
        scores = _logarithm(own.mean(1)) - _logarithm(apart.mean(1))
        return CandidateScores(scores.double().cpu().numpy(), made[which[:, 0]])

    @torch.no_grad()
    def _made(self, seen: GeneratorObservation, rng: Seeds) -> Tensor:
        painter = seen.painter
        z, classes = seen.latents(self.samples, rng.child("first style"))
        second = seen.latents(self.samples, rng.child("second style"))[0]
        cuts = np.random.default_rng(rng.child("crossover").integer())
        made = []
        for rows in torch.arange(len(z), device=z.device).split(BATCH):
            own = None if classes is None else classes[rows]
            ws, others = painter.mapped(z[rows], own), painter.mapped(second[rows], own)
            if ws.shape[1] > 1:
                ws = _each_mixed(ws, others, cuts)
            made.append(painter.of_ws(ws).clamp(0, 1))
        return torch.cat(made)


def _each_mixed(ws: Tensor, others: Tensor, cuts: np.random.Generator) -> Tensor:
    """Return ws [n, num_ws, w_dim] whose layers from a random one on are those of others."""
    drawn = torch.from_numpy(cuts.integers(1, ws.shape[1], len(ws))).to(ws.device)
    found = ws
    for cut in range(1, ws.shape[1]):
        found = torch.where((drawn == cut)[:, None, None], mixed(ws, others, cut), found)
    return found


def _logarithm(apart: Tensor) -> Tensor:
    return apart.clamp_min(SAME_PICTURE).log()
