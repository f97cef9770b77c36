import os
from pathlib import Path

import numpy as np
import pytest
import torch

from safelight.attacks.inversion.class_confidence import ClassConfidence, Differences, denoised
from safelight.auditing.identities import Templates, identified, likeness, mislabeled
from safelight.data.images import ImageSet
from safelight.data.roles import open_split
from safelight.plan.plan import DataPlan, FitPlan, RolePlan
from safelight.stats.seeds import Seeds
from safelight.targets.classifiers.mlp import MLP
from safelight.targets.fit import fit
from safelight.targets.target import Normalized
from safelight.testing import worlds
from safelight.testing.class_level import ClassLevelContract

SHAPE = (1, 6, 5)


class TestClassConfidence(ClassLevelContract):
    attack = ClassConfidence(steps=300)


def script(*costs):
    """Return answers whose cost runs through a list, whatever is asked, and what was asked.

    The gradient is 1 in the first pixel, so that every step leaves its mark.
    """
    calls = []

    def answers(x):
        cost = costs[min(len(calls), len(costs) - 1)]
        calls.append(float(x.detach()[0, 0, 0, 0]))
        first = x[:, 0, 0, 0]
        sure = 1 - cost + (first.detach() - first)
        return torch.stack([sure, 1 - sure], 1).clamp_min(1e-12).log()

    return answers, calls


def searched(costs, **options):
    attack = ClassConfidence(**{"learning_rate": 0.01, "objective": "confidence", **options})
    answers, calls = script(*costs)
    found = attack.search(answers, torch.tensor([0]), SHAPE)
    return found, calls[:-1]  # the last call asks for the confidence of the claim


def test_a_search_stops_when_its_best_cost_has_not_improved_for_as_long_as_its_patience():
    costs = [0.9, 0.8, 0.85, 0.7, 0.71, 0.72, 0.73, 0.1]
    found, calls = searched(costs, patience=3)
    assert len(calls) == 7  # the best is the fourth; three after it are no better
    assert float(found.images[0, 0, 0, 0]) == pytest.approx(calls[3])
    assert found.steps.tolist() == [6]
    found, calls = searched(costs, patience=4, steps=20)
    assert min(calls) < calls[6]
    assert float(found.images[0, 0, 0, 0]) == pytest.approx(calls[7])


def test_a_cost_that_never_moves_stops_by_patience_and_claims_the_blank_picture():
    found, calls = searched([1.0], patience=7)
    assert len(calls) == 8
    assert torch.equal(found.images, torch.full((1, *SHAPE), 0.5))


def test_a_first_step_that_is_no_better_does_not_end_the_search():
    """Nor does a class that begins below one percent, as in a widespread implementation."""
    found, calls = searched([0.995, 0.999, 0.9, 0.5, 0.005], patience=5)
    assert len(calls) == 5
    assert float(found.images[0, 0, 0, 0]) == pytest.approx(calls[-1])


def test_enough_confidence_ends_the_search_and_less_does_not():
    _, calls = searched([0.5, 0.02, 0.0099, 0.0], confidence=0.99)
    assert len(calls) == 3
    _, calls = searched([0.5, 0.02, 0.0099, 0.0], confidence=0.999)
    assert len(calls) == 4


def test_the_search_ends_at_last():
    _, calls = searched([1 - 0.001 * step for step in range(500)], steps=25)
    assert len(calls) == 26


def world(people=6, each=8, seed=0):
    """Return pictures of a few people, and others of the same."""
    own, draw = torch.Generator().manual_seed(5), torch.Generator().manual_seed(seed)
    person = 0.5 + 0.2 * torch.randn(people, *SHAPE, generator=own)
    labels = torch.arange(people).repeat_interleave(each)
    noise = 0.05 * torch.randn(len(labels), *SHAPE, generator=draw)
    images = (person[labels] + noise).clamp(0, 1)
    return ImageSet(images, labels, tuple("abcdef"[:people]), "made up")


def linear(pictures, gain=10.0):
    model = Templates(pictures, gain)
    return lambda x: model(x).log_softmax(1)


def test_classes_are_searched_as_if_each_were_alone():
    answers, every = linear(world()), torch.arange(6)
    attack = ClassConfidence(steps=200)
    together = attack.search(answers, every, SHAPE)
    for one in every.tolist():
        alone = attack.search(answers, torch.tensor([one]), SHAPE)
        assert torch.allclose(alone.images[0], together.images[one], atol=1e-5)
        assert int(alone.steps) == int(together.steps[one])


@pytest.mark.parametrize("objective", ["confidence", "log confidence"])
def test_each_step_is_gradient_descent_on_the_cost(objective):
    """Against the derivative of 1 - softmax, or its logarithm, written out without autograd."""
    model = Templates(world(), gain=3.0)
    attack = ClassConfidence(steps=5, learning_rate=0.3, confidence=0.9999, objective=objective)
    found = attack.search(lambda x: model(x).log_softmax(1), torch.tensor([2]), SHAPE)
    w, mean = model.gain * model.weight.double().numpy(), model.mean.double().numpy()
    x = np.full(30, 0.5)
    for _ in range(5):
        logits = w @ (x - mean)
        p = np.exp(logits - logits.max())
        p /= p.sum()
        slope = -(w[2] - p @ w)  # -d log p_k / dx = -(w_k - sum_j p_j w_j)
        slope *= p[2] if objective == "confidence" else 1.0
        x = np.clip(x - 0.3 * slope, 0, 1)
    assert np.allclose(found.images.flatten().numpy(), x, atol=1e-5)
    assert found.queries == 6


def test_differences_agree_with_gradients_where_blocks_are_pixels():
    answers, every = linear(world()), torch.arange(6)
    attack = ClassConfidence(steps=30)
    exact = attack.search(answers, every, SHAPE)
    measured = attack.search(answers, every, SHAPE, Differences(width=0.01))
    assert torch.allclose(exact.images, measured.images, atol=2e-2)
    assert measured.queries == exact.queries * (1 + 2 * 30)


def test_differences_along_blocks_are_the_mean_gradient_of_each():
    weight = torch.rand(1, 7, 5)
    (slope,), asked = Differences(width=0.1, block=3).slope(
        lambda x, labels: (x * weight).flatten(1).sum(1), torch.rand(1, 1, 7, 5), torch.zeros(1)
    )
    assert asked == 2 * 3 * 2
    assert torch.allclose(slope[0, :3, :3], weight[0, :3, :3].mean().expand(3, 3), atol=1e-3)
    assert torch.allclose(slope[0, 6:, 3:], weight[0, 6:, 3:].mean().expand(1, 2), atol=1e-3)


def test_rounded_answers_give_differences_nothing_to_follow():
    answers = linear(world())
    attack = ClassConfidence(steps=50, patience=10)
    rounded = attack.search(
        lambda x: answers(x).exp().round(decimals=0).clamp_min(1e-3).log(),
        torch.arange(6),
        SHAPE,
        Differences(width=1e-3),
    )
    assert torch.equal(rounded.images, torch.full((6, *SHAPE), 0.5))


def test_the_published_objective_never_begins_where_a_class_is_far_away_and_its_logarithm_does():
    """So the published attack finds nothing in a classifier whose weights are the pictures."""
    answers, every = linear(world(), gain=500.0), torch.arange(6)
    published = ClassConfidence(steps=300, start="black", objective="confidence")
    stuck = published.search(answers, every, SHAPE)
    log = ClassConfidence(steps=300, start="black", learning_rate=1e-3)
    found = log.search(answers, every, SHAPE)
    far = stuck.confidence < 0.5
    assert far.sum() >= 3
    assert float(stuck.images[far].max()) == 0
    assert (stuck.steps[far] == 100).all()
    assert (found.confidence >= 0.99).all()


def test_variation_makes_smooth_claims():
    answers, every = linear(world()), torch.arange(6)
    rough, smooth = (
        ClassConfidence(steps=200, variation=weight).search(answers, every, SHAPE).images
        for weight in (0.0, 1.0)
    )
    assert float(smooth.diff(dim=2).abs().mean()) < 0.8 * float(rough.diff(dim=2).abs().mean())


def test_denoising_takes_noise_away_and_leaves_edges():
    draw = torch.Generator().manual_seed(0)
    clean = torch.zeros(2, 1, 16, 16)
    clean[..., 8:] = 0.8
    noisy = clean + 0.05 * torch.randn(clean.shape, generator=draw)
    cleaned = denoised(noisy)
    assert float((cleaned - clean).std()) < 0.5 * float((noisy - clean).std())
    assert float((cleaned[..., 8] - cleaned[..., 7]).mean()) > 0.7
    assert torch.allclose(denoised(torch.full((1, 3, 5, 5), 0.3)), torch.full((1, 3, 5, 5), 0.3))


def test_processing_happens_at_its_time():
    answers, labels = linear(world()), torch.arange(6)
    options = {"steps": 9, "confidence": 0.9999}
    plain = ClassConfidence(**options).search(answers, labels, SHAPE)
    early = ClassConfidence(**options, process="denoise and sharpen", every=10)
    late = ClassConfidence(**options, process="denoise and sharpen", every=3)
    assert torch.equal(early.search(answers, labels, SHAPE).images, plain.images)
    assert not torch.equal(late.search(answers, labels, SHAPE).images, plain.images)


def rebuilt(train, seed):
    """Train a linear classifier on pictures and rebuild its classes."""
    torch.manual_seed(seed)
    model = Normalized(MLP(len(train.classes), train.shape, ()), (0.5,), (0.25,))
    fit(model, train, FitPlan(epochs=40, batch_size=40, learning_rate=3e-3))
    model.requires_grad_(False)
    labels = torch.arange(len(train.classes))
    attack = ClassConfidence(steps=500)
    return attack.search(lambda x: model(x).log_softmax(1), labels, train.shape).images


def test_a_classifier_of_digits_shows_digits_and_one_of_dealt_labels_does_not():
    roles = worlds.digits()
    shown = identified([likeness(rebuilt(roles.public, 0), roles.holdout)])
    assert shown.share.value >= 0.7
    assert shown.p < 0.001
    wrong = rebuilt(mislabeled(roles.public, Seeds(0)), 0)
    assert identified([likeness(wrong, roles.holdout)]).p > 0.001


@pytest.mark.skipif(
    not (Path(os.environ.get("SAFELIGHT_DATA", "")) / "orl_faces").is_dir(),
    reason="needs SAFELIGHT_DATA with orl_faces",
)
def test_a_classifier_of_faces_shows_them_to_who_knows_their_owners():
    role = RolePlan(count=1)
    plan = DataPlan(source="orl_faces", size=32, channels=1, public=role, holdout=role)
    sets = []
    for name in ("train", "test"):
        split = open_split("orl_faces", name, plan)
        pictures = torch.from_numpy(split.pictures(np.arange(len(split.labels))))
        sets.append(ImageSet(pictures, torch.from_numpy(split.labels), split.classes, name))
    train, others = sets
    found = identified([likeness(rebuilt(train, 0), others)])
    assert found.share.low > 0.5
    nobody = identified([likeness(rebuilt(mislabeled(train, Seeds(0)), 0), others)])
    assert nobody.share.low <= 1 / 40
    assert nobody.p > 0.001
