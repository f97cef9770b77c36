"""Inverse combination: an inverse network of a shadow, on any combination of three inputs."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from safelight.attacks.attack import (
    Count,
    InversionAttack,
    Positive,
    Reconstruction,
    forward_flops,
)
from safelight.attacks.inversion.aligned_template import (
    AnswerNetwork,
    Schooling,
    network_flops,
    rebuilt,
    taught,
)
from safelight.attacks.inversion.gradient import (
    SHADOW_RECONSTRUCTIONS,
    Asked,
    Gradient,
    asked_shadows,
    heard,
    in_logs,
)
from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation

#: What the network may be given, one letter each: o is the output vector, x the gradient
#: reconstruction, a the activations before the last linear layer.
Inputs = Literal["o", "x", "a", "ox", "oa", "xa", "oxa"]


@dataclass(frozen=True, kw_only=True)
class InverseCombination(InversionAttack):
    """Train a transposed-convolutional inverse of a shadow, and apply it to the victims' answers.

    The study's question is which inputs help: the output vector (o), the picture that a gradient
    search through the shadow finds for it (x), the activations of the last linear layer that would
    explain it (a), or any of them together. All three are computed from the answer: x and a hold
    no more of the victim than o does, but say it in another form.

    The network learns from pictures that the shadow was not trained on (the study takes those that
    it was). Its convolutions are those of ``inversion/aligned_template``; a gradient
    reconstruction enters it flattened, as published, and beside its output as a picture.

    Attributes:
        inputs: ``o``, ``x``, ``a``, or several of them.
        align: carry the victims' answers onto the shadow's distribution first.
        search: the gradient reconstruction, with its shadow.
        searched: how many public pictures are searched for, where x is an input.
        activations: those nearest to the ``class mean`` among all that explain the answer, or to
            a ``random`` vector, as published. Where no linear layer gives the answers, they are
            the answers themselves.
        steps: optimizer steps of the inverse network.
        batch_size: pictures a step.
        width: channels of the network's finest layer.
        learning_rate: peak of the one-cycle schedule.
        precision: of the network's passes in training.
    """

    reference: ClassVar[Reference] = SHADOW_RECONSTRUCTIONS
    needs: ClassVar[Needs] = Needs(messages=True, cloud=True, public=True, labels=True)

    inputs: Inputs = "o"
    align: bool = True
    search: Gradient = field(default_factory=Gradient)
    searched: Count = 3000
    activations: Literal["class mean", "random"] = "class mean"
    steps: Count = 800
    batch_size: Count = 64
    width: Count = 32
    learning_rate: Positive = 2e-3
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of the shadow, of every search and of the inverse network."""
        edge = seen.untrained_edge(Seeds(0))
        once = 3 * forward_flops(edge, seen.public.images[:1])
        searches = len(seen.messages) + self.searched if "x" in self.inputs else 0
        inputs = 10 + (math.prod(seen.image_shape) if "x" in self.inputs else 0)
        network = network_flops(inputs, seen.image_shape, self.width)
        learning = 3 * self.steps * self.batch_size * network
        imitating = self.search.imitation.flops(seen)
        return imitating + learning + searches * self.search.steps * once

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim by one pass through the inverse network."""
        seeds = rng.child("inverse combination")
        (shadow,) = asked_shadows(self.search.imitation, 1, seen, rng.child("gradient"))
        victims, said = heard(seen, shadow, self.align)
        lessons = self._lessons(seen, shadow, seeds)
        given = self._given(seen, shadow, victims, said, seeds.child("victims"))
        inputs, classes = lessons[0].shape[1], len(seen.public.classes)
        pixels = math.prod(seen.image_shape) if "x" in self.inputs else 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.integer())
            network = CombinationNetwork(inputs, pixels, seen.image_shape, classes, self.width)
        network = network.to(victims.device)
        network.answers.settle(lessons[0], lessons[2], lessons[1])
        half = self.precision == "bfloat16"
        how = Schooling(self.steps, self.batch_size, self.learning_rate, half)
        taught(network, lessons, how, seeds)
        network.eval().requires_grad_(False)
        return Reconstruction(rebuilt(network, given, said, 1.0))

    def _lessons(
        self, seen: SplitObservation, shadow: Asked, seeds: Seeds
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs, classes and pictures to learn from."""
        some = self.searched if "x" in self.inputs else len(shadow.answers)
        answers, said = shadow.answers[:some], shadow.said[:some]
        given = self._given(seen, shadow, answers, said, seeds.child("lessons"))
        return given, said, shadow.pictures[:some]

    def _given(
        self, seen: SplitObservation, shadow: Asked, answers: Tensor, said: Tensor, seeds: Seeds
    ) -> Tensor:
        """Return the network's inputs [n, k], the gradient reconstruction last."""
        parts = []
        if "o" in self.inputs:
            parts.append(answers)
        if "a" in self.inputs:
            draw = torch.Generator().manual_seed(seeds.integer())
            logs = in_logs(seen)
            parts.append(explained(shadow, answers, said, self.activations, draw, logs))
        if "x" in self.inputs:
            work = {
                "search": dataclasses.asdict(self.search),
                "answers": _sha256(answers, said),
                "seed": seeds.integer(),
            }

            def search() -> dict[str, Tensor]:
                ready = self.search.chosen(seen, shadow, seeds.child("tuning"))
                return {"x": ready.search(seen, shadow.edge, answers, said, seeds)}

            found = seen.remember(work, search)
            parts.append(found["x"].to(answers).flatten(1))
        return torch.cat(parts, 1)


class CombinationNetwork(nn.Module):
    """Inputs [n, k] and classes [n] -> pictures; the last ``pixels`` inputs are a picture.

    That picture is also laid beside what the answer network paints, and three convolutions look
    at both.
    """

    def __init__(
        self,
        inputs: int,
        pixels: int,
        image_shape: tuple[int, int, int],
        classes: int,
        width: int,
    ) -> None:
        super().__init__()
        self.pixels, self.image_shape = pixels, image_shape
        self.answers = AnswerNetwork(inputs, image_shape, classes, width)
        channels = image_shape[0]
        self.beside = nn.Sequential(
            nn.Conv2d(2 * channels, 16, 5, padding=2),
            nn.SiLU(),
            nn.Conv2d(16, 16, 5, padding=2),
            nn.SiLU(),
            nn.Conv2d(16, channels, 5, padding=2),
        )

    def forward(self, given: Tensor, said: Tensor, gate: Tensor | float = 1.0) -> Tensor:
        """Return the pictures; ``gate`` scales all that goes beyond the class's template."""
        painted = self.answers.logits(given, said, gate)
        if self.pixels:
            found = given[:, -self.pixels :].unflatten(1, self.image_shape)
            both = torch.cat([painted.sigmoid(), found.to(painted.dtype)], 1)
            painted = painted + gate * self.beside(both)
        return torch.as_tensor(painted.sigmoid())


def _sha256(*tensors: Tensor) -> str:
    """Return one hash of the numbers of tensors."""
    parts = [one.detach().cpu().contiguous().numpy().tobytes() for one in tensors]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def explained(
    shadow: Asked,
    answers: Tensor,
    said: Tensor,
    start: str,
    draw: torch.Generator,
    logs: bool,
) -> Tensor:
    """Return activations [n, h] before the last linear layer that explain answers [n, d].

    a = a_0 + W^+ (z - W a_0 - b), the nearest to a_0 of all with W a + b = z; where answers are
    centered logarithms (``logs``), of all with W a + b = z up to a constant. A shadow that does not
    end in a linear layer has none behind its answers: these are its activations.
    """
    layers = [one for one in shadow.edge.modules() if isinstance(one, nn.Linear)]
    if not layers or layers[-1].out_features != answers.shape[1]:
        return answers
    weight, own = layers[-1].weight, layers[-1].bias
    bias = answers.new_zeros(len(weight)) if own is None else own
    begun = torch.randn(len(answers), weight.shape[1], generator=draw).to(answers)
    if start == "class mean":
        known = _entering(shadow.edge, layers[-1], shadow.pictures)
        begun = known.mean(0).repeat(len(answers), 1)
        for label in said.unique().tolist():
            if (shadow.said == label).any():
                begun[said == label] = known[shadow.said == label].mean(0)
    gap = answers - begun @ weight.T - bias
    gap = gap - gap.mean(1, keepdim=True) if logs else gap
    return torch.as_tensor(begun + gap @ torch.linalg.pinv(weight).T)


@torch.no_grad()
def _entering(edge: nn.Module, layer: nn.Module, pictures: Tensor) -> Tensor:
    """Return what enters a layer of an edge, [n, h]."""
    caught: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: caught.append(given[0].detach()))
    try:
        for part in pictures.split(500):
            edge(part)
    finally:
        hook.remove()
    return torch.cat(caught)
