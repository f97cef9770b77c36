import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from safelight.attacks.membership import shadow_generators
from safelight.attacks.membership.shadow_generators import (
    STAND_IN,
    ShadowGenerators,
    fitted,
    left_out,
)
from safelight.controls.planted_generator import reciting
from safelight.stats.seeds import Seeds
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import ReleasedGenerator as Released
from safelight.testing.generators import LATENT, OPEN, SIZE, GeneratorContract, watch, world
from safelight.threats.released_generator import ReleasedGenerator

#: Few pictures are learned by heart in few steps.
QUICK = {"shadows": 2, "pictures": 24, "steps": 250, "samples": 600}


@pytest.fixture(autouse=True, scope="module")
def _kept(tmp_path_factory):
    """Every attack here trains the same shadows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFELIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class TestSamples(GeneratorContract):
    attack = ShadowGenerators(**QUICK)


class TestEverything(GeneratorContract):
    attack = ShadowGenerators(**QUICK, by="weights", search=5, discriminator=True)


@pytest.fixture
def lessons(monkeypatch):
    """Keep what shadows are trained on, and train none of them."""
    kept = []

    def know(recipe, images, device, cache):
        kept.append((recipe, images))
        return world("nothing").twin

    monkeypatch.setattr(shadow_generators, "train_generator", know)
    return kept


def run(attack, threat=OPEN, networks=None):
    here = world("nothing")
    given = (networks or here.networks, here.members, here.others, here.reference, here.twin)
    view = threat.meet(*given)[0].restricted(attack.needs)
    return attack.run(view, Seeds(0)), view


def test_shadows_share_out_own_pictures_in_halves_and_hold_no_candidate(lessons):
    attack = ShadowGenerators(shadows=4, pictures=40, samples=100)
    run(attack)
    own = world("nothing").reference.content_hashes()
    held = [set(images.content_hashes()) for _, images in lessons]
    assert [len(one) for one in held] == [40] * 4
    pool = held[0] | held[1]
    assert len(pool) == 80
    assert pool <= set(own)
    assert held[2] | held[3] == pool
    assert held[0] not in held[2:]
    assert len({recipe.seed for recipe, _ in lessons}) == 4


def test_shadows_are_asked_about_the_pool_and_scaled_by_other_pictures(lessons, monkeypatch):
    asked = []
    score = ShadowGenerators._standardized

    def keep(self, seen, rng):
        asked.append((seen.candidates, seen.reference))
        return score(self, seen, rng)

    monkeypatch.setattr(ShadowGenerators, "_standardized", keep)
    run(ShadowGenerators(shadows=2, pictures=40, samples=100))
    pool = {one for _, images in lessons for one in images.content_hashes()}
    everyone = set(world("nothing").reference.content_hashes())
    *shadows, target = asked
    assert len(shadows) == 2
    for candidates, reference in shadows:
        assert set(candidates.content_hashes()) == pool
        assert set(reference.content_hashes()) == everyone - pool
    assert set(target[1].content_hashes()) == everyone
    assert not set(target[0].content_hashes()) & everyone


def test_shadows_that_know_nobody_teach_nothing(lessons):
    """They know others than they were told to: weights stay about 0, and so say the facts."""
    claim, _ = run(ShadowGenerators(shadows=4, pictures=100, samples=300))
    assert claim.provenance["AUC on shadows left out"] == pytest.approx(0.5, abs=0.1)
    assert sum(value for name, value in claim.provenance.items() if "weight" in name) < 0.5


def test_the_recipe_is_a_stand_in_or_the_published_one(lessons):
    quick = {"shadows": 2, "pictures": 40, "samples": 100}
    run(ShadowGenerators(**quick, steps=7))
    told = {"resolution": SIZE, "steps": 7, "seed": 0}
    assert lessons[-1][0].model_copy(update={"seed": 0}) == STAND_IN.model_copy(update=told)

    published = GeneratorRecipe(architecture="stylegan2", resolution=SIZE, steps=20, seed=5)
    networks = dataclasses.replace(
        world("nothing").networks, facts={"recipe": published.model_dump()}
    )
    threat = dataclasses.replace(OPEN, recipe=True)
    for steps, expected in ((7, 7), (50, 20)):
        attack = ShadowGenerators(**quick, steps=steps, recipe="published")
        assert attack.needs.recipe
        run(attack, threat, networks)
        used = lessons[-1][0]
        assert used.seed != published.seed
        assert used.model_copy(update={"seed": 5, "steps": 20}) == published
        assert used.steps == expected


def test_a_generator_with_classes_has_shadows_with_classes():
    own = world("nothing").members.images
    networks = Released(reciting(own, LATENT, 10), None)
    quick = ShadowGenerators(shadows=2, pictures=24, steps=1, samples=100, by="weights", search=1)
    claim, _ = run(quick, ReleasedGenerator(), networks)
    assert np.isfinite(claim.scores).all()


def test_pictures_are_made_once_for_all_attacks(lessons):
    _, view = run(ShadowGenerators(shadows=2, pictures=40, samples=100))
    assert view.queries == 100


def test_too_few_own_pictures_are_told_with_the_remedy():
    seen, _ = watch("nothing")
    assert "need 620 own ones and there are 600; raise" in ShadowGenerators(pictures=260).unfit(
        seen
    )
    assert ShadowGenerators(pictures=250).unfit(seen) == ""


def drawn(weights, shadows=3, pool=400):
    rng = np.random.default_rng(0)
    known = rng.normal(size=(shadows, pool, len(weights)))
    chance = 1 / (1 + np.exp(-known @ np.array(weights)))
    return known, rng.random((shadows, pool)) < chance


def test_the_regression_agrees_with_another_implementation():
    known, inside = drawn([1.5, 0.5, 0.8])
    other = LogisticRegression(fit_intercept=False, C=1.0, tol=1e-8)
    other.fit(known.reshape(-1, 3), inside.ravel())
    assert np.allclose(fitted(known, inside), other.coef_[0], atol=1e-3)


def test_no_weight_is_negative():
    known, inside = drawn([1.5, -1.0])
    weights = fitted(known, inside)
    assert weights[1] == 0
    assert weights[0] > 1


def test_a_shadow_that_is_left_out_does_not_teach_its_own_scores():
    known, inside = drawn([1.5, 0.5])
    before = left_out(known, inside)
    inside[1] = ~inside[1]
    after = left_out(known, inside)
    assert np.array_equal(before[1], after[1])
    assert not np.allclose(before[0], after[0])


def test_shadows_memorize_and_say_how_well_they_are_told_apart():
    """What the contract's shadows learned: their members are told from the rest of the pool."""
    claim, _ = run(TestEverything.attack)
    assert claim.provenance["AUC on shadows left out"] > 0.6
    assert sum(name.startswith("weight of") for name in claim.provenance) == 5
