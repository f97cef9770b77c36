"""The oracle that a filter is: what its answers tell of who is protected, measured by an attack.

Held outputs betray protected pictures. Two attackers are played, each with as many protected
pictures (members) as others (non-members), and each picture gets one score, higher for members:

- The *editor* knows what went in: it submits the picture itself, as a service that edits pictures
  lets it. It scores by whether what it submitted came back.
- The *prompter* steers a generator that remembers: a share of its draws for a protected picture are
  near copies, all others are other pictures. It sees only what comes out. It scores by refusals
  where it is told of them; where another picture comes silently, by the best of what is left: how
  often the same picture came, and how near what came is to the picture it asks about, either way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safelight.data.inspection.collection import open_collection
from safelight.errors import DataError
from safelight.filtering import distances
from safelight.filtering.engine import Filter
from safelight.filtering.gather import gather
from safelight.filtering.pictures import Pixels, content_hash
from safelight.filtering.replacement import Reserve
from safelight.metrics.membership import Estimate, Operating, auc, tpr_at_fpr
from safelight.stats.seeds import Seeds

Array = NDArray[np.float64]

#: What the world hears of a held output: that it is held, or nothing.
Answer = Literal["told", "silent"]

#: Noise of a generator's near copy, as a standard deviation of pixels.
_REMEMBERED = 0.05


@dataclass(frozen=True)
class Played:
    """One attacker against one way to answer. Scores: [members] and [non-members]."""

    attacker: str
    answer: str
    members: Array
    nonmembers: Array

    @property
    def area(self) -> Estimate:
        """Area under the ROC curve; chance 0.5."""
        return auc(self.members, self.nonmembers)

    def caught(self, fpr: float) -> Operating:
        """Members caught at a false alarm rate."""
        return tpr_at_fpr(self.members, self.nonmembers, fpr)


@dataclass(frozen=True)
class Generator:
    """A stand-in for a generator that remembers some of its training pictures.

    Asked about a picture, it draws ``draws`` prompts of ``candidates`` outputs each. A draw about a
    protected picture is with probability ``memory`` a near copy; every other draw is one of the
    ``pool``'s pictures nearest to the one asked about.

    ``pool``: [m, channels, height, width] in [0, 1], pictures that are not protected.
    """

    pool: Tensor
    memory: float = 0.2
    draws: int = 8
    candidates: int = 1
    alike: int = 50

    def about(self, picture: Tensor, protected: bool, rng: np.random.Generator) -> Tensor:
        """Draw, [draws, candidates, channels, height, width]."""
        apart = torch.cdist(distances.coarse(picture[None]), distances.coarse(self.pool))[0]
        near = apart.topk(min(self.alike, len(self.pool)), largest=False).indices.numpy()
        count = self.draws * self.candidates
        drawn = self.pool[torch.from_numpy(rng.choice(near, count))].clone()
        noise = torch.from_numpy(rng.standard_normal(drawn.shape)).float()
        drawn += _REMEMBERED * noise  # every draw is a little different, remembered or not
        if protected:
            copied = torch.from_numpy(rng.random(count) < self.memory)
            drawn[copied] = picture + _REMEMBERED * noise[copied]
        return drawn.clamp(0, 1).reshape(self.draws, self.candidates, *picture.shape)


def sides(
    engine: Filter, others: str, split: str, count: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw members, non-members and the pool of a generator, floats in [0, 1].

    Args:
        engine: its protected pictures are the members.
        others: a folder or data set of pictures that are not protected.
        split: its split.
        count: of members, and of non-members.
        seed: of the drawing.

    Raises:
        DataError: there are too few pictures.
    """
    index = engine.index
    found = gather(open_collection(others, split), index.shape)
    protected = {one.tobytes() for one in index.pictures.numpy()}
    kept = [row for row, one in enumerate(found.numpy()) if one.tobytes() not in protected]
    if len(index) < count or len(kept) < 2 * count:
        raise DataError(
            f"{len(index):,} protected and {len(kept):,} other pictures are too few to play with "
            f"{count:,}; give more, or a smaller --pictures"
        )
    rng = np.random.default_rng(Seeds(seed).child("sides").integer())
    inside = torch.from_numpy(rng.permutation(len(index))[:count])
    outside = torch.from_numpy(rng.permutation(kept))
    floats = found[outside].float() / 255
    return index.pictures[inside].float() / 255, floats[:count], floats[count:]


def editor(engine: Filter, reserve: Reserve, pictures: tuple[Tensor, Tensor]) -> list[Played]:
    """Play the attacker who knows what went in. Silence does not stop it.

    Args:
        engine: the filter.
        reserve: what is shown instead.
        pictures: members and non-members, [n, channels, height, width] in [0, 1].
    """
    told, silent = [], []
    for side in pictures:
        held = np.array([one.decision != "allow" for one in engine.check(side)])
        told.append(held.astype(np.float64))
        sent = [_pixels(one) for one in side]
        shown = [
            reserve.instead(one, content_hash(one)) if gone else one
            for one, gone in zip(sent, held, strict=True)
        ]
        silent.append(
            np.array([float((one != other).any()) for one, other in zip(sent, shown, strict=True)])
        )
    return [
        Played("editor", "told", told[0], told[1]),
        Played("editor", "silent", silent[0], silent[1]),
    ]


def prompter(
    engine: Filter,
    reserve: Reserve,
    pictures: tuple[Tensor, Tensor],
    generator: Generator,
    seed: int = 0,
) -> list[Played]:
    """Play the attacker who steers a generator and sees what comes out.

    Returns:
        One play where refusals are told, then one for each way to score what comes silently.
    """
    ways: dict[str, Callable[[list[Pixels], Tensor], float]] = {
        "silent, by nearness": _nearness,
        "silent, by distance": lambda seen, asked: -_nearness(seen, asked),
        "silent, by repeats": _repeats,
    }
    scores: dict[str, list[Array]] = {"told": [], **{name: [] for name in ways}}
    for protected, side in zip((True, False), pictures, strict=True):
        rng = np.random.default_rng(Seeds(seed).child("prompter", str(protected)).integer())
        refused, seen = [], []
        for asked in side:
            drawn = generator.about(asked, protected, rng)
            gone, shown = _released(engine, reserve, drawn)
            refused.append(float(gone))
            seen.append(shown)
        scores["told"].append(np.array(refused))
        for name, way in ways.items():
            scores[name].append(
                np.array([way(shown, asked) for shown, asked in zip(seen, side, strict=True)])
            )
    return [Played("prompter", name, *both) for name, both in scores.items()]


def _released(engine: Filter, reserve: Reserve, drawn: Tensor) -> tuple[int, list[Pixels]]:
    """Return how many prompts had no candidate that may be shown, and what is shown for each."""
    # As bytes, which is how outputs arrive.
    levels = (drawn * 255).round() / 255
    allowed = [one.decision == "allow" for one in engine.check(levels.flatten(0, 1))]
    gone, shown = 0, []
    for at, candidates in enumerate(levels):
        own = allowed[at * len(candidates) : (at + 1) * len(candidates)]
        first = _pixels(candidates[0])
        gone += not any(own)
        shown.append(
            _pixels(candidates[own.index(True)])
            if any(own)
            else reserve.instead(first, content_hash(first))
        )
    return gone, shown


def _nearness(seen: list[Pixels], asked: Tensor) -> float:
    """Score by how near what came is to the picture asked about."""
    shown = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).float() / 255
    apart = torch.cdist(distances.coarse(asked[None]), distances.coarse(shown))
    return -float(apart.mean())


def _repeats(seen: list[Pixels], asked: Tensor) -> float:
    """Score by how often what came had come before: draws differ, a reserve is finite."""
    del asked
    return float(len(seen) - len({one.tobytes() for one in seen}))


def _pixels(picture: Tensor) -> Pixels:
    levels: Pixels = (picture * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return levels
