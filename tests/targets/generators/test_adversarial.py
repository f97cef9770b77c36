"""Training a generator: what is drawn, what is penalized, what is averaged, what is kept."""

import math

import pytest
import safetensors.torch
import torch
from torch import nn

from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.errors import DataError
from safelight.targets.generators.adversarial import (
    Average,
    Draw,
    networks_of,
    squared_slope,
    train_generator,
    trained,
)
from safelight.targets.generators.recipe import GeneratorRecipe

CPU = torch.device("cpu")
SMALL = {"resolution": 16, "z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8}
SMALL |= {"batch_size": 8, "steps": 3, "learning_rate": 2e-3}


def pictures(n=20, side=16, seed=0):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    return ImageSet(torch.rand(n, 1, side, side, generator=draw), labels, ("a", "b"), "noise")


def state(network):
    return torch.cat([one.flatten().float() for one in network.state_dict().values()])


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(
    "architecture", ["dcgan", "stylegan", "stylegan2", "stylegan3-t", "stylegan3-r"]
)
def test_every_architecture_learns_and_repeats_itself(architecture, conditional):
    recipe = GeneratorRecipe(
        **SMALL, architecture=architecture, conditional=conditional, r1=1.0, mixing=0.9, flip=True
    )
    first, again = (trained(recipe, pictures(), CPU) for _ in range(2))
    untrained = networks_of(recipe, pictures())
    for name, fresh in zip(("generator", "discriminator"), untrained, strict=True):
        one, other = getattr(first, name), getattr(again, name)
        assert torch.equal(state(one), state(other))
        assert torch.isfinite(state(one)).all()
        moved = [
            not torch.equal(a, b) for a, b in zip(one.parameters(), fresh.parameters(), strict=True)
        ]
        assert sum(moved) >= len(moved) - 1  # R's last filter may stand still
        assert not one.training
        assert not any(value.requires_grad for value in one.parameters())
    assert first.pictures(3, seed=0).shape == (3, 1, 16, 16)


def test_another_seed_trains_another_generator():
    one, other = (
        trained(GeneratorRecipe(**SMALL, seed=seed), pictures(), CPU).generator for seed in (0, 1)
    )
    assert not torch.allclose(state(one), state(other))


def test_it_learns_what_it_is_shown_and_which_class_is_which():
    values = torch.tensor([0.1, 0.9]).repeat(30)
    shown = ImageSet(
        values[:, None, None, None].expand(-1, 1, 8, 8).clone(),
        torch.arange(60) % 2,
        ("dark", "bright"),
        "levels",
    )
    recipe = GeneratorRecipe(
        **SMALL | {"resolution": 8, "steps": 300, "batch_size": 16, "channel_base": 128},
        conditional=True,
        r1=1.0,
        ema=0.9,
    )
    labels = torch.arange(100) % 2
    made = trained(recipe, shown, CPU).pictures(100, 0, labels).flatten(1)
    wanted = torch.tensor([0.1, 0.9])[labels, None]
    assert (made - wanted).abs().mean() < 0.15  # untrained: 0.4


def test_the_penalty_is_the_squared_slope_of_the_logit():
    """By central differences in random directions: E (u' grad)^2 over unit axes sums to it."""
    judge = GeneratorRecipe(**SMALL).discriminator(1, 0).double().eval()
    x = torch.rand(2, 1, 16, 16, dtype=torch.float64) * 2 - 1
    axes = 1e-5 * torch.eye(256, dtype=torch.float64).reshape(256, 1, 16, 16)
    with torch.no_grad():
        expected = [
            ((judge(one + axes) - judge(one - axes)) / 2e-5).square().sum() for one in x[:, None]
        ]
    assert torch.allclose(squared_slope(judge, x, None), torch.stack(expected), rtol=1e-5)


def test_the_penalty_flattens_the_discriminator():
    slopes = []
    for r1 in (0.0, 100.0):
        recipe = GeneratorRecipe(**SMALL | {"steps": 40}, r1=r1)
        judge = trained(recipe, pictures(), CPU).discriminator
        slopes.append(squared_slope(judge, pictures().images * 2 - 1, None).mean())
    assert slopes[1] < 0.5 * slopes[0]


def test_the_average_is_exponential_after_a_short_start():
    generator = GeneratorRecipe(**SMALL).generator(1, 0)
    average = Average(generator, 0.5)
    weight = next(generator.parameters())
    expected = weight.detach().clone()
    for step in range(1, 13):
        with torch.no_grad():
            weight.fill_(float(step))
        average.follow(generator)
        decay = min(0.5, step / (step + 9))
        expected = decay * expected + (1 - decay) * step
    assert torch.allclose(next(average.network.parameters()), expected)


def test_batch_statistics_are_those_of_the_averaged_weights():
    recipe = GeneratorRecipe(**SMALL | {"steps": 30, "learning_rate": 0.02})
    network = trained(recipe, pictures(), CPU).generator
    inputs = []
    norm = next(one for one in network.modules() if isinstance(one, nn.BatchNorm2d))
    norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    network(torch.randn(4000, 8, generator=torch.Generator().manual_seed(9)))
    mean, deviation = inputs[0].mean((0, 2, 3)), inputs[0].std((0, 2, 3))
    error = 5 * deviation / math.sqrt(50 * 8)  # pixels of a picture are not independent
    assert ((norm.running_mean - mean).abs() < error).all()
    assert torch.allclose(norm.running_var.sqrt(), deviation, rtol=0.25)


def test_no_picture_comes_twice_before_all_came_once():
    from safelight.targets.generators.adversarial import _batches

    rows = _batches(10, 4, torch.Generator().manual_seed(0))
    given = torch.cat([next(rows) for _ in range(5)])
    assert sorted(given[:10].tolist()) == sorted(given[10:].tolist()) == list(range(10))


def test_labels_are_as_frequent_as_in_the_pictures_or_even():
    recipe = GeneratorRecipe(**SMALL, conditional=True)
    rare = torch.tensor([0] * 90 + [1] * 10)
    shares = Draw(recipe, 2, rare, CPU).classes(20_000).mean(0)
    assert shares[1] == pytest.approx(0.1, abs=0.01)
    assert Draw(recipe, 2, None, CPU).classes(20_000).mean(0)[1] == pytest.approx(0.5, abs=0.015)


def test_streams_of_first_weights_codes_and_noise_differ():
    recipe = GeneratorRecipe(**SMALL, seed=4)
    draw = Draw(recipe, 0, None, CPU)
    codes, noise = draw.latent(1).flatten(), torch.randn(8, generator=draw.noise)
    first = torch.randn(8, generator=torch.Generator().manual_seed(4))
    assert not any(torch.allclose(a, b) for a, b in [(codes, noise), (codes, first)])


def test_a_generator_is_taken_from_the_cache_by_what_made_it(tmp_path):
    recipe, cache = GeneratorRecipe(**SMALL, conditional=True), Cache(tmp_path)
    first = train_generator(recipe, pictures(), CPU, cache)
    (file,) = tmp_path.glob("*.safetensors")
    kept = safetensors.torch.load_file(file)
    safetensors.torch.save_file({name: 2 * one for name, one in kept.items()}, file)
    again = train_generator(recipe, pictures(), CPU, cache)
    pairs = zip(first.generator.parameters(), again.generator.parameters(), strict=True)
    assert all(torch.equal(2 * a, b) for a, b in pairs)
    assert again.facts == first.facts
    train_generator(recipe.model_copy(update={"steps": 2}), pictures(), CPU, cache)
    train_generator(recipe, pictures(seed=1), CPU, cache)
    relabeled = ImageSet(pictures().images, 1 - pictures().labels, ("a", "b"), "noise")
    train_generator(recipe, relabeled, CPU, cache)
    assert len(list(tmp_path.glob("*.safetensors"))) == 4


def test_half_precision_trains_to_finite_weights_in_float32():
    released = trained(GeneratorRecipe(**SMALL, precision="bfloat16", r1=1.0), pictures(), CPU)
    assert torch.isfinite(state(released.generator)).all()
    assert {one.dtype for one in released.generator.parameters()} == {torch.float32}


def test_pictures_of_another_size_are_refused_with_the_remedy():
    with pytest.raises(DataError, match=r"set data.size to 16"):
        trained(GeneratorRecipe(**SMALL), pictures(side=8), CPU)
