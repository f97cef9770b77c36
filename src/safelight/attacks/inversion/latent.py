"""Latent inversion: which pictures of a learned prior would a shadow answer like this?"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.attacks.inversion.aligned_template import unlikeness
from safelight.attacks.inversion.gradient import (
    Asked,
    Imitation,
    asked_shadows,
    heard,
    in_logs,
    read,
)
from safelight.catalog import Reference
from safelight.metrics.image import ssim
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation

#: How far an answer may be off, in units of its deviation: chosen among these, on so many
#: public pictures that the shadow was not trained on.
TOLERANCES = (0.03, 0.1, 0.3)
TUNED_ON = 48

#: Noise on codes in the training of the prior, in units of their deviation: near codes shall be
#: near pictures.
JITTER = 0.1


@dataclass(frozen=True, kw_only=True)
class Latent(InversionAttack):
    """Search the codes of a small autoencoder for those whose pictures explain the answer.

    An autoencoder learns public pictures; a bank of codes drawn from a Gaussian around those of
    each class is decoded and shown to the shadow. For every victim the codes whose answers are
    nearest begin chains that lower |f(g(u)) - z|^2 / (d t^2 var(z)) + |u|^2 / k by Adam, u in units
    of the codes' deviation, t the tolerance. The claim is the mean of the chains.

    What the chains differ in, the answer does not tell: ``diversity`` in the provenance is the
    deviation between them, the mean over pixels and victims, and ``misfit`` how far their answers
    are off, in units of the answers' deviation. A claim of small misfit and great diversity is one
    of many.

    Attributes:
        imitation: how the shadow is trained.
        size: numbers of a code.
        width: hidden units of the autoencoder.
        learning: optimizer steps of the autoencoder.
        bank: codes drawn.
        chains: searches for each victim.
        steps: of each search.
        learning_rate: of the search.
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
    needs: ClassVar[Needs] = Needs(messages=True, cloud=True, public=True, labels=True)

    imitation: Imitation = field(default_factory=Imitation)
    size: Count = 16
    width: Count = 256
    learning: Count = 800
    bank: Count = 8000
    chains: Count = 4
    steps: Count = 15
    learning_rate: Positive = 0.1

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of shadow, prior, bank and searches."""
        edge = seen.untrained_edge(Seeds(0))
        once = forward_flops(edge, seen.public.images[:1])
        searches = 3 * self.steps * self.chains * (len(seen.messages) + 3 * TUNED_ON)
        prior = 2 * self.width * (math.prod(seen.image_shape) + self.width)
        learning = 3 * 64 * self.learning * 2 * prior
        return self.imitation.flops(seen) + (self.bank + searches) * once + learning

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim as the mean of its chains."""
        seeds = rng.child("latent")
        (shadow,) = asked_shadows(self.imitation, 1, seen, rng.child("gradient"))
        prior = self._prior(seen, seeds)
        answers, said = heard(seen, shadow, True)
        search = self._bank(seen, shadow, prior, seeds)
        few = slice(0, TUNED_ON)
        tried = []
        for tolerance in TOLERANCES:
            claim, _, _ = search.run(shadow.answers[few], shadow.said[few], tolerance)
            tried.append((float(ssim(claim, shadow.pictures[few]).mean()), tolerance))
        tolerance = max(tried)[1]
        claim, diversity, misfit = search.run(answers, said, tolerance)
        facts = {"diversity": diversity, "misfit": misfit, "tolerance": tolerance}
        return Reconstruction(claim, facts)

    def _prior(self, seen: SplitObservation, seeds: Seeds) -> "Prior":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.integer())
            prior = Prior(seen.image_shape, self.size, self.width).to(seen.messages.device)
        options = {"size": self.size, "width": self.width, "learning": self.learning}
        state = seen.remember(
            {"prior": options, "seed": seeds.integer()}, lambda: self._learn(prior, seen, seeds)
        )
        prior.load_state_dict(state)
        return prior.eval().requires_grad_(False)

    def _learn(self, prior: "Prior", seen: SplitObservation, seeds: Seeds) -> dict[str, Tensor]:
        pictures = seen.public.images
        draw = torch.Generator().manual_seed(seeds.child("order").integer())
        optimizer = torch.optim.AdamW(prior.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 4e-3, total_steps=self.learning + 1
        )
        for _ in range(self.learning):
            some = torch.randint(len(pictures), (64,), generator=draw).to(pictures.device)
            code = prior.encode(pictures[some])
            noise = torch.randn(code.shape, generator=draw).to(code)
            loss = unlikeness(prior(code + JITTER * noise), pictures[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return dict(prior.state_dict())

    @torch.no_grad()
    def _bank(
        self, seen: SplitObservation, shadow: Asked, prior: "Prior", seeds: Seeds
    ) -> "_Search":
        """Draw codes around those of each class, and ask the shadow about their pictures."""
        draw = torch.Generator().manual_seed(seeds.child("bank").integer())
        codes = torch.cat([prior.encode(part) for part in seen.public.images.split(500)])
        drawn = []
        classes = seen.labels.unique().tolist()
        for label in classes:
            own = codes[seen.labels == label].double()
            spread = own.T.cov() + 1e-3 * torch.eye(self.size).to(own)
            noise = torch.randn(max(self.bank // len(classes), 1), self.size, generator=draw)
            drawn.append(own.mean(0) + noise.to(own) @ torch.linalg.cholesky(spread).T)
        bank = torch.cat(drawn).float()
        logs = in_logs(seen)
        said = torch.cat([read(shadow.edge(prior(part)), logs) for part in bank.split(500)])
        return _Search(self, prior, shadow.edge, bank, said, logs)


class Prior(nn.Module):
    """Codes [n, size] -> pictures [n, *image_shape] in (0, 1), and back: two perceptrons.

    Codes are normalized to deviation one by the last layer of the encoder.
    """

    def __init__(self, image_shape: tuple[int, int, int], size: int, width: int) -> None:
        super().__init__()
        pixels = math.prod(image_shape)
        self.image_shape = image_shape
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(pixels, width),
            nn.SiLU(),
            nn.Linear(width, size),
            nn.BatchNorm1d(size, affine=False),
        )
        self.decoder = nn.Sequential(
            nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, pixels),
        )  # fmt: skip

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the codes."""
        return torch.as_tensor(self.encoder(pictures))

    def forward(self, codes: Tensor) -> Tensor:
        """Return the pictures."""
        return torch.as_tensor(self.decoder(codes).sigmoid().unflatten(1, self.image_shape))


@dataclass(frozen=True)
class _Search:
    """A bank of codes with the shadow's answers to their pictures, to begin searches from."""

    attack: Latent
    prior: Prior
    edge: nn.Module
    bank: Tensor
    answered: Tensor
    logs: bool

    def run(self, answers: Tensor, said: Tensor, tolerance: float) -> tuple[Tensor, float, float]:
        """Return claims [n, c, h, w], the chains' diversity and their misfit."""
        del said  # the answers hold the class
        unit = float(self.answered.var()) + 1e-12
        claims, diversity, misfit = [], [], []
        for part in answers.split(64):
            found, off = self._chains(part, tolerance, unit)
            pictures = self.prior(found.flatten(0, 1)).unflatten(0, found.shape[:2])
            claims.append(pictures.mean(1))
            if self.attack.chains > 1:
                diversity.append(pictures.std(1).flatten(1).mean(1))
            misfit.append(off.sqrt())
        spread = float(torch.cat(diversity).mean()) if diversity else 0.0
        return torch.cat(claims), spread, float(torch.cat(misfit).mean())

    def _chains(self, answers: Tensor, tolerance: float, unit: float) -> tuple[Tensor, Tensor]:
        """Return codes [n, chains, size] and squared misfits [n * chains]."""
        chains = min(self.attack.chains, len(self.bank))
        nearest = torch.cdist(answers, self.answered).topk(chains, largest=False).indices
        codes = self.bank[nearest].flatten(0, 1).clone().requires_grad_()
        wanted = answers.repeat_interleave(chains, 0)
        optimizer = torch.optim.Adam([codes], self.attack.learning_rate)
        off = codes.new_zeros(len(codes))
        with torch.enable_grad():
            for step in range(self.attack.steps + 1):
                with torch.autocast(codes.device.type, torch.bfloat16):
                    messages = self.edge(self.prior(codes))
                off = (read(messages, self.logs) - wanted).square().mean(1) / unit
                if step == self.attack.steps:  # the last look only measures
                    break
                loss = (off / tolerance**2 + codes.square().mean(1)).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return codes.detach().unflatten(0, (-1, chains)), off.detach()
