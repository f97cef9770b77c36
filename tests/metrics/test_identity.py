import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.data.images import ImageSet
from safelight.errors import DataError
from safelight.metrics.identity import line_up, rank


def pictures(n, classes=3, shape=(1, 8, 8), seed=0):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    names = tuple(f"class {i}" for i in range(classes))
    return ImageSet(torch.rand(n, *shape, generator=rng), labels, names, "noise")


def naive_rank(claim, truth, labels, suspects):
    """One victim at a time, in float64: one more than the look-alikes at least as near."""
    ranks = []
    for guess, real, label in zip(claim.double(), truth.double(), labels.tolist(), strict=True):
        own = ((guess - real) ** 2).sum()
        others = ((guess.flatten() - suspects[label].double()) ** 2).sum(1)
        ranks.append(1 + int((others <= own).sum()))
    return ranks


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from([(1, 8, 8), (3, 7, 9)]))
def test_ranks_equal_a_naive_loop(seed, noise, shape):
    holdout, victims = (
        pictures(60, shape=shape, seed=seed),
        pictures(10, shape=shape, seed=seed + 1),
    )
    suspects = line_up(holdout, victims, 20)
    rng = torch.Generator().manual_seed(seed)
    claim = victims.images + noise * torch.randn(victims.images.shape, generator=rng)
    ranks = rank(claim, victims.images, victims.labels, suspects)
    assert ranks.tolist() == naive_rank(claim, victims.images, victims.labels, suspects)


def test_the_victim_itself_is_always_named():
    holdout, victims = pictures(300), pictures(30, seed=1)
    suspects = line_up(holdout, victims, 100)
    assert rank(victims.images, victims.images, victims.labels, suspects).tolist() == [1] * 30


def test_a_claim_of_another_suspect_is_not_named():
    holdout, victims = pictures(30), pictures(6, seed=1)
    suspects = line_up(holdout, victims, 10)
    claim = torch.stack([suspects[label, 0] for label in victims.labels]).reshape(-1, 1, 8, 8)
    assert (rank(claim, victims.images, victims.labels, suspects) > 1).all()


def test_a_suspect_that_equals_the_victim_counts_against_the_attacker():
    """The same picture in the line-up is a tie, whatever is claimed."""
    victims = pictures(40, classes=1, shape=(3, 32, 32), seed=3)
    suspects = victims.images.flatten(1)[None]
    rng = torch.Generator().manual_seed(0)
    claim = (victims.images + 0.1 * torch.randn(victims.images.shape, generator=rng)).clamp(0, 1)
    ranks = rank(claim, victims.images, victims.labels, suspects)
    assert (ranks >= 2).all(), f"{int((ranks == 1).sum())} of 40 ties were won by the attacker"


def test_every_suspect_at_the_same_distance_puts_the_victim_last():
    """A mirrored picture is as far from a flat claim; sixteenths make the sums exact."""
    one = pictures(1, classes=1, shape=(1, 28, 28), seed=4)
    truth = (one.images * 16).round() / 16
    suspects = truth.flip(3).flatten(1).expand(1, 9, -1)
    assert rank(torch.full_like(truth, 0.25), truth, one.labels, suspects).tolist() == [10]


def test_a_near_duplicate_is_told_from_the_victim_by_a_perfect_claim():
    victims = pictures(40, classes=1, shape=(3, 32, 32), seed=5)
    twin = victims.images.clone()
    twin[:, 0, 0, 0] += 2e-3
    suspects = twin.flatten(1)[None]
    own = rank(victims.images, victims.images, victims.labels, suspects[:, :1])
    assert own.tolist() == [1] * 40


def test_a_claim_that_is_not_a_number_names_nobody():
    holdout, victims = pictures(60), pictures(6, seed=1)
    suspects = line_up(holdout, victims, 20)
    claim = torch.full_like(victims.images, float("nan"))
    assert rank(claim, victims.images, victims.labels, suspects).tolist() == [20] * 6


def test_a_black_claim_on_noise_is_at_chance():
    size, n = 20, 600
    holdout, victims = pictures(3 * size, seed=6), pictures(n, seed=7)
    suspects = line_up(holdout, victims, size)
    ranks = rank(torch.zeros_like(victims.images), victims.images, victims.labels, suspects)
    shares = torch.bincount(ranks, minlength=size + 1)[1:] / n
    assert ranks.float().mean().item() == pytest.approx((size + 1) / 2, abs=2)
    assert shares[0].item() <= 0.15


def test_victims_of_one_class_are_ranked_by_the_suspects_of_that_class_alone():
    holdout, victims = pictures(30), pictures(9, seed=1)
    suspects = line_up(holdout, victims, 8)
    claim = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    together = rank(claim, victims.images, victims.labels, suspects)
    order = torch.tensor([8, 0, 3, 1, 7, 2, 6, 4, 5])
    shuffled = rank(claim[order], victims.images[order], victims.labels[order], suspects)
    assert shuffled.tolist() == together[order].tolist()


def test_the_line_up_holds_the_first_holdout_pictures_of_every_class():
    holdout, victims = pictures(30), pictures(6, seed=1)
    suspects = line_up(holdout, victims, 5)
    assert suspects.shape == (3, 4, 64)
    for label in range(3):
        expected = holdout.images[holdout.labels == label][:4].flatten(1)
        assert torch.equal(suspects[label], expected)


def test_a_class_without_victims_needs_no_holdout_pictures():
    holdout = pictures(20, classes=1)
    wide = ImageSet(holdout.images, holdout.labels, ("a", "b", "c"), "noise")
    victims = ImageSet(holdout.images[:2] * 0.5, holdout.labels[:2], wide.classes, "noise")
    suspects = line_up(wide, victims, 11)
    assert suspects.shape == (3, 10, 64)
    assert suspects[1:].abs().sum() == 0


def test_too_few_holdout_pictures_of_a_class_are_an_error_that_names_class_and_remedy():
    told_is = r"'class 2' has 3 holdout.*raise data.holdout.count"
    with pytest.raises(DataError, match=told_is) as told:
        line_up(pictures(11), pictures(6, seed=1), 5)
    assert "\n" not in str(told.value)


def test_no_holdout_pictures_at_all_are_an_error_of_the_data():
    nobody = pictures(3).rows(torch.zeros(3, dtype=torch.bool))
    with pytest.raises(DataError, match="0 holdout"):
        line_up(nobody, pictures(6), 5)
