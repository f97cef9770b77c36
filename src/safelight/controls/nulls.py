"""Claims that need no message: the bar that every reconstruction has to clear.

Each takes public pictures and the victims' classes, and returns one picture per victim. Knowing
the class exactly is more than most adversaries do, so the bar errs on the high side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from safelight.cache import Cache, source_of
from safelight.data.images import ImageSet
from safelight.metrics.image import ssim

#: Steps and pictures per class for the class template. More of either moved its SSIM on MNIST
#: victims by less than 0.002.
TEMPLATE_STEPS = 80
TEMPLATE_PICTURES = 50


@dataclass(frozen=True)
class Null:
    """A claim without a message. An ``oracle`` looks at the victim: for scale, never the bar."""

    claim: Callable[[ImageSet, ImageSet], Tensor]
    summary: str
    oracle: bool = False


def black(public: ImageSet, victims: ImageSet) -> Tensor:
    """Return black pictures."""
    del public
    return torch.zeros_like(victims.images)


def mean(public: ImageSet, victims: ImageSet) -> Tensor:
    """Return the mean public picture: the least squared error without any knowledge."""
    return public.images.mean(0, keepdim=True).expand_as(victims.images)


def class_mean(public: ImageSet, victims: ImageSet) -> Tensor:
    """Return the mean public picture of the victim's class, the least error given the class."""
    return _class_means(public)[victims.labels]


def class_template(public: ImageSet, victims: ImageSet) -> Tensor:
    """Return about the constant picture per class with the highest mean SSIM to public pictures.

    Found by gradient ascent from the class mean, once for the same public pictures; a blur like the
    mean scores low on SSIM.
    """
    rows = [
        (public.labels == label).nonzero().flatten()[:TEMPLATE_PICTURES]
        for label in range(len(public.classes))
    ]
    known = public.rows(torch.cat(rows))
    key = {
        "class template": TEMPLATE_STEPS,
        "sides": [len(public.classes), *public.shape],
        "public": public.labeled_sha256(),  # starts at its means, and climbs on the known ones
        "known": known.content_hashes(),
        "torch": torch.__version__,
    }
    made = Cache().tensors(
        key, source_of(class_template, ssim), lambda: {"templates": _climbed(public, known)}
    )
    return made["templates"].to(victims.images)[victims.labels]


def _climbed(public: ImageSet, known: ImageSet) -> Tensor:
    """Return one picture a class, [classes, c, h, w]."""
    templates = _class_means(public).requires_grad_()
    optimizer = torch.optim.Adam([templates], lr=0.02)
    for _ in range(TEMPLATE_STEPS):
        with torch.enable_grad():
            gain = ssim(templates.clamp(0, 1)[known.labels], known.images).mean()
            (-gain).backward()
        optimizer.step()
        optimizer.zero_grad()
    return templates.detach().clamp(0, 1)


def nearest_public(public: ImageSet, victims: ImageSet) -> Tensor:
    """Return the public picture nearest to the victim itself, in squared pixel distance."""
    flat = public.images.flatten(1)
    nearest = [torch.cdist(part, flat).argmin(1) for part in victims.images.flatten(1).split(250)]
    return public.images[torch.cat(nearest)]


NULLS: Mapping[str, Null] = {
    "black": Null(black, "a black picture"),
    "mean": Null(mean, "the mean public picture"),
    "class mean": Null(class_mean, "the mean public picture of the victim's class"),
    "class template": Null(
        class_template,
        "the constant picture per class with (about) the best SSIM on public pictures",
    ),
    "nearest public": Null(
        nearest_public,
        "the public picture nearest to the victim, picked by looking at the victim",
        oracle=True,
    ),
}


def _class_means(public: ImageSet) -> Tensor:
    sums = torch.zeros(len(public.classes), *public.shape, device=public.images.device)
    sums.index_add_(0, public.labels, public.images)
    counts = torch.bincount(public.labels, minlength=len(public.classes))
    means = sums / counts.clamp_min(1).reshape(-1, 1, 1, 1)
    means[counts == 0] = public.images.mean(0)  # nothing known of the class: the mean of all
    return means
