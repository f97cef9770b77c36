"""Query template: ask the model about one's own pictures, and learn to undo its answers."""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from safelight.attacks.attack import Count, InversionAttack, Positive, Reconstruction
from safelight.attacks.inversion.aligned_template import (
    GATES,
    AnswerNetwork,
    Schooling,
    network_flops,
    rebuilt,
    taught,
)
from safelight.attacks.inversion.decoder import held_out
from safelight.attacks.inversion.gradient import in_logs, read, recognized
from safelight.catalog import Reference
from safelight.metrics.image import ssim
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation


@dataclass(frozen=True, kw_only=True)
class QueryTemplate(InversionAttack):
    """Train x = sigmoid(template of the class + residual of the answer) on the model's answers.

    The inverse network of Yang et al. (2019) for answers too short to have a grid, where the class
    is known before the first step and only what goes beyond it is to be learned. How much of the
    residual to trust is what serves best on public pictures that were not trained on: where
    answers say no more than the class, none of it.

    Attributes:
        steps: optimizer steps.
        batch_size: pictures a step.
        width: channels of the network's finest layer.
        learning_rate: peak of the one-cycle schedule.
        precision: of the network's passes in training.
    """

    reference: ClassVar[Reference] = Reference(
        key="yang2019",
        authors="Yang, Ziqi and Zhang, Jiyi and Chang, Ee-Chien and Liang, Zhenkai",
        title="Neural Network Inversion in Adversarial Setting via Background Knowledge Alignment",
        year=2019,
        venue="ACM CCS 2019",
        doi="10.1145/3319535.3354261",
    )
    needs: ClassVar[Needs] = Needs(messages=True, queries=True, cloud=True, public=True)

    steps: Count = 1200
    batch_size: Count = 64
    width: Count = 32
    learning_rate: Positive = 2e-3
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of training."""
        once = network_flops(math.prod(seen.message_shape), seen.image_shape, self.width)
        return 3 * self.steps * self.batch_size * once

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim by one pass through the trained network."""
        seeds, logs = rng.child("query template"), in_logs(seen)
        pictures, own = held_out(seen)
        network = AnswerNetwork.like(seen, self.width, seeds)
        how = Schooling(
            self.steps, self.batch_size, self.learning_rate, self.precision == "bfloat16"
        )

        def learn() -> dict[str, Tensor]:
            messages = seen.query(pictures)
            answers, said = read(messages, logs), recognized(seen, messages)
            network.settle(answers, pictures, said)
            return taught(network, (answers, said, pictures), how, seeds)

        work = {"query template": dataclasses.asdict(self), "seed": seeds.integer()}
        network.load_state_dict(seen.remember(work, learn))
        network.eval().requires_grad_(False)
        asked = seen.query(own)
        answers, said = read(asked, logs), recognized(seen, asked)
        gate = max(
            GATES, key=lambda one: float(ssim(rebuilt(network, answers, said, one), own).mean())
        )
        heard, classes = read(seen.messages, logs), recognized(seen, seen.messages)
        return Reconstruction(rebuilt(network, heard, classes, gate), {"gate": gate})
