"""Class means: what a class looks like on average, in messages and in pictures, ties them."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.attack import InversionAttack, Reconstruction, forward_flops
from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.threats.observation import Needs, SplitObservation

#: Ridges and kernels to choose from: how strongly the map is held small, in units of the mean
#: square of a class mean, and how far around a place it looks.
RIDGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
KERNELS = (1, 3, 5)

#: Kernels where the map will be refined: a wider one takes more steps than there are.
NARROW = (1, 3)

#: A weight one place further away is held smaller by this factor.
NEARER = 2.0

#: How often the classes are halved at random to choose them.
HALVINGS = 5

#: How often the map of linear messages is refined, and what the loss weighs beside class means.
REFINEMENTS = 180
COLORS = 100.0
RANGE = 100.0

#: Offsets at which colors are compared: up to four pixels, each pair of places once.
OFFSETS = [(down, right) for down in range(5) for right in range(-4, 5) if down > 0 or right >= 0]


@dataclass(frozen=True, kw_only=True)
class ClassMeans(InversionAttack):
    """Learn one small map from messages to pictures from class means alone, without queries.

    The cloud's part says how likely each class is for every victim's message z_i. If its
    probabilities p_k are calibrated, sum_i p_k(z_i) z_i / sum_i p_k(z_i) estimates E[z | k], whose
    counterpart E[x | k] is known from labeled public pictures. One convolution, shared by all
    places, has to carry the one to the other: ten classes times every place are enough equations.
    Ridge and kernel are those by which one half of the classes best predicts the other. The
    victims' pictures are never looked at.

    Where the message has a value for every pixel and takes both signs, it is likely to be linear.
    Then the map is refined: rebuilt pictures shall have the color covariances of public ones at
    every small offset, and lie in [0, 1]; at last their tones are those of public pictures.
    (After a rectifier this was seen to mislead.)

    This is moment alignment in closed form, as two-sample instrumental variables are (Angrist and
    Krueger 1992), with the class as the instrument. No edge is imitated, so its structure need
    not be known.
    """

    reference: ClassVar[Reference] = Reference(
        key="angrist1992",
        authors="Angrist, Joshua D. and Krueger, Alan B.",
        title="The Effect of Age at School Entry on Educational Attainment: "
        "An Application of Instrumental Variables with Moments from Two Samples",
        year=1992,
        venue="Journal of the American Statistical Association 87(418)",
        doi="10.1080/01621459.1992.10475212",
    )
    needs: ClassVar[Needs] = Needs(messages=True, cloud=True, public=True, labels=True)

    def flops(self, seen: SplitObservation) -> float:
        """Return the cost of asking the cloud and of every decomposition."""
        grid = math.prod(seen.message_shape[1:]) if len(seen.message_shape) == 3 else 1
        channels = math.prod(seen.message_shape) // grid
        kernels = KERNELS if grid > 1 else (1,)
        classes = len(seen.public.classes)
        rows, wide = classes * grid, [channels * kernel**2 for kernel in kernels]
        solving = sum(10 * rows * columns * min(rows, columns) for columns in wide)
        asking = len(seen.messages) * forward_flops(seen.cloud, seen.messages[:1])
        return (classes + 1) * solving + asking

    def run(self, seen: SplitObservation, rng: Seeds) -> Reconstruction:
        """Rebuild every victim by the map that ties the class means; nothing in it is random."""
        said, pictures, labels = _told(seen)
        messages = _placed(seen.messages)
        deviation = deviation_of(messages)
        typical = (messages.mean(0) - messages.mean((0, 2, 3))[:, None, None]) / deviation[0]
        messages = (messages - messages.mean(0)) / deviation
        mean = pictures.mean(0)
        ways = layouts(seen.message_shape, seen.image_shape)

        def linear(layout: Layout) -> bool:
            return layout.stride == 1 and bool((seen.messages < 0).any())

        def learn() -> dict[str, Tensor]:
            ties = [_Ties(said, labels, layout, messages, pictures - mean) for layout in ways]
            kernels = NARROW if any(linear(layout) for layout in ways) else KERNELS
            which, kernel, ridge = _choice(ties, kernels)
            (weight,) = ties[which].maps(list(range(len(ties[which].share))), kernel, [ridge])
            if linear(ways[which]):
                weight = _refined(weight, ways[which].padded(messages), pictures, ties[which])
            return {"weight": weight, "layout": torch.tensor(which), "ridge": torch.tensor(ridge)}

        victims = hashlib.sha256(seen.messages.cpu().numpy().tobytes()).hexdigest()
        learned = seen.remember({"class means": victims}, learn)
        weight, layout = learned["weight"].to(messages), ways[int(learned["layout"])]
        kernel = weight.shape[-1]
        rebuilt = F.conv2d(layout.padded(messages), weight, padding=kernel // 2)
        if linear(layout):
            rebuilt = rebuilt + _own_mean(weight, layout, mean, typical) - layout.folded(mean[None])
        rebuilt = layout.unfolded(rebuilt) + mean
        if linear(layout):
            rebuilt = _toned(rebuilt, pictures)
        found = {"kernel": float(kernel), "ridge": float(learned["ridge"])}
        return Reconstruction(rebuilt.clamp(0, 1), found)


def likely_messages(seen: SplitObservation) -> Callable[[Tensor], Tensor]:
    """Return a map from pictures [n, c, h, w] to about the messages that they would send.

    The equations of ``ClassMeans`` the other way round: one convolution carries the mean pictures
    of the classes to their mean messages. It is too simple for an edge, and enough to begin an
    imitation of one with. Never outside the range in which messages were seen.
    """
    said, pictures, labels = _told(seen)
    messages = _placed(seen.messages)
    deviation, center, mean = deviation_of(messages), messages.mean(0), pictures.mean(0)
    low, high = (bound((0, 2, 3), keepdim=True) for bound in (messages.amin, messages.amax))
    known = F.one_hot(labels, said.shape[1]).to(said)
    ways, ties, scales = layouts(seen.message_shape, seen.image_shape), [], []
    for layout in ways:
        cells = layout.folded(pictures - mean)
        scales.append(deviation_of(cells))
        places = Layout(layout.cells, 1, layout.cells, (0, 0, 0, 0))
        told = layout.padded((messages - center) / deviation)
        ties.append(_Ties(known, said.argmax(1), places, cells / scales[-1], told))
    which, kernel, ridge = _choice(ties, KERNELS)
    (weight,) = ties[which].maps(list(range(len(ties[which].share))), kernel, [ridge])
    layout, scale = ways[which], scales[which]
    left, _, top, _ = layout.padding
    height, width = messages.shape[2:]

    def expected(images: Tensor) -> Tensor:
        cells = layout.folded(images - mean) / scale
        found = F.conv2d(cells, weight, padding=weight.shape[-1] // 2)
        found = found[:, :, top : top + height, left : left + width] * deviation + center
        return found.clamp(low, high).reshape(-1, *seen.message_shape)

    return expected


def deviation_of(values: Tensor) -> Tensor:
    """Return the standard deviation of each channel of [n, channels, ...], ready to divide by."""
    deviation = values.std((0, *range(2, values.ndim)), keepdim=True)
    # A channel that hardly ever moves would weigh infinitely: at least 1 % of the largest.
    return deviation.clamp_min(1e-2 * float(deviation.max()) + 1e-12)


@dataclass(frozen=True)
class Layout:
    """How the places of a message lie over a picture.

    Each of ``cells`` places is answerable for a square of ``stride`` pixels. Around a message
    that is smaller than that there is ``padding`` (left, right, top, bottom), as valid
    convolutions leave it; else the picture is stretched to fit.
    """

    image_size: tuple[int, int]
    stride: int
    cells: tuple[int, int]
    padding: tuple[int, int, int, int]

    def padded(self, messages: Tensor) -> Tensor:
        """Return centered messages as [n, channels, *cells]; what is not sent is at its mean."""
        return F.pad(messages, self.padding)

    def folded(self, pictures: Tensor) -> Tensor:
        """Return pictures [n, c, height, width] as [n, c * stride^2, *cells]."""
        size = [side * self.stride for side in self.cells]
        return F.pixel_unshuffle(_resized(pictures, size), self.stride)

    def unfolded(self, cells: Tensor) -> Tensor:
        """Undo ``folded``, as far as stretching can be undone."""
        return _resized(F.pixel_shuffle(cells, self.stride), self.image_size)


def layouts(message_shape: tuple[int, ...], image_shape: tuple[int, int, int]) -> list[Layout]:
    """Return how messages may lie over pictures; without a grid, one place sees all of it."""
    size = height, width = image_shape[1:]
    if len(message_shape) != 3:
        return [Layout(size, max(size), (1, 1), (0, 0, 0, 0))]
    h, w = message_shape[1:]
    ratio = min(height / h, width / w)
    found = [Layout(size, max(1, round(ratio)), (h, w), (0, 0, 0, 0))]
    stride = 2 ** int(math.log2(max(ratio, 1)))
    rows, columns = height // stride - h, width // stride - w
    if (rows > 0 or columns > 0) and height % stride == width % stride == 0:
        padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        found.append(Layout(size, stride, (height // stride, width // stride), padding))
    return found


def _resized(pictures: Tensor, size: Sequence[int]) -> Tensor:
    if pictures.shape[2:] == tuple(size):
        return pictures
    return F.interpolate(pictures, tuple(size), mode="bilinear", align_corners=False)


class _Ties:
    """Class means: ``messages`` [classes, channels, *cells], ``pictures`` [classes, f, *cells].

    Args:
        said: how likely each class is for each message, [n, classes].
        labels: classes of the pictures, [m].
        layout: of messages over pictures.
        messages: standardized, [n, channels, h, w].
        pictures: less their mean, [m, c, height, width].
    """

    def __init__(
        self, said: Tensor, labels: Tensor, layout: Layout, messages: Tensor, pictures: Tensor
    ) -> None:
        member = F.one_hot(labels, said.shape[1]).to(said)
        self.said, self.share = said, said.mean(0)
        self.layout, self.truth = layout, _weighted_means(member, pictures)
        self.messages = _weighted_means(said, layout.padded(messages))
        self.pictures = layout.folded(self.truth)

    def errors(self, kernel: int) -> list[float]:
        """Return, for each ridge, the squared error on one half of the classes by the other's map.

        Halves, not single classes: what one class adds to nine lies nearly in their span, and
        single pictures do not. As pictures, so that a layout that blurs them is judged on that.
        """
        classes = self.share.nonzero().flatten().tolist()
        draw = torch.Generator().manual_seed(0)
        errors = torch.zeros(len(RIDGES))
        for _ in range(HALVINGS):
            order = [classes[one] for one in torch.randperm(len(classes), generator=draw).tolist()]
            half = len(order) // 2
            for kept, left in ((order[:half], order[half:]), (order[half:], order[:half])):
                for place, weight in enumerate(self.maps(kept, kernel, RIDGES)):
                    claim = F.conv2d(self.messages[left], weight, padding=kernel // 2)
                    error = self.layout.unfolded(claim) - self.truth[left]
                    errors[place] += error.square().mean().cpu()
        return [float(one) for one in errors]

    def maps(self, classes: list[int], kernel: int, ridges: Sequence[float]) -> list[Tensor]:
        """Return the map [f, channels, kernel, kernel] of some classes for every ridge.

        min_W |sqrt(share) (A W - B)|^2 + ridge |D W|^2, where a row of A is what surrounds one
        place of a class mean and D holds weights further away smaller. Solved in the smaller of its
        two forms.
        """
        some = self.share[classes, None, None].sqrt()
        around = F.unfold(self.messages[classes], kernel, padding=kernel // 2) * some
        a = around.transpose(1, 2).flatten(0, 1)
        b = (self.pictures[classes].flatten(2) * some).transpose(1, 2).flatten(0, 1)
        offset = torch.arange(kernel, device=a.device) - kernel // 2
        steps = (offset[:, None].abs() + offset.abs()).flatten().repeat(self.messages.shape[1])
        nearer = NEARER ** (-steps / 2)
        unit = a.square().sum(0).mean() + 1e-12  # a message may say nothing
        a, b = (a * nearer).double(), b.double()
        tall = len(a) > a.shape[1]
        values, vectors = torch.linalg.eigh(a.T @ a if tall else a @ a.T)
        told = vectors.T @ (a.T @ b if tall else b)
        weights = []
        for ridge in ridges:
            solved = vectors @ (told / (values + ridge * unit)[:, None])
            weights.append(nearer[:, None] * (solved if tall else a.T @ solved).float())
        return [one.T.unflatten(1, (-1, kernel, kernel)) for one in weights]


def _told(seen: SplitObservation) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the cloud says of the messages, [n, classes], and pictures with their labels."""
    with torch.no_grad():
        said = torch.cat([seen.cloud(part).softmax(1) for part in seen.messages.split(100)])
    own = _in_proportion(seen.labels, said.mean(0))
    return said, seen.public.images[own], seen.labels[own]


def _placed(messages: Tensor) -> Tensor:
    """Return messages with a grid as they are, others at one place, [n, d, 1, 1]."""
    return messages if messages.ndim == 4 else messages.flatten(1)[:, :, None, None]


def _in_proportion(labels: Tensor, share: Tensor) -> Tensor:
    """Return the rows of as many pictures as have their classes in the victims' proportions.

    Means and covariances of all pictures depend on how many there are of each class.
    """
    member = F.one_hot(labels, len(share))
    count = member.sum(0)
    total = (count / share.clamp_min(1e-6))[count > 0].min()
    place = member.cumsum(0).gather(1, labels[:, None])[:, 0]
    return (place <= share[labels] * total + 0.5).nonzero()[:, 0]


def _choice(ties: list[_Ties], kernels: Sequence[int]) -> tuple[int, int, float]:
    """Return layout, kernel and ridge by which classes that were left out are predicted best."""
    tried = []
    for which, tie in enumerate(ties):
        for kernel in (one for one in kernels if one <= 2 * min(tie.messages.shape[2:]) - 1):
            for ridge, error in zip(RIDGES, tie.errors(kernel), strict=True):
                tried.append((error, which, kernel, ridge))
    _, which, kernel, ridge = min(tried)
    return which, kernel, ridge


def _weighted_means(weights: Tensor, values: Tensor) -> Tensor:
    """Return the means [k, ...] of values [n, ...] under each column of weights [n, k]."""
    means = weights.T @ values.flatten(1) / weights.sum(0).clamp_min(1e-12)[:, None]
    return means.reshape(-1, *values.shape[1:])


def _refined(weight: Tensor, messages: Tensor, pictures: Tensor, ties: _Ties) -> Tensor:
    """Refine the map of linear messages until what it rebuilds is distributed as pictures are.

    Loss: squared distance of the class means, in units of what sampling alone makes of it; of the
    covariances of colors at ``OFFSETS``, in units of the variance; and of the pixels from [0, 1].
    """
    weight, mean = weight.clone().requires_grad_(), pictures.mean(0)
    with torch.no_grad():
        wanted = _covariances(pictures)
        variance = wanted[0].diagonal().mean()
    optimizer = torch.optim.Adam([weight], 1e-3)
    sampling = variance * len(ties.share) / len(messages)
    for _ in range(REFINEMENTS):
        rebuilt = F.conv2d(messages, weight, padding=weight.shape[-1] // 2)
        gap = (_weighted_means(ties.said, rebuilt) - ties.pictures).square().flatten(1).mean(1)
        covariance = (_covariances(rebuilt) - wanted).square().sum((1, 2)).mean()
        outside = rebuilt + mean - (rebuilt + mean).clamp(0, 1)
        loss = (ties.share * gap).sum() / sampling + COLORS * covariance / variance**2
        loss = loss + RANGE * outside.square().mean() / variance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weight.detach()


def _covariances(pictures: Tensor) -> Tensor:
    """Return the covariance of channels at every offset, [offsets, channels, channels]."""
    centered = pictures - pictures.mean(0)
    h, w = centered.shape[2:]
    found = []
    for down, right in OFFSETS:
        here = centered[:, :, : h - down, max(0, -right) : w - max(0, right)]
        there = centered[:, :, down:, max(0, right) : w + min(0, right)]
        a, b = (one.transpose(0, 1).flatten(1) for one in (here, there))
        found.append(a @ b.T / a.shape[1])
    return torch.stack(found)


def _own_mean(weight: Tensor, layout: Layout, mean: Tensor, typical: Tensor) -> Tensor:
    """Return the mean picture of the victims themselves, [1, f, *cells].

    A linear map that carries differences carries the mean message ``typical`` too, but for one
    constant a color. Where the map looks over the edge of the message, public pictures decide.
    """
    around = weight.shape[-1] // 2
    seen = F.conv2d(layout.padded(typical[None]), weight, padding=around)
    kernel = torch.ones_like(weight[:1, :1])
    whole = F.conv2d(layout.padded(torch.ones_like(typical[None, :1])), kernel, padding=around)
    inside = whole[0, 0] > kernel.numel() - 0.5
    public = layout.folded(mean[None])
    if not inside.any():
        return public
    constant = (public - seen)[:, :, inside].mean(2)[:, :, None, None]
    return torch.where(inside, seen + constant, public)


def _toned(rebuilt: Tensor, pictures: Tensor) -> Tensor:
    """Give rebuilt pictures the tones of public ones: the r-th darkest pixel becomes the r-th.

    Histogram matching, a color at a time over all pixels of all pictures.
    """
    tones = pictures.transpose(0, 1).flatten(1).sort().values
    order = rebuilt.transpose(0, 1).flatten(1).argsort()
    place = torch.linspace(0, tones.shape[1] - 1, order.shape[1], dtype=torch.float64)
    wanted = tones[:, place.round().long().to(tones.device)]
    matched: Tensor = torch.empty_like(wanted).scatter(1, order, wanted)
    return matched.reshape(-1, len(rebuilt), *rebuilt.shape[2:]).transpose(0, 1)
