import inspect

import numpy as np
import pytest
import torch

from safelight.controls import nulls
from safelight.controls.nulls import NULLS
from safelight.data.images import ImageSet
from safelight.data.sources import embedded
from safelight.metrics.image import mse, ssim

CLASSES = tuple("0123456789")


def digits(first, count):
    """Embedded digits number ``first`` to ``first + count`` of every class."""
    split = embedded.open_split("train")
    rows = np.concatenate([np.flatnonzero(split.labels == c)[first:][:count] for c in range(10)])
    images, labels = split.pictures(rows), split.labels[rows]
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), CLASSES, "digits")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """What holds for every null holds after a few steps of the template's search as well."""
    monkeypatch.setattr(nulls, "TEMPLATE_STEPS", 4)


@pytest.fixture(scope="module")
def public():
    return digits(0, 12)


@pytest.fixture(scope="module")
def victims():
    return digits(12, 2)


@pytest.fixture
def claims(public, victims):
    return {name: null.claim(public, victims) for name, null in NULLS.items()}


@pytest.mark.parametrize("name", NULLS)
def test_every_null_claims_one_picture_per_victim(name, claims, victims):
    assert claims[name].shape == victims.images.shape
    assert claims[name].dtype == torch.float32
    assert 0 <= claims[name].min() <= claims[name].max() <= 1
    assert not claims[name].requires_grad


@pytest.mark.parametrize("name", [name for name, null in NULLS.items() if not null.oracle])
def test_a_null_reads_nothing_of_the_victims_but_their_labels(name, claims, public, victims):
    other = ImageSet(1 - victims.images.flip(0), victims.labels, CLASSES, "others")
    assert torch.equal(NULLS[name].claim(public, other), claims[name])


@pytest.mark.parametrize("name", [name for name, null in NULLS.items() if null.oracle])
def test_an_oracle_is_flagged_because_it_does_read_the_victims(name, claims, public, victims):
    other = ImageSet(victims.images.flip(0), victims.labels, CLASSES, "others")
    assert not torch.equal(NULLS[name].claim(public, other), claims[name])


@pytest.mark.parametrize("name", NULLS)
def test_a_null_repeats_and_leaves_the_public_pictures_alone(name, claims, public, victims):
    before = public.images.clone()
    assert torch.equal(NULLS[name].claim(public, victims), claims[name])
    assert torch.equal(public.images, before)


@pytest.mark.parametrize("name", NULLS)
def test_a_null_works_where_gradients_are_turned_off(name, claims, public, victims):
    with torch.no_grad():
        assert torch.equal(NULLS[name].claim(public, victims), claims[name])


@pytest.mark.parametrize("name", NULLS)
def test_the_summary_of_a_null_is_a_phrase_on_one_line(name):
    assert 10 < len(NULLS[name].summary) < 100
    assert "\n" not in NULLS[name].summary
    assert inspect.getdoc(NULLS[name].claim)


def test_black_is_black(claims):
    assert claims["black"].abs().max() == 0


def test_the_mean_is_the_same_picture_for_everyone_and_has_the_least_squared_error(claims, public):
    mean = claims["mean"]
    assert torch.equal(mean, mean[:1].expand_as(mean))
    error = mse(mean[:1].expand_as(public.images), public.images).mean()
    for shift in (-0.01, 0.01):
        assert mse(mean[:1] + shift, public.images).mean() > error


def test_the_class_mean_is_the_mean_of_the_class(claims, public, victims):
    for label in range(10):
        expected = public.images[public.labels == label].mean(0)
        for claim in claims["class mean"][victims.labels == label]:
            assert torch.allclose(claim, expected, atol=1e-6)


def test_the_class_template_beats_every_other_fair_null_on_public_pictures(public, monkeypatch):
    monkeypatch.undo()  # all of its steps
    scores = {
        name: ssim(null.claim(public, public), public.images).mean().item()
        for name, null in NULLS.items()
        if not null.oracle
    }
    assert max(scores, key=scores.get) == "class template"
    assert scores["class template"] > scores["class mean"] + 0.02


def test_the_nearest_public_picture_is_one_and_no_other_is_nearer(claims, public, victims):
    distances = (victims.images[:, None] - public.images[None]).square().sum((2, 3, 4))
    expected = public.images[distances.argmin(1)]
    assert torch.equal(claims["nearest public"], expected)


@pytest.mark.parametrize("name", NULLS)
def test_a_class_that_the_public_lacks_still_gets_a_picture(name, public, victims):
    poor = public.rows(public.labels != 3)
    claim = NULLS[name].claim(poor, victims)
    assert claim.shape == victims.images.shape
    assert torch.isfinite(claim).all()


@pytest.mark.parametrize("name", NULLS)
def test_nulls_work_for_one_class_one_victim_and_color(name):
    rng = torch.Generator().manual_seed(0)
    one = ImageSet(torch.rand(5, 3, 9, 12, generator=rng), torch.zeros(5).long(), ("a",), "noise")
    claim = NULLS[name].claim(one, one.rows(torch.tensor([2])))
    assert claim.shape == (1, 3, 9, 12)
    assert 0 <= claim.min() <= claim.max() <= 1


def test_a_template_is_found_once_for_the_same_public_pictures(
    public, victims, monkeypatch, tmp_path
):
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path))
    once = NULLS["class template"].claim(public, victims)
    assert len(list(tmp_path.iterdir())) == 1
    assert torch.equal(NULLS["class template"].claim(public, victims), once)
    assert len(list(tmp_path.iterdir())) == 1
    fewer = public.rows(torch.arange(len(public) - 5))
    assert not torch.equal(NULLS["class template"].claim(fewer, victims), once)
