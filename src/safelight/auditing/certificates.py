"""What can be proved under a threat: nothing without noise, a bound on the error with it."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from safelight.attacks.attack import forward_flops
from safelight.auditing.setting import Setting
from safelight.bounds.cramer_rao import bayes_bound, fit_prior
from safelight.bounds.deterministic import deterministic
from safelight.bounds.fisher import Noise, diagonal_leakage, trace
from safelight.cache import source_of
from safelight.defenses.fisher_noise import FisherNoise
from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.defenses.laplace_noise import LaplaceNoise
from safelight.record.record import Bound
from safelight.stats.seeds import Seeds
from safelight.targets.release import Release, Scale
from safelight.threats.messages import MessageThreat
from safelight.threats.observation import SplitObservation

BOUND = "Bayesian Cramer-Rao bound on the mean squared error per pixel"

#: Pictures drawn from the prior, over which the Fisher information is averaged.
DRAWS = 16

#: Public pictures whose leakage is measured where noise is calibrated to it, and probes of each.
#: Other probes than the defense's, or it would confirm itself.
MEASURED, PROBES = 32, 32

#: A bound that takes more floating-point operations (some minutes) is left out, which is said.
MOST_FLOPS = 2e13


def noise_of(release: Release | None, scale: Scale, sends: int) -> Noise | None:
    """Return the noise that a defense adds to every number, if it is the same for all pictures."""
    if isinstance(release, GaussianNoise):
        return Noise("gaussian", release.deviation * scale.deviation, sends)
    if isinstance(release, LaplaceNoise):
        return Noise("laplace", release.deviation * scale.deviation / math.sqrt(2), sends)
    return None


def certify(setting: Setting, threat: MessageThreat, seen: SplitObservation) -> Bound:
    """Return the bound on any attack under a threat, or why there is none.

    The prior is a Gaussian fitted to the public pictures, whoever the adversary is.
    """
    view = seen.restricted(threat.offers)
    if not view.random:
        return deterministic(view.resend(), view.resend())
    release, sends = setting.target.release, threat.sends
    edge, _ = threat.parts(setting.target, seen.image_shape)
    edge = edge.to(setting.device)
    public = setting.roles.public.to(setting.device)
    key: dict[str, Any] = {
        "weights": setting.target.weights_sha256(),
        "where": [type(threat).__name__, threat.where],
        "public": public.sha256(),
    }
    if isinstance(release, FisherNoise):
        key["measured"] = [repr(release), sends, MEASURED, PROBES]
        some = public.images[:MEASURED]
        return _kept(setting, key, lambda: no_bound(edge, some, release, sends))
    noise = noise_of(release, view.scale, sends)
    if noise is None:
        return Bound(
            name=BOUND,
            value=None,
            holds="no",
            assumptions=["every number of the message carries noise with a density"],
            detail="Numbers are left out at random, and those that are sent are exact: no bound "
            "on the error follows.",
        )
    pixels = math.prod(seen.image_shape)
    passes = min(math.prod(seen.message_shape), 2 * pixels)
    if 3 * DRAWS * passes * forward_flops(edge, public.images[:1]) > MOST_FLOPS:
        return Bound(
            name=BOUND,
            value=None,
            holds="unknown",
            assumptions=["the message is random given the picture"],
            detail="The message is random, so a bound exists; at this cut it takes too long to "
            "compute.",
        )
    key["bound"] = [noise.kind, noise.scale, noise.sends, DRAWS]

    def compute() -> Bound:
        prior = fit_prior(public.images)
        draws = prior.draw(DRAWS, Seeds(0, ("prior",))).to(setting.device)
        return bayes_bound(edge, prior, noise, draws).record()

    return _kept(setting, key, compute)


def _kept(setting: Setting, key: dict[str, Any], compute: Callable[[], Bound]) -> Bound:
    """Return a bound that was computed before for the same work, or compute it."""

    def make() -> dict[str, Tensor]:
        return {
            "bound": torch.tensor(list(compute().model_dump_json().encode()), dtype=torch.uint8)
        }

    made = setting.cache.tensors(key, source_of(bayes_bound, FisherNoise, certify), make)
    return Bound.model_validate_json(bytes(made["bound"].tolist()))


def no_bound(edge: nn.Module, pictures: Tensor, release: FisherNoise, sends: int) -> Bound:
    """Say why noise that depends on the picture has no bound, and what its pictures leak.

    Args:
        edge: pictures [n, c, h, w] -> messages, in evaluation mode.
        pictures: on which the leakage is measured, some of them public.
        release: what the device adds.
        sends: how often each picture is sent.
    """
    count, pixels = len(pictures), pictures[0].numel()
    traces = trace(edge, pictures, PROBES, Seeds(0, ("leakage",))).value
    deviations = release.deviations(edge, pictures).tolist()
    leaks = [
        float(diagonal_leakage(one, pixels, Noise("gaussian", s, sends)))
        for one, s in zip(traces, deviations, strict=True)
        if s
    ]
    silent = count - len(leaks)
    measured = (
        f"Measured on {count} public pictures, one message tells dFIL = "
        f"{sum(leaks) / len(leaks):.3g} per squared pixel ({min(leaks):.3g} to {max(leaks):.3g})"
        f"{f' of all but {silent}, which get no noise' if silent else ''}: a measure of "
        "sensitivity, whose inverse bounds the error of unbiased attackers alone. Who knows what "
        "pictures look like is biased, and errs less."
        if leaks
        else f"Messages do not answer to any of {count} public pictures, and get no noise."
    )
    return Bound(
        name=BOUND,
        value=None,
        holds="no",
        assumptions=["the deviation of the noise is the same for all pictures"],
        detail="The deviation of the noise depends on the picture. It tells of the picture itself, "
        "and where the edge has kinks it jumps, so that the density of a message is not continuous "
        f"in its picture: no bound on the error follows. {measured}",
    )
