"""The target of an audit: as given, trained plainly, or trained by the plan's defense."""

import dataclasses
from typing import Any, Protocol

import torch
from torch import Tensor

from safelight import catalog
from safelight.cache import Cache, source_of
from safelight.data.images import ImageSet
from safelight.data.roles import Roles
from safelight.errors import PlanError
from safelight.plan.plan import FitPlan, Plan
from safelight.targets.fit import fit
from safelight.targets.generators.defended import GeneratorDefense
from safelight.targets.load import load_target
from safelight.targets.release import Release
from safelight.targets.shadows import Training
from safelight.targets.target import Normalized, Target
from safelight.targets.untrained import same_structure


class Defense(Protocol):
    """A way to train a classifier that protects something, such as ``defenses.dp_sgd``."""

    def train(self, model: Normalized, data: ImageSet, recipe: FitPlan) -> dict[str, Any]:
        """Train in place; return facts."""
        ...

    def prepared(self, model: Normalized, shape: tuple[int, ...]) -> Normalized:
        """Return the model as it can be trained on pictures of that shape."""
        ...

    def facts(self, n: int, recipe: FitPlan) -> dict[str, Any]:
        """Return what the record says of it: a promise, if it makes one."""
        ...

    @property
    def at_release(self) -> Release | None:
        """What is done to every message as well, for which the model was trained."""
        ...


def obtain(plan: Plan, roles: Roles, device: torch.device, cache: Cache) -> tuple[Target, Training]:
    """Return the target, and how another one would be trained like it.

    Raises:
        PlanError, LoadError: there is no such model or defense, or it cannot be trained.
    """
    if plan.defense is None:
        return load_target(plan.target, roles, device, cache), fit
    defense: Defense | Release | GeneratorDefense = catalog.build(
        "defense", plan.defense.name, plan.defense.options
    )
    if isinstance(defense, GeneratorDefense):
        raise PlanError(
            f"{plan.defense.name} trains a generator, and the target is a classifier; take dp_sgd"
        )
    if isinstance(defense, Release):
        bare = load_target(plan.target, roles, device, cache)
        return dataclasses.replace(bare, release=defense), fit
    target = defended(plan, roles, device, cache, defense)
    return dataclasses.replace(target, release=defense.at_release), defense.train


def defended(
    plan: Plan, roles: Roles, device: torch.device, cache: Cache, defense: Defense
) -> Target:
    """Train the plan's target by a defense, or take it from the cache.

    Raises:
        PlanError: weights are given, so that nothing is trained.
    """
    if plan.target.weights is not None or roles.private is None:
        raise PlanError("a defended target is trained here; leave out target.weights")
    # The untrained network: what one step on a few pictures leaves is drawn anew.
    few = dataclasses.replace(roles, private=roles.private.rows(torch.arange(2)))
    step = FitPlan(epochs=1, batch_size=2)
    blank = load_target(plan.target.model_copy(update={"fit": step}), few, device, cache)
    recipe, private = plan.target.fit, roles.private
    fresh: Any = same_structure(blank.model, recipe.seed)
    model = defense.prepared(fresh, private.shape)
    key = {"defense": repr(defense), "recipe": recipe.model_dump(), "layers": repr(model)}
    key |= {"data": private.labeled_sha256(), "torch": torch.__version__}

    def make() -> dict[str, Tensor]:
        defense.train(model, private, recipe)
        return {name: value.cpu() for name, value in model.state_dict().items()}

    layers = [type(one) for one in model.modules()]
    model.load_state_dict(
        cache.tensors(key, source_of(fit, *type(defense).__mro__[:-1], *layers), make)
    )
    facts = {"recipe": recipe.model_dump(), **defense.facts(len(private), recipe)}
    trained_on = f"{len(private)} pictures of {private.source}"
    return Target(plan.target.model, model.to(device), trained_on, facts)
