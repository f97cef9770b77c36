"""A classifier as one more distance: does the output show a protected class, in any pixels?"""

import torch
from torch import Tensor

from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.data.roles import Roles
from safelight.errors import LoadError, PlanError
from safelight.filtering.engine import Classifier
from safelight.filtering.policy import ClassifierFacts
from safelight.plan.plan import TargetPlan
from safelight.targets.load import load_target


def load_classifier(
    model: str,
    weights: str,
    classes: tuple[int, ...],
    shape: tuple[int, int, int],
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> tuple[Classifier, ClassifierFacts]:
    """Load a classifier as a plan's ``[target]`` names it.

    Args:
        model: of the catalog, or ``package.module:function``.
        weights: ``shipped``, a safetensors file or a state dict; nothing in it is executed.
        classes: positions of the protected classes among its logits.
        shape: of the pictures it will see.
        mean: per channel, taken off pixels in [0, 1].
        std: per channel, divides what is left.

    Raises:
        LoadError, PlanError: it cannot be loaded, or has no such classes.
    """
    plan = TargetPlan(
        model=model,
        weights=weights,
        mean=list(mean) if mean else None,
        std=list(std) if std else None,
    )
    blank = ImageSet(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64), ("any",), "blank")
    target = load_target(plan, Roles(None, blank, blank, blank), torch.device("cpu"), Cache())
    try:
        with torch.no_grad():
            logits = target.model(blank.images)
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise LoadError(
            f"{model} cannot take pictures of shape {list(shape)}: {reason}; set --size"
        ) from None
    if logits.ndim != 2 or not classes or not 0 <= min(classes) <= max(classes) < logits.shape[1]:
        raise PlanError(
            f"{model} puts out {list(logits.shape[1:])} and has no classes "
            f"{', '.join(map(str, classes))}; give --classes as positions among its logits"
        )
    chosen = torch.tensor(classes)

    def probability(images: Tensor) -> Tensor:
        found: Tensor = target.model(images).softmax(1)[:, chosen].sum(1).clamp(0, 1)
        return found

    facts = ClassifierFacts(
        model=model,
        weights=weights,
        mean=mean,
        std=std,
        classes=classes,
        sha256=target.weights_sha256(),
    )
    return probability, facts


def load_again(facts: ClassifierFacts, shape: tuple[int, int, int]) -> Classifier:
    """Load the classifier that thresholds were calibrated with.

    Raises:
        LoadError: its weights have changed since.
    """
    classifier, found = load_classifier(
        facts.model, facts.weights, facts.classes, shape, facts.mean, facts.std
    )
    if found.sha256 != facts.sha256:
        raise LoadError(
            f"the weights {facts.weights} are not those that were calibrated with; calibrate again"
        )
    return classifier
