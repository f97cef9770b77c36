"""An attack model that learned from shadow models what members' predictions look like.

Shokri, Stronati, Song and Shmatikov (2017), "Membership inference attacks against machine learning
models": one network a class, with one hidden layer of 64 units, from the prediction vector to
member or not. The threshold of its accuracy, precision and recall is fitted on shadows as well, so
that nothing about the target is chosen by looking at its members.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from safelight.stats.membership import threshold

Array = NDArray[np.float64]

#: Hidden units of each class's network, as published.
HIDDEN = 64

#: Weight decay on standardized inputs: small beside the loss, which is at most log 2 at chance.
DECAY = 1e-3

#: Steps of the optimizer; the loss is flat in its third digit well before.
STEPS = 100

#: Probabilities nearer to 0 or 1 are rounding of float32.
_ROUNDING = 2.0**-24


@dataclass(frozen=True)
class _Network:
    """log-odds of member = w2 . max(0, W1 x + b1) + b2, on standardized log-odds x."""

    center: Array
    scale: Array
    weights: Array

    def score(self, probabilities: Array) -> Array:
        inputs = (_log_odds(probabilities) - self.center) / self.scale
        return _forward(self.weights, inputs)[0]


@dataclass(frozen=True)
class AttackModel:
    """One network a class, and the threshold on their scores that the shadows suggest."""

    networks: dict[int, _Network]
    threshold: float

    def score(self, probabilities: Array, labels: NDArray[np.integer]) -> Array:
        """Log-odds of membership, [n], from the target's predictions.

        Args:
            probabilities: [n, classes], rows sum to 1.
            labels: [n], the true classes.

        Raises:
            ValueError: a class that no shadow was asked about.
        """
        scores = np.empty(len(labels))
        for label in np.unique(labels):
            if int(label) not in self.networks:
                raise ValueError(f"the shadows saw no example of class {label}; ask them as well")
            own = labels == label
            scores[own] = self.networks[int(label)].score(probabilities[own])
        return scores


def fit(
    probabilities: Array, labels: NDArray[np.integer], inside: NDArray[np.bool_], seed: int
) -> AttackModel:
    """Train the attack model on what the shadows say of examples in and out of their training.

    Args:
        probabilities: predictions of the shadows, [shadows, n, classes].
        labels: [n], the true classes.
        inside: [shadows, n], True where the example was in that shadow's training set.
        seed: of the networks' first weights.

    Raises:
        ValueError: a class has no members or no non-members among the shadows.
    """
    networks = {}
    for label in np.unique(labels):
        own = labels == label
        member = inside[:, own].ravel()
        if member.all() or not member.any():
            raise ValueError(
                f"class {label} has members only or none among the shadows; train more shadows"
            )
        rows = probabilities[:, own].reshape(-1, probabilities.shape[-1])
        networks[int(label)] = _train(rows, member, np.random.default_rng([seed, int(label)]))
    untuned = AttackModel(networks, float("nan"))
    scores = np.stack([untuned.score(shadow, labels) for shadow in probabilities])
    return AttackModel(networks, threshold.fit(scores, inside))


def _log_odds(probabilities: Array) -> Array:
    """log(p / (1 - p)): what sets members apart lies in the last digits before 1."""
    kept = np.clip(np.asarray(probabilities, dtype=np.float64), _ROUNDING, 1 - _ROUNDING)
    return np.asarray(np.log(kept) - np.log1p(-kept), dtype=np.float64)


def _train(probabilities: Array, member: NDArray[np.bool_], rng: np.random.Generator) -> _Network:
    """Minimize the cross-entropy of a network, both sides weighing the same."""
    inputs = _log_odds(probabilities)
    center, scale = inputs.mean(0), np.maximum(inputs.std(0), 1e-6)
    inputs = (inputs - center) / scale
    width = inputs.shape[1]
    first = rng.normal(size=(HIDDEN, width + 1)) * np.sqrt(2 / width)
    first[:, -1] = 0
    start = np.append(first.ravel(), np.append(rng.normal(size=HIDDEN) / np.sqrt(HIDDEN), 0))
    weight = np.where(member, 0.5 / member.sum(), 0.5 / (~member).sum())
    found = minimize(
        _loss, start, (inputs, member, weight), "L-BFGS-B", jac=True, options={"maxiter": STEPS}
    )
    return _Network(center, scale, np.asarray(found.x, dtype=np.float64))


def _forward(weights: Array, inputs: Array) -> tuple[Array, Array]:
    """Return the log-odds [n] and the hidden units [n, HIDDEN]."""
    first, second = np.split(weights, [HIDDEN * (inputs.shape[1] + 1)])
    layer = first.reshape(HIDDEN, -1)
    hidden = np.maximum(inputs @ layer[:, :-1].T + layer[:, -1], 0)
    return np.asarray(hidden @ second[:-1] + second[-1]), np.asarray(hidden)


def _loss(
    weights: Array, inputs: Array, member: NDArray[np.bool_], weight: Array
) -> tuple[float, Array]:
    """Weighted cross-entropy with weight decay, and its gradient."""
    odds, hidden = _forward(weights, inputs)
    second = weights[-HIDDEN - 1 : -1]
    loss = weight @ np.logaddexp(0, np.where(member, -odds, odds))
    slope = weight * (expit(odds) - member)  # d loss / d odds
    back = slope[:, None] * second * (hidden > 0)
    layer = np.column_stack([back.T @ inputs, back.sum(0)])
    gradient = np.concatenate([layer.ravel(), hidden.T @ slope, [slope.sum()]])
    return float(loss + DECAY * weights @ weights / 2), gradient + DECAY * weights
