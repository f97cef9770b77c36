"""What can be proved under a threat: nothing without noise, a bound on the error with it."""

import math

import torch

from safelight.attacks.attack import forward_flops
from safelight.auditing.setting import Setting
from safelight.bounds.cramer_rao import bayes_bound, fit_prior
from safelight.bounds.deterministic import deterministic
from safelight.bounds.fisher import Noise
from safelight.cache import source_of
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

#: A bound that takes more floating-point operations (some minutes) is left out, which is said.
MOST_FLOPS = 2e13


def noise_of(release: Release | None, scale: Scale, sends: int) -> Noise | None:
    """Return the noise that a defense adds to every number, if that is what it does."""
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
    noise = noise_of(setting.target.release, view.scale, threat.sends)
    if noise is None:
        return Bound(
            name=BOUND,
            value=None,
            holds="no",
            assumptions=["every number of the message carries noise with a density"],
            detail="Numbers are left out at random, and those that are sent are exact: no bound "
            "on the error follows.",
        )
    edge, _ = threat.parts(setting.target, seen.image_shape)
    edge = edge.to(setting.device)
    public = setting.roles.public.to(setting.device)
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
    key = {
        "bound": [noise.kind, noise.scale, noise.sends, DRAWS],
        "weights": setting.target.weights_sha256(),
        "where": [type(threat).__name__, threat.where],
        "public": public.sha256(),
    }
    kept: list[Bound] = []

    def compute() -> dict[str, torch.Tensor]:
        prior = fit_prior(public.images)
        draws = prior.draw(DRAWS, Seeds(0, ("prior",))).to(setting.device)
        kept.append(bayes_bound(edge, prior, noise, draws).record())
        return {"bound": torch.tensor(list(kept[0].model_dump_json().encode()), dtype=torch.uint8)}

    made = setting.cache.tensors(key, source_of(bayes_bound, certify), compute)
    return Bound.model_validate_json(bytes(made["bound"].tolist()))
