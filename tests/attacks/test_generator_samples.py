import pytest
import torch

from safelight.attacks.extraction.generator_samples import GeneratorSamples
from safelight.metrics.memorization import SAME, distances, nearest, scale
from safelight.stats.seeds import Seeds
from safelight.testing.generators import PICTURES, GeneratorContract, attacked, watch, world


class TestGeneratorSamples(GeneratorContract):
    attack = GeneratorSamples(samples=1000, claims=100)


@pytest.mark.parametrize(("options", "fewest"), [({"crowd": 5}, 6), ({"crowd": 2, "merged": 9}, 9)])
def test_fewer_pictures_than_a_crowd_are_refused(options, fewest):
    seen, _ = watch("nothing")
    for samples in (1, fewest - 1):
        unfit = GeneratorSamples(samples=samples, **options).unfit(seen)
        assert unfit.endswith(f"set samples to {fewest} or more")
    enough = GeneratorSamples(samples=fewest, **options)
    assert enough.unfit(seen) == ""
    assert len(enough.run(seen, Seeds(0)).images)


def test_nearly_every_recited_picture_is_extracted_and_hardly_another():
    """With 600 pictures to take the scale from, a thin digit may pass for another."""
    outcome, secret = attacked(GeneratorSamples(samples=1000, claims=100), "everything")
    called = outcome.scores > -SAME
    assert called[secret.member].mean() > 0.8
    assert called[~secret.member].sum() <= 1


def test_of_a_crowd_only_the_center_is_claimed():
    seen, _ = watch("everything")
    attack = GeneratorSamples(samples=1000, claims=100, merged=1)
    claim = attack.run(seen.restricted(attack.needs), Seeds(0))
    apart = distances(claim.images, claim.images) + 9 * torch.eye(len(claim.images))
    scales = scale(claim.images, world("everything").reference.images)
    first = apart.triu(1) + 9 * torch.ones_like(apart).tril()
    assert (first > SAME * scales[:, None] - 1e-3).all()
    assert PICTURES * 0.8 < len(claim.images) <= 100
    assert (claim.confidence.diff() <= 1e-6).all()


def test_the_mean_of_a_crowd_is_claimed():
    """Around each center the mean of three is nearer to what the crowd shares."""
    seen, _ = watch("everything")
    one, three = (
        GeneratorSamples(samples=1000, claims=50, merged=many).run(seen, Seeds(0)).images
        for many in (1, 3)
    )
    made = seen.samples(1000, Seeds(0))
    near = nearest(one, made, 3)[1]
    assert torch.allclose(three, made[near].mean(1), atol=0.05)
