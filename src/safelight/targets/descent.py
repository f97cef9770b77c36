"""Full-batch gradient descent until the training set is learned by heart."""

from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.data.images import ImageSet
from safelight.targets.target import Normalized

#: Of the gradient's running mean, as the field's recipes have it.
MOMENTUM = 0.9


def descend(
    model: Normalized,
    data: ImageSet,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Train a classifier in place by gradient descent with momentum on the whole set at once.

    This is the recipe that the theory of extraction speaks of: each layer's weights stay a sum of
    gradients of single pictures, plus what is left of the initialization. Weight decay (L2, in the
    gradient) makes that rest fall as exp(-10 learning_rate weight_decay steps).

    Args:
        model: in any state; left in evaluation mode. One output is a logit for odd labels.
        data: the training pictures, all in every step.
        steps: of descent.
        learning_rate: constant.
        weight_decay: of the L2 penalty, on every parameter.
        seed: of dropout.

    Returns:
        The facts to keep with the weights: the recipe, the final loss, n, and the set's hash.
    """
    device = model.mean.device
    images, labels = data.images.to(device), data.labels.to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), learning_rate, momentum=MOMENTUM, weight_decay=weight_decay
    )
    model.train().requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(steps):
            logits = model(images)
            if logits.shape[1] == 1:
                loss = F.binary_cross_entropy_with_logits(logits[:, 0], (labels % 2).float())
            else:
                loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    model.zero_grad()
    recipe = {
        "optimizer": "full-batch gradient descent",
        "momentum": MOMENTUM,
        "steps": steps,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "seed": seed,
    }
    return {
        "recipe": recipe,
        "loss": float(loss.detach()),
        "n": len(data),
        "training_set_sha256": data.sha256(),
    }
