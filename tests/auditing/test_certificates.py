import dataclasses
import re

import pytest
import torch

from safelight.attacks.inversion.decoder import Decoder
from safelight.attacks.inversion.deep_prior import DeepPrior
from safelight.attacks.inversion.gauss_newton import GaussNewton
from safelight.attacks.inversion.likelihood import Likelihood
from safelight.auditing.certificates import certify, no_bound, noise_of
from safelight.auditing.setting import prepare
from safelight.bounds.cramer_rao import GaussianPrior, bayes_bound
from safelight.bounds.fisher import Noise
from safelight.cache import Cache
from safelight.controls.planted import Silence
from safelight.data.images import ImageSet
from safelight.data.roles import Roles
from safelight.defenses.dropout import Dropout
from safelight.defenses.fisher_noise import FisherNoise
from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.defenses.laplace_noise import LaplaceNoise
from safelight.defenses.quantization import Quantization
from safelight.metrics.image import mse
from safelight.plan.plan import load_plan
from safelight.stats.seeds import Seeds
from safelight.targets.release import UNIT
from safelight.threats.split_inference import SplitInference

SIDE = 12


def certified(tmp_path, release=None, **threat):
    plan = load_plan("demo", ["data.victims.count=20", "data.holdout.count=1000"])
    setting = dataclasses.replace(prepare(plan), cache=Cache(tmp_path))
    setting = dataclasses.replace(
        setting, target=dataclasses.replace(setting.target, release=release)
    )
    own = SplitInference(cut="relu2", **threat)
    seen, _ = own.meet(setting.target, setting.roles, setting.device, setting.cache)
    return certify(setting, own, seen)


def test_noise_is_certified_by_its_strength_and_averaging_undoes_it(tmp_path):
    none = certified(tmp_path)
    assert (none.holds, none.value) == ("no", None)
    weak, strong = (certified(tmp_path, GaussianNoise(deviation=one)) for one in (0.3, 3.0))
    assert weak.holds == "unknown"  # real pictures are not Gaussian
    assert 0 < weak.value < strong.value
    averaged = certified(tmp_path, GaussianNoise(deviation=3.0), sends=100)
    assert averaged.value == pytest.approx(weak.value, rel=1e-6)


def test_what_is_sent_exactly_has_no_certificate_even_where_zeros_are_random(tmp_path):
    for release in (Dropout(rate=0.9), Quantization(bits=1)):
        bound = certified(tmp_path, release)
        assert (bound.holds, bound.value) == ("no", None)
    laplace = certified(tmp_path, LaplaceNoise(deviation=1.0))
    gaussian = certified(tmp_path, GaussianNoise(deviation=1.0))
    # The Fisher information of Laplace noise is twice that of Gaussian noise as large.
    assert 0 < laplace.value < gaussian.value


def test_noise_calibrated_to_each_picture_is_measured_and_not_certified(tmp_path):
    once, often = (certified(tmp_path, FisherNoise(leakage=20.0), sends=one) for one in (1, 4))
    for bound, leaks in ((once, 20.0), (often, 80.0)):
        assert (bound.holds, bound.value) == ("no", None)
        assert "depends on the picture" in bound.detail
        told = float(re.search(r"dFIL = ([\d.]+)", bound.detail).group(1))
        assert told == pytest.approx(leaks, rel=0.1)  # measured, with probes of its own
    assert noise_of(FisherNoise(), UNIT, 1) is None


def test_messages_that_do_not_answer_get_no_noise_which_is_said():
    pictures = torch.rand(3, 1, 12, 12)
    silent = no_bound(Silence((4, 3, 3)), pictures, FisherNoise(), 1)
    assert (silent.holds, silent.value) == ("no", None)
    assert "do not answer to any of 3" in silent.detail

    class Partly(torch.nn.Module):
        def forward(self, x):
            return (x - 0.5).relu()  # dark pictures send zeros

    pictures[0] = 0.1
    assert (
        "of all but 1, which get no noise" in no_bound(Partly(), pictures, FisherNoise(), 1).detail
    )


@pytest.fixture(scope="module")
def gaussian_world(tmp_path_factory):
    """Pictures that are Gaussian, sent through a noisy convolution: here the bound holds."""
    place = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).double()
    covariance = 0.12**2 * torch.exp(-torch.cdist(place, place) / 3)
    prior = GaussianPrior(torch.full((1, SIDE, SIDE), 0.5).double(), covariance)
    drawn = prior.draw(700, Seeds(0)).clamp(0, 1)  # 4 deviations away

    def pictures(part):
        labels = torch.zeros(len(part), dtype=torch.int64)
        return ImageSet(part, labels, ("any",), "drawn")

    roles = Roles(
        private=None,
        public=pictures(drawn[:600]),
        victims=pictures(drawn[600:640]),
        holdout=pictures(drawn[640:]),
    )
    torch.manual_seed(0)
    edge = torch.nn.Conv2d(1, 3, 3, padding=1)
    edge.requires_grad_(False)
    threat, release = SplitInference(cut="any"), GaussianNoise(deviation=0.5)
    cache = Cache(tmp_path_factory.mktemp("cache"))
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE**2, 2))
    seen, secret = threat.expose(edge, head, roles, torch.device("cpu"), cache, release)
    noise = Noise("gaussian", 0.5 * seen.scale.deviation)
    return seen, secret, bayes_bound(edge, prior, noise, prior.draw(8, Seeds(1)))


@pytest.mark.parametrize(
    "attack",
    [
        Decoder(steps=300, width=8, blocks=1),
        Likelihood(steps=100, decoder=Decoder(steps=300, width=8, blocks=1)),
        GaussNewton(misfit=0.25),
        DeepPrior(steps=100),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_no_attack_beats_a_bound_that_holds(gaussian_world, attack):
    seen, secret, bound = gaussian_world
    claim = attack.run(seen.restricted(attack.needs), Seeds(0)).images
    errors = mse(claim, secret.victims.images)
    assert bound.holds == "yes"
    sampling = 3 * errors.std() / len(errors) ** 0.5
    assert errors.mean() + sampling > bound.value
    if isinstance(attack, (Decoder, Likelihood)):  # who knows the pictures comes close to it
        assert errors.mean() < 1.5 * bound.value
