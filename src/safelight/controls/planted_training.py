"""A training set that is there to be found: the positive control of extraction attacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safelight.cache import Cache, source_of
from safelight.data.images import ImageSet
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.descent import descend
from safelight.targets.target import Normalized, Target
from safelight.threats.released_model import TrainingSecret

#: Pictures the planted model learns by heart, and as many that it does not: enough that 30 of 30
#: pairs ranked right put the lower limit of the AUC at 0.89, few enough for seconds.
MEMBERS = 30

#: The planted model: wide for so few pictures, which is where the theory of extraction holds.
HIDDEN = (256, 256)

#: Long enough for weight decay to leave e^-10 of the initialization (see ``descend``).
STEPS, LEARNING_RATE, WEIGHT_DECAY = 2500, 0.2, 2e-3

#: Some sets make descent diverge at that rate: it is halved at most so often, with as many more
#: steps, until the model knows its pictures.
HALVINGS = 3


@dataclass(frozen=True)
class Planted:
    """A model that leaks, what it leaks, what its attacker owns, and how training began."""

    target: Target
    secret: TrainingSecret
    public: ImageSet
    initial: Mapping[str, Tensor]


def fewest_public() -> int:
    """Return how many public pictures it takes to plant a training set and keep as many again."""
    return 4 * MEMBERS


def planted(public: ImageSet, seed: int) -> Planted:
    """Train a small dense network on a few public pictures until it knows them by heart, once.

    Args:
        public: the attacker's pictures; those that become members or others leave the set, and all
            set the normalization.
        seed: of the draw and the initial weights.
    """
    seeds = Seeds(seed, ("planted training set",))
    draw = torch.Generator().manual_seed(seeds.integer())
    order = torch.randperm(len(public), generator=draw).to(public.labels.device)
    members, others, rest = order.split([MEMBERS, MEMBERS, len(public) - 2 * MEMBERS])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.child("weights").integer())
        network = MLP(len(public.classes), public.shape, HIDDEN)
    mean = public.images.mean((0, 2, 3)).tolist()
    std = public.images.std((0, 2, 3)).clamp_min(0.01).tolist()
    model = Normalized(network, tuple(mean), tuple(std)).to(public.images.device)
    initial = {name: value.clone() for name, value in network.state_dict().items()}
    secret = TrainingSecret(public.rows(members), public.rows(others))

    def learned() -> dict[str, Tensor]:
        for halvings in range(HALVINGS + 1):
            network.load_state_dict(initial)
            facts = descend(model, secret.members, **_recipe(halvings))
            tried = Target("planted", model, "", facts)
            if tried.correct(secret.members.images, secret.members.labels) == MEMBERS:
                break
        told = {"loss": torch.tensor(facts["loss"]), "halvings": torch.tensor(halvings)}
        return {name: value.cpu() for name, value in network.state_dict().items()} | told

    key = {
        "planted training set": [seed, HIDDEN, HALVINGS, _recipe(0)],
        "sides": [len(public.classes), *public.shape],
        "members": secret.members.content_hashes(),
        "labels": secret.members.labels.tolist(),
        "normalization": [mean, std],
        "torch": torch.__version__,
    }
    made = dict(Cache().tensors(key, source_of(planted, descend, MLP), learned))
    facts = {
        "loss": float(made.pop("loss")),
        "recipe": _recipe(int(made.pop("halvings"))),
    }
    network.load_state_dict(made)
    target = Target("planted", model, f"{MEMBERS} public pictures", facts)
    return Planted(target, secret, public.rows(rest), initial)


def _recipe(halvings: int) -> dict[str, Any]:
    return {
        "steps": STEPS * 2**halvings,
        "learning_rate": LEARNING_RATE / 2**halvings,
        "weight_decay": WEIGHT_DECAY,
    }
