import numpy as np
import pytest
import torch
from scipy import stats

from safelight.auditing.identities import (
    DEALINGS,
    Templates,
    identified,
    likeness,
    mislabeled,
    named_by_chance,
    ranks,
)
from safelight.data.images import ImageSet
from safelight.errors import DataError
from safelight.stats.seeds import Seeds

PEOPLE = 12


def faces(each=3, people=PEOPLE, seed=0, noise=0.05):
    """Return pictures of people who share a mean face, each with something of their own."""
    own = torch.Generator().manual_seed(99)
    face = torch.rand(1, 1, 10, 8, generator=own)
    person = 0.15 * torch.randn(people, 1, 10, 8, generator=own)
    labels = torch.arange(people).repeat_interleave(each)
    draw = torch.Generator().manual_seed(seed)
    pictures = face + person[labels] + noise * torch.randn(len(labels), 1, 10, 8, generator=draw)
    names = tuple(f"person {one}" for one in range(people))
    return ImageSet(pictures.clamp(0, 1), labels, names, "made up")


def test_likeness_is_the_partial_correlation_given_the_mean_face():
    """Against residuals of two least-squares fits, correlated by scipy."""
    shown, claims = faces(), faces(each=1, seed=1).images
    mean = shown.images.flatten(1).double().numpy().mean(0)
    known = np.stack([np.ones_like(mean), mean], 1)

    def left(picture):
        flat = picture.flatten().double().numpy()
        return flat - known @ np.linalg.lstsq(known, flat, rcond=None)[0]

    found = likeness(claims, shown)
    for claim in (0, 5):
        for person in (0, 5, 11):
            own = shown.images[shown.labels == person]
            wanted = max(stats.pearsonr(left(claims[claim]), left(one)).statistic for one in own)
            assert float(found[claim, person]) == pytest.approx(wanted, abs=1e-6)


def test_likeness_does_not_ask_how_bright_a_claim_is_nor_how_much_mean_face_it_holds():
    shown, claims = faces(), faces(each=1, seed=1).images
    mean = shown.images.mean(0)
    changed = 0.2 * claims - 0.7 * mean + 0.4
    assert torch.allclose(likeness(changed, shown), likeness(claims, shown), atol=1e-4)


def test_who_has_more_pictures_weighs_no_more_in_the_mean_face():
    shown = faces()
    more = shown.rows(torch.cat([torch.arange(len(shown)), torch.zeros(50, dtype=torch.long)]))
    means = [more.images[more.labels == one].mean(0) for one in range(PEOPLE)]
    assert float(likeness(torch.stack(means).mean(0)[None], more).abs().max()) == 0
    assert float(likeness(more.images.mean(0)[None], more).abs().max()) > 0.1


def test_blank_and_mean_claims_are_like_nobody_and_name_nobody():
    shown = faces()
    for blank in (torch.zeros(1, 10, 8), torch.full((1, 10, 8), 0.5), shown.images.mean(0)):
        scores = likeness(blank.expand(PEOPLE, -1, -1, -1), shown)
        assert float(scores.abs().max()) < 1e-3
    exact = likeness(torch.full((PEOPLE, 1, 10, 8), 0.5), shown)
    assert float(exact.abs().max()) == 0
    assert identified([exact]).share.value == 0


def test_other_pictures_of_a_person_name_him_and_those_of_another_do_not():
    shown, others = faces(), faces(each=1, seed=1).images
    found = identified([likeness(others, shown)])
    assert found.share.value == 1
    assert found.place == 0
    assert found.p == pytest.approx(1 / (DEALINGS + 1))
    wrong = identified([likeness(others.roll(1, 0), shown)])
    assert wrong.share.value == 0
    assert wrong.p > 0.3


def test_noise_is_at_chance():
    draw = torch.Generator().manual_seed(3)
    scores = [likeness(torch.rand(PEOPLE, 1, 10, 8, generator=draw), faces()) for _ in range(40)]
    found = identified(scores)
    low, high = stats.binomtest(40, 40 * PEOPLE, 1 / PEOPLE).proportion_ci(0.999)
    assert low < found.share.value < high
    assert 0.4 < found.place < 0.6
    assert found.p > 0.001


def test_ties_and_numbers_that_are_none_count_against_the_attacker():
    scores = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.1, 0.2, float("nan")]])
    assert ranks(scores, torch.arange(3)).tolist() == [1, 2, 3]
    other = torch.tensor([[1.0, float("nan"), 0.0]])
    assert ranks(other, torch.tensor([0])).tolist() == [2]


def test_repetitions_on_the_same_persons_do_not_narrow_the_interval():
    scores = torch.eye(PEOPLE)
    scores[0] = 0
    one, many = identified([scores]), identified([scores] * 5)
    assert (one.share.low, one.share.high) == (many.share.low, many.share.high)
    assert many.share.n == PEOPLE
    assert many.share.seeds == 5


def test_the_null_is_that_of_random_dealing():
    """With one favorite per claim, all different, it is the number of fixed points: mean 1."""
    lucky = named_by_chance(torch.eye(PEOPLE)[None])
    assert lucky.mean() == pytest.approx(1, abs=0.05)
    assert lucky.var() == pytest.approx(1, abs=0.1)
    crowd = torch.zeros(1, PEOPLE, PEOPLE)
    crowd[:, :, 4] = 1  # every claim looks like the same person: named once, whoever gets it
    assert set(named_by_chance(crowd)) == {1.0}


def test_mislabeled_pictures_are_the_same_with_as_many_of_each():
    shown = faces()
    wrong = mislabeled(shown, Seeds(0))
    assert torch.equal(wrong.images, shown.images)
    assert torch.bincount(wrong.labels).tolist() == torch.bincount(shown.labels).tolist()
    assert float((wrong.labels == shown.labels).double().mean()) < 0.4


def test_templates_classify_by_what_they_leak():
    shown = faces()
    model = Templates(shown)
    assert torch.equal(model(shown.images).argmax(1), shown.labels)
    claims = (model.weight.reshape(-1, 1, 10, 8) + 0.5).clamp(0, 1)
    assert identified([likeness(claims, faces(seed=1))]).share.value == 1


def test_somebody_without_a_picture_is_an_error_that_names_him():
    shown = faces()
    less = shown.rows(shown.labels != 3)
    with pytest.raises(DataError, match=r"'person 3'.*add one"):
        likeness(shown.images[:1], less)
