"""What can be proved under a threat: nothing without noise, a bound on the error with it."""

import math

import torch

from safelight.attacks.attack import forward_flops
from safelight.auditing.setting import Setting
from safelight.bounds.cramer_rao import bayes_bound, fit_prior
from safelight.bounds.deterministic import deterministic
from safelight.bounds.fisher import Noise
from safelight.cache import source_of
from safelight.record.record import Bound
from safelight.stats.seeds import Seeds
from safelight.targets.cut import cut
from safelight.threats.observation import SplitObservation
from safelight.threats.split_inference import SplitInference

#: Pictures drawn from the prior, over which the Fisher information is averaged.
DRAWS = 16

#: A bound that takes more floating-point operations (some minutes) is left out, which is said.
MOST_FLOPS = 2e13


def certify(setting: Setting, threat: SplitInference, seen: SplitObservation) -> Bound:
    """Return the bound on any attack under a threat, or why there is none.

    The prior is a Gaussian fitted to the public pictures, whoever the adversary is.
    """
    view = seen.restricted(threat.offers)
    if not view.deviation:
        return deterministic(view.resend(), view.resend())
    edge = cut(setting.target.model, threat.cut, seen.image_shape).to(setting.device)
    public = setting.roles.public.to(setting.device)
    pixels = math.prod(seen.image_shape)
    passes = min(math.prod(seen.message_shape), 2 * pixels)
    if 3 * DRAWS * passes * forward_flops(edge, public.images[:1]) > MOST_FLOPS:
        return Bound(
            name="Bayesian Cramer-Rao bound on the mean squared error per pixel",
            value=None,
            holds="unknown",
            assumptions=["the message is random given the picture"],
            detail="The message is random, so a bound exists; at this cut it takes too long to "
            "compute.",
        )
    noise = Noise("gaussian", view.deviation, threat.sends)
    key = {
        "bound": [noise.kind, noise.scale, noise.sends, DRAWS],
        "weights": setting.target.weights_sha256(),
        "cut": threat.cut,
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
