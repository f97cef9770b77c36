"""One plain training loop for classifiers."""

from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.data.augment import augmented
from safelight.data.images import ImageSet
from safelight.plan.plan import FitPlan
from safelight.targets.descent import descend
from safelight.targets.target import Normalized


def fit(model: Normalized, data: ImageSet, recipe: FitPlan) -> dict[str, Any]:
    """Train a classifier in place: AdamW, one-cycle learning rate, cross-entropy; or descend.

    Weights and their updates are float32; ``recipe.precision`` is that of the passes.

    Args:
        model: in any state; left in evaluation mode.
        data: the training pictures, kept on the model's device for the whole run.
        recipe: epochs, batch size, peak learning rate, weight decay, augmentation, seed.

    Returns:
        The facts to keep with the weights: the recipe, n, and the training set's hash.
    """
    if recipe.optimizer == "gradient descent":
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
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=max(batches * recipe.epochs, 2)
    )
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
                    loss = F.cross_entropy(model(pictures), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    model.eval()
    return {"recipe": recipe.model_dump(), "n": len(data), "training_set_sha256": data.sha256()}
