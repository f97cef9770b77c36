"""One plain training loop for classifiers."""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.data.augment import augmented
from safelight.data.images import ImageSet
from safelight.errors import PlanError
from safelight.plan.plan import FitPlan
from safelight.targets.descent import descend
from safelight.targets.target import Normalized


class Objective(Protocol):
    """What a step of training lowers, such as ``cross_entropy``."""

    def __call__(self, model: Normalized, pictures: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar, on pictures [n, c, h, w] in [0, 1] and labels [n]."""
        ...


def cross_entropy(model: Normalized, pictures: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of the model's logits."""
    return F.cross_entropy(model(pictures), labels)


def fit(
    model: Normalized, data: ImageSet, recipe: FitPlan, objective: Objective = cross_entropy
) -> dict[str, Any]:
    """Train a classifier in place: AdamW, one-cycle learning rate, cross-entropy; or descend.

    Weights and their updates are float32; ``recipe.precision`` is that of the passes.

    Args:
        model: in any state; left in evaluation mode.
        data: the training pictures, kept on the model's device for the whole run.
        recipe: epochs, batch size, peak learning rate, weight decay, augmentation, seed.
        objective: of each step, run in the recipe's precision.

    Returns:
        The facts to keep with the weights: the recipe, n, and the training set's hash.

    Raises:
        PlanError: the recipe is gradient descent, which has its own objective.
    """
    if recipe.optimizer == "gradient descent":
        if objective is not cross_entropy:
            raise PlanError(
                "gradient descent on the whole set takes no other objective than its own; set "
                'target.fit.optimizer to "adamw"'
            )
        return descend(
            model,
            data,
            steps=recipe.epochs,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            seed=recipe.seed,
        )
    device = model.mean.device
    images, labels = data.images.to(device), data.labels.to(device)
    order = torch.Generator().manual_seed(recipe.seed)
    batches = max(len(data) // recipe.batch_size, 1)
    optimizer, schedule = _one_cycle(model, recipe, batches * recipe.epochs)
    # Convolutions run up to twice as fast in this layout, and agree to rounding.
    model.train()
    images = images.contiguous(memory_format=torch.channels_last)
    half = recipe.precision == "bfloat16"
    with torch.random.fork_rng():  # dropout draws from the global generator
        torch.manual_seed(recipe.seed)
        for _ in range(recipe.epochs):
            shuffled = torch.randperm(len(data), generator=order).to(device)
            for rows in shuffled[: batches * recipe.batch_size].chunk(batches):
                pictures = augmented(images[rows], recipe.flip, recipe.shift, order)
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    loss = objective(model, pictures, labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    model.eval()
    return {"recipe": recipe.model_dump(), "n": len(data), "training_set_sha256": data.sha256()}


def _one_cycle(
    model: Normalized, recipe: FitPlan, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=max(steps, 2)
    )
    return optimizer, schedule
