"""Score a claim, and check the score and the attack themselves."""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from safelight.attacks.attack import InversionAttack
from safelight.auditing.setting import Setting
from safelight.controls.planted import planted_parts
from safelight.data.images import ImageSet
from safelight.metrics.identity import rank
from safelight.metrics.image import mse, psnr, ssim, ssim_gaussian
from safelight.record.record import Control
from safelight.record.verdict import positive_control
from safelight.stats.seeds import Seeds
from safelight.threats.messages import MessageThreat
from safelight.threats.observation import SplitObservation

#: Victims of the positive control: 50 named out of 50 put the lower limit at 0.93.
CONTROL_VICTIMS = 50

#: The positive control first makes one part in this many of an attack's steps, but not fewer than
#: the second number.
EASED = 8
FEWEST_STEPS = 100


def compare(claim: Tensor, truth: ImageSet, suspects: Tensor) -> dict[str, list[float]]:
    """Score one picture per victim; six digits are more than the intervals resolve."""
    ranks = rank(claim, truth.images, truth.labels, suspects)
    scores = {
        "mse": mse(claim, truth.images),
        "psnr": psnr(claim, truth.images),
        "ssim": ssim(claim, truth.images),
        "ssim in own range": ssim(claim, truth.images, own_range=True),
        "ssim gaussian": ssim_gaussian(claim, truth.images),
        "rank": ranks.float(),
        "named": (ranks == 1).float(),
    }
    return {name: rounded(values) for name, values in scores.items()}


def rounded(values: Tensor) -> list[float]:
    """Return the values with six significant digits."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def checked(claim: Tensor, truth: ImageSet) -> Tensor:
    """Return a claim that is one picture per victim; anything else is an error of the attack."""
    if claim.shape != truth.images.shape:
        raise ValueError(f"the attack claimed {list(claim.shape)}, not {list(truth.images.shape)}")
    if not bool(((claim >= 0) & (claim <= 1)).all()):
        raise ValueError("the attack claimed pixels that are no numbers in [0, 1]")
    return claim


def planted(
    setting: Setting,
    threat: MessageThreat,
    attack: InversionAttack,
    seen: SplitObservation,
    seed: int,
) -> Control:
    """Run the same attack on a message that holds the picture.

    First with a fraction of its steps: what succeeds with less effort succeeds with more. Only
    where that fails is the whole effort made. An attack that learns from what leaves (by queries,
    or from imitations) and fails behind a defense is tried without it: it is not to blame for what
    the defense destroys. One that only searches might be, for it need not know the defense. An
    attack without weights and queries has only what it overhears to learn from, and hears at last
    as many messages as in the audit.

    An adversary that owns the training set is tried with the public pictures, which are no better.
    """
    if threat.pictures == "training set":
        threat = replace(threat, pictures="same distribution")
    every = setting.roles.victims
    some = every.rows(torch.arange(min(CONTROL_VICTIMS, len(every))))
    edge, cloud = planted_parts(seen.message_shape, setting.target.model, seen.image_shape)
    release = setting.target.release
    efforts = [(eased(attack), release, some), (attack, release, some)]
    if release is not None and (attack.needs.queries or not attack.needs.weights):
        efforts = [(eased(attack), release, some), (eased(attack), None, some)]
        efforts.append((attack, None, some))
    if not (attack.needs.weights or attack.needs.queries) and len(every) > len(some):
        efforts.append((attack, efforts[-1][1], every))
    for effort, what, victims in efforts:
        roles = replace(setting.roles, victims=victims)
        sight, secret = threat.expose(edge, cloud, roles, setting.device, setting.cache, what)
        claim = checked(
            effort.run(sight.restricted(attack.needs), Seeds(seed)).images, secret.victims
        )[: len(some)]
        truth = secret.victims.rows(torch.arange(len(some)))
        ranks = rank(claim, truth.images, truth.labels, setting.suspects)
        control = positive_control((ranks == 1).float().tolist(), defended=what is not None)
        if control.passed:
            break
    return control


def eased(attack: InversionAttack) -> InversionAttack:
    """Return an attack with a fraction of its steps, and of those of attacks inside it."""
    changes: dict[str, Any] = {}
    for field in fields(attack):
        value = getattr(attack, field.name)
        if isinstance(value, InversionAttack):
            changes[field.name] = eased(value)
        elif field.name == "steps":
            changes[field.name] = min(value, max(value // EASED, FEWEST_STEPS))
    return replace(attack, **changes)


def swapped(claim: Tensor, truth: ImageSet, suspects: Tensor) -> list[float]:
    """Hand every claim to the next victim of the same class; return who is named (1.0) then.

    Victims that are alone in their class are left out: there is nobody to swap with.
    """
    order = torch.argsort(truth.labels, stable=True)
    labels = truth.labels[order]
    start = torch.searchsorted(labels, labels)
    size = torch.searchsorted(labels, labels, right=True) - start
    place = torch.arange(len(order), device=order.device)
    other = order[start + (place - start + 1) % size]
    ranks = rank(claim[other], truth.images[order], labels, suspects)
    return (ranks[size > 1] == 1).float().tolist()
