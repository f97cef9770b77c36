"""Thresholds on the loss or the confidence: the attacks that need no other model to score.

Yeom, Giacomelli, Fredrikson and Jha (2018), "Privacy risk in machine learning", adversary 2; one
threshold a class after Song and Mittal (2021), "Systematic evaluation of privacy risks".
"""

import numpy as np
from numpy.typing import NDArray


def score(losses: NDArray[np.floating]) -> NDArray[np.float64]:
    """Score of each example by its loss alone, -l. Any shape."""
    return -np.asarray(losses, dtype=np.float64)


def average_loss(training_loss: float) -> float:
    """Threshold on ``score`` of an attacker who was told the model's mean training loss.

    Adversary 2 of Yeom et al. (2018) says member where l <= the training loss.
    """
    return -training_loss


def fit(scores: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Threshold that tells the shadows' members best: the largest TPR - FPR, ties to the lowest.

    Args:
        scores: [...], higher for members, of shadow models whose members are known.
        inside: the same shape, True where the example was in that shadow's training set.

    Returns:
        one of the scores; an example at or above it is called a member.

    Raises:
        ValueError: there are no members or no non-members.
    """
    flat, member = np.ravel(scores), np.ravel(inside)
    if member.all() or not member.any():
        raise ValueError("a threshold is fitted on members and non-members of shadow models")
    order = np.argsort(-flat, kind="stable")
    ordered, member = flat[order], member[order]
    gain = np.cumsum(member) / member.sum() - np.cumsum(~member) / (~member).sum()
    last = np.append(ordered[1:] != ordered[:-1], True)  # a threshold takes equal scores together
    best = np.flatnonzero(last & (gain >= gain[last].max()))[-1]
    return float(ordered[best])


def fit_classes(
    scores: NDArray[np.floating], inside: NDArray[np.bool_], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Thresholds of each class: [classes], from shadow models.

    Args:
        scores: [shadows, n].
        inside: [shadows, n].
        labels: [n], in [0, classes).

    A class without members or without non-members among the shadows gets the threshold of all.
    """
    everyone = fit(scores, inside)
    thresholds = np.full(int(labels.max()) + 1, everyone)
    for label in np.unique(labels):
        own = labels == label
        if 0 < inside[:, own].mean() < 1:
            thresholds[label] = fit(scores[:, own], inside[:, own])
    return thresholds


def score_by_class(
    scores: NDArray[np.floating], labels: NDArray[np.integer], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of each score above its class's threshold, [n]: a member from 0 on."""
    return np.asarray(scores - thresholds[labels], dtype=np.float64)
