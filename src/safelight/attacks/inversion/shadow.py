"""Shadow: imitate an edge that cannot be queried, then invert the imitation."""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

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
from safelight.attacks.inversion.class_means import deviation_of, likely_messages
from safelight.attacks.inversion.decoder import Decoder
from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation
from safelight.threats.split_inference import HE_2019

#: A loss of messages [n, ...] of the public pictures in ``rows`` [n].
_Loss = Callable[[Tensor, Tensor], Tensor]

#: Offsets (down, right) at which the covariance of channels is compared: what tells a filter from
#: its mirror image is how neighboring places go together.
OFFSETS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))

#: Units of a message without a grid whose covariance is compared; more would not fit in memory.
WIDEST = 4096


@dataclass(frozen=True, kw_only=True)
class Shadow(InversionAttack):
    """Train an edge of one's own that works with the cloud's part, and invert it.

    He et al. (2019) ask only that the shadow g with the cloud c classifies: CE(c(g(x)), y). Many
    edges do. ``alignment = "moments"`` asks as well that its messages are distributed as the
    victims' are: the mean at every place, the mean at every place of every class that the cloud
    recognizes, and the covariances of channels at several offsets. (The aim is that of FORA and
    SDAR, which train a critic for it; matched moments need no second network.) Nothing of the
    victims but their messages is used.

    Several shadows are begun; the one with the lowest loss, which the adversary sees, is trained
    on. From random weights most end at edges that match the moments in another way than the
    target's. Aligned ones therefore begin, but for the first, at what class means say of messages
    (``inversion/class_means``).

    Attributes:
        alignment: ``moments`` or ``none`` (the paper's).
        weight: of the alignment beside the cross-entropy.
        steps: optimizer steps of the shadow that is kept.
        tries: shadows begun, for a fifth of the steps each, and as many more to begin at class
            means.
        batch_size: pictures a step; two at least, for moments are compared on halves.
        learning_rate: peak of the one-cycle schedule.
        precision: of the passes in training; ``bfloat16`` is faster where the hardware has it.
        decoder: the inverse network of the shadow.
    """

    reference: ClassVar[Reference] = HE_2019
    needs: ClassVar[Needs] = Needs(messages=True, cloud=True, public=True, labels=True)

    alignment: Literal["moments", "none"] = "moments"
    weight: Positive = 1.0
    steps: Count = 500
    tries: Count = 4
    batch_size: Annotated[int, pydantic.Field(ge=2)] = 128
    learning_rate: Positive = 5e-3
    precision: Literal["float32", "bfloat16"] = "float32"
    decoder: Decoder = field(default_factory=Decoder)

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of the shadows and of the inverse network."""
        edge = seen.untrained_edge(Seeds(0))
        imagining = forward_flops(edge, seen.public.images[:1])
        step = imagining + forward_flops(seen.cloud, seen.messages[:1])
        steps = self.steps * (1 + (self.tries > 1) * self.tries / 5)
        cost = steps * step + (self.alignment != "none") * (self.tries - 1) / 5 * imagining
        return 3 * self.batch_size * cost + self.decoder.flops(seen.imagine(edge))

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim by an inverse network of the shadow."""
        seeds = rng.child("shadow")
        edge = seen.untrained_edge(seeds)
        victims = hashlib.sha256(seen.messages.cpu().numpy().tobytes()).hexdigest()
        options = dataclasses.asdict(dataclasses.replace(self, decoder=Decoder()))
        work = {"shadow": options, "seed": seeds.integer(), "victims": victims}
        edge.load_state_dict(seen.remember(work, lambda: self._imitate(seen, seeds)))
        edge.eval().requires_grad_(False)
        return self.decoder.run(seen.imagine(edge).restricted(self.decoder.needs), rng)

    def _imitate(self, seen: SplitObservation, seeds: Seeds) -> dict[str, Tensor]:
        """Return the weights of the best of several shadows."""
        imitation = self._imitation(seen)
        few = max(self.steps // 5, 1)
        expected = None
        begun = []
        for attempt in range(self.tries):
            own = seeds.child("try", str(attempt))
            edge = seen.untrained_edge(own)
            if attempt and self.alignment != "none":
                expected = expected or self._expectation(seen)
                self._train(edge, seen, expected, own.child("class means"), few)
            loss = 0.0
            if self.tries > 1:
                loss = self._train(edge, seen, imitation, own, few)
            begun.append((loss, attempt, edge))
        _, _, best = min(begun, key=lambda one: one[:2])
        self._train(best, seen, imitation, seeds.child("best"), self.steps)
        return dict(best.state_dict())

    def _train(
        self, edge: nn.Module, seen: SplitObservation, loss_of: _Loss, seeds: Seeds, steps: int
    ) -> float:
        """Train in place; return the mean loss of the last fifth of the steps."""
        public = seen.public
        pictures = public.images.contiguous(memory_format=torch.channels_last)
        draw = torch.Generator().manual_seed(seeds.integer())
        own = [one for one in edge.parameters() if one.requires_grad]
        optimizer = torch.optim.Adam(own, self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=steps + 1, pct_start=0.1
        )
        losses = []
        edge.train()
        for _ in range(steps):
            rows = torch.randint(len(public), (self.batch_size,), generator=draw)
            rows = rows.to(public.images.device)
            with self._fast(rows):
                messages = edge(pictures[rows])
            loss = loss_of(messages, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        edge.eval()
        return float(torch.stack(losses[-max(steps // 5, 1) :]).mean())

    def _imitation(self, seen: SplitObservation) -> _Loss:
        """Return CE(c(g(x)), y) and how far messages are from being distributed as the victims'."""
        distance = self._distance(seen)

        def loss_of(messages: Tensor, rows: Tensor) -> Tensor:
            labels = seen.labels[rows]
            with self._fast(rows):
                logits = seen.cloud(messages)
            loss = F.cross_entropy(logits.float(), labels)
            return loss + self.weight * distance(messages.float(), labels)

        return loss_of

    def _expectation(self, seen: SplitObservation) -> _Loss:
        """Return the squared distance from what class means say, in units of the deviation."""
        expected = likely_messages(seen)
        unit = deviation_of(_placed(seen.messages))

        def loss_of(messages: Tensor, rows: Tensor) -> Tensor:
            gap = messages.float() - expected(seen.public.images[rows])
            return (_placed(gap) / unit).square().mean()

        return loss_of

    def _fast(self, beside: Tensor) -> torch.autocast:
        """Return the context of passes in training."""
        half = self.precision == "bfloat16"
        return torch.autocast(beside.device.type, torch.bfloat16, enabled=half)

    def _distance(self, seen: SplitObservation) -> Callable[[Tensor, Tensor], Tensor]:
        """Return how far messages with labels are from being distributed as the victims'."""
        if self.alignment == "none":
            return lambda messages, labels: messages.new_zeros(())
        theirs = seen.messages
        with torch.no_grad():
            said = torch.cat([seen.cloud(part).argmax(1) for part in theirs.split(500)])
        return Moments(theirs, said, len(seen.public.classes))


class Moments:
    """First and second moments of messages, to compare others with.

    Args:
        messages: [n, channels, h, w], or [n, ...] without a grid.
        labels: [n], as the cloud recognizes them.
        classes: how many there are.
    """

    def __init__(self, messages: Tensor, labels: Tensor, classes: int) -> None:
        self.classes = classes
        messages = _placed(messages)
        self.deviation = deviation_of(messages).flatten()
        self.mean = messages.mean(0)
        self.of_class, count = self._class_means(messages, labels)
        self.share = count / len(labels)  # a mean of few messages is uncertain and weighs less
        self.covariance = self._covariances(messages)

    def __call__(self, messages: Tensor, labels: Tensor) -> Tensor:
        """Return the squared distance of the moments, in units of each channel's deviation."""
        gaps = [
            self._gaps(half, own)
            for half, own in zip(_placed(messages).chunk(2), labels.chunk(2), strict=True)
        ]
        # The product of two independent halves: a square would add the variance of the batch's
        # own moments, which a shadow lowers by shrinking its messages.
        mean, of_class, covariance = (one * other for one, other in zip(*gaps, strict=True))
        out: Tensor = mean.mean() + of_class.flatten(1).mean(1).sum() + 10 * covariance.mean()
        return out

    def _gaps(self, messages: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return how far each moment is off, in units of each channel's deviation."""
        unit = self.deviation.reshape(-1, *(1 for _ in messages.shape[2:]))
        mean = (messages.mean(0) - self.mean) / unit
        means, count = self._class_means(messages, labels)
        known = ((count > 0) * self.share).reshape(-1, *(1 for _ in mean.shape))
        of_class = known.sqrt() * (means - self.of_class) / unit
        some = self.deviation[: self.covariance.shape[1]]
        covariance = (self._covariances(messages) - self.covariance) / (some[:, None] * some)
        return mean, of_class, covariance

    def _class_means(self, messages: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        member = F.one_hot(labels, self.classes).to(messages)
        count = member.sum(0)
        means = member.T @ messages.flatten(1) / count.clamp_min(1)[:, None]
        return means.unflatten(1, messages.shape[1:]), count

    def _covariances(self, messages: Tensor) -> Tensor:
        """Return the covariance of channels at every offset, [offsets, channels, channels]."""
        each = (0, 2, 3) if messages.ndim == 4 else (0,)
        centered = messages - messages.mean(each, keepdim=True)
        if messages.ndim != 4:
            some = centered[:, :WIDEST]
            return (some.T @ some / len(some))[None]
        h, w = messages.shape[2:]
        found = []
        for down, right in OFFSETS:
            if down >= h or abs(right) >= w:
                continue
            here = centered[:, :, : h - down, max(0, -right) : w - max(0, right)]
            there = centered[:, :, down:, max(0, right) : w + min(0, right)]
            a, b = (one.permute(1, 0, 2, 3).flatten(1) for one in (here, there))
            found.append(a @ b.T / a.shape[1])
        return torch.stack(found)


def _placed(messages: Tensor) -> Tensor:
    """Return messages with a grid as they are, others as [n, d]."""
    return messages if messages.ndim == 4 else messages.flatten(1)
