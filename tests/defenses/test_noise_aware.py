import pytest
import torch

from safelight.defenses.noise_aware import NoiseAware
from safelight.errors import PlanError
from safelight.plan.plan import FitPlan
from safelight.targets.classifiers.lenet import LeNet
from safelight.targets.cut import Cloud, cut
from safelight.targets.fit import fit
from safelight.targets.release import Scale
from safelight.targets.target import Normalized
from safelight.testing import worlds
from safelight.testing.defenses import TrainingDefenseContract

SHAPE = (1, 28, 28)


def right_under_noise(made, noise):
    """Share of holdout digits named from noisy messages, by the release that a defense asks for."""
    holdout = worlds.digits().holdout
    edge = cut(made, "relu2", SHAPE)
    release = NoiseAware(cut="relu2", noise=noise).at_release
    with torch.no_grad():
        messages = edge(holdout.images)
        sent = release.release(messages, Scale.of(messages), torch.Generator().manual_seed(0))
        return float((Cloud(edge, SHAPE)(sent).argmax(1) == holdout.labels).float().mean())


def test_who_trained_with_noise_is_right_in_spite_of_it():
    data, recipe = worlds.digits().public, FitPlan(epochs=6, batch_size=50, learning_rate=3e-3)
    made = []
    for train in (fit, NoiseAware(cut="relu2", noise=3.0).train):
        torch.manual_seed(0)
        model = Normalized(LeNet(), (0.5,), (0.5,))
        train(model, data, recipe)
        made.append(right_under_noise(model, 3.0))
    plain, aware = made
    assert plain > 0.3  # the noise leaves something to be learned
    assert aware > plain + 0.1


def test_no_noise_is_refused():
    with pytest.raises(PlanError, match=r"defense\.noise"):
        NoiseAware(cut="relu2")


class TestNoiseAware(TrainingDefenseContract):
    defense = NoiseAware(cut="relu2", noise=0.5, channels=4)
