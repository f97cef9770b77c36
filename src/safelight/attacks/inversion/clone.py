"""Clone: rebuild the edge by queries, then attack the copy as if its weights were known."""

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.attacks.inversion.likelihood import Likelihood
from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation
from safelight.threats.split_inference import HE_2019


@dataclass(frozen=True, kw_only=True)
class Clone(InversionAttack):
    """Fit an edge g to the answers of the real one, then search by likelihood through g.

    Minimizes mean((g(x) - f(x))^2) over public pictures, every channel in units of its own
    deviation (He et al. 2019, section 6.3 and table 8). The search starts from an inverse network
    of the real edge, which the same queries train, and its prior is weighed on real answers: a
    copy that misleads is not followed.

    Attributes:
        steps: optimizer steps of the copy.
        batch_size: pictures a step.
        learning_rate: peak of the one-cycle schedule.
        likelihood: the white-box attack on the copy.
    """

    reference: ClassVar[Reference] = HE_2019
    needs: ClassVar[Needs] = Needs(messages=True, queries=True, public=True)

    steps: Count = 1000
    batch_size: Count = 64
    learning_rate: Positive = 5e-3
    likelihood: Likelihood = field(default_factory=Likelihood)

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of the copy and of the attack on it."""
        edge = seen.untrained_edge(Seeds(0))
        step = forward_flops(edge, seen.public.images[:1])
        fitting = 3 * self.steps * self.batch_size * step
        return fitting + self.likelihood.flops(seen.holding(edge))

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim through the copy."""
        seeds = rng.child("clone")
        edge = seen.untrained_edge(seeds)
        options = {**dataclasses.asdict(self), "likelihood": None}
        work = {"clone": options, "seed": seeds.integer()}
        edge.load_state_dict(seen.remember(work, lambda: self._fit(seen, seeds)))
        edge.eval().requires_grad_(False)
        return self.likelihood.run(seen.holding(edge), rng)

    def _fit(self, seen: SplitObservation, seeds: Seeds) -> dict[str, Tensor]:
        """Return the weights of an edge fitted to the answers."""
        edge = seen.untrained_edge(seeds)
        pictures = seen.public.images
        answers = seen.query(pictures)
        each = (0, 2, 3) if answers.ndim == 4 else (0,)
        deviation = answers.std(each, keepdim=True)
        deviation = deviation.clamp_min(1e-2 * float(deviation.max()) + 1e-12)
        draw = torch.Generator().manual_seed(seeds.child("order").integer())
        own = [one for one in edge.parameters() if one.requires_grad]
        optimizer = torch.optim.Adam(own, self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.steps + 1, pct_start=0.1
        )
        edge.train()
        for _ in range(self.steps):
            rows = torch.randint(len(pictures), (self.batch_size,), generator=draw)
            rows = rows.to(pictures.device)
            loss = ((edge(pictures[rows]) - answers[rows]) / deviation).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return dict(edge.eval().state_dict())
