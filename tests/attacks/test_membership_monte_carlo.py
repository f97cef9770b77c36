import numpy as np

from safelight.attacks.membership.monte_carlo import MonteCarlo
from safelight.stats.seeds import Seeds
from safelight.testing.generators import GeneratorContract, watch


class TestMedian(GeneratorContract):
    attack = MonteCarlo(samples=1000)


class TestQuantile(GeneratorContract):
    attack = MonteCarlo(samples=1000, within="quantile", quantile=0.006, kernel="alike")


def test_the_alike_kernel_counts_the_pictures_within_the_distance():
    seen, _ = watch("nothing")
    attack = MonteCarlo(samples=300, kernel="alike", components=1000)
    scores = attack.run(seen.restricted(attack.needs), Seeds(0)).scores
    made, x = seen.samples(300, Seeds(0)).flatten(1), seen.candidates.images.flatten(1)
    apart = (x[:, None] - made[None]).square().sum(2).sqrt().numpy()
    bound = np.sort(apart.min(1))[(len(x) - 1) // 2]
    assert np.abs(scores - (apart <= bound).mean(1)).max() <= 0.04
    assert (np.sign(scores) == np.sign((apart <= bound).mean(1))).mean() > 0.95
