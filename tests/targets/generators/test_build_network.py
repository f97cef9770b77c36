"""Networks from a pickle's plain data: strict about names, shapes and settings."""

import dataclasses
import random

import pytest
import torch
from small_generators import resnet, rotation, skip, translation

from safelight.errors import LoadError
from safelight.targets.generators.build import build
from safelight.targets.generators.discriminator import discriminator
from safelight.targets.stylegan_pickle.networks import PickledNetwork

PLAIN = (bool, int, float, str, list, tuple, type(None))


def pickled(module, kind="Generator", **extra):
    """What the reader gives for a network: attributes as plain data, tensors by name."""
    settings = {
        f"{prefix}.{key}".lstrip("."): list(value) if isinstance(value, tuple) else value
        for prefix, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, PLAIN) and not key.startswith("_") and key != "training"
    }
    tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}
    return PickledNetwork("G_ema", kind, [], {}, settings | extra, tensors, "")


def generators():
    yield skip(16, c_dim=3)
    yield resnet(32)
    yield skip(8, architecture="orig", img_channels=1)
    yield translation(16, c_dim=2)
    yield rotation(32)


@pytest.mark.parametrize("index", range(5))
def test_a_generator_comes_back_with_its_weights(index):
    original = list(generators())[index].eval()
    built = build(pickled(original, **{"synthesis.margin_size": 10}))
    assert not built.training
    assert not any(one.requires_grad for one in built.parameters())
    z = torch.randn(2, original.z_dim)
    labels = torch.eye(original.c_dim)[:2] if original.c_dim else None
    assert torch.equal(built(z, labels), original(z, labels))


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
@pytest.mark.parametrize("options", [{}, {"c_dim": 3}, {"mbstd_num_channels": 0}])
def test_a_discriminator_comes_back_with_its_weights(architecture, options):
    original = discriminator(
        16, architecture=architecture, channel_base=128, channel_max=8, **options
    ).eval()
    built = build(pickled(original, "Discriminator"))
    images = torch.randn(3, 3, 16, 16)
    labels = torch.eye(3) if original.c_dim else None
    assert torch.equal(built(images, labels), original(images, labels))


def test_half_precision_weights_are_computed_with_in_float32():
    network = pickled(skip(8))
    halves = {name: value.half() for name, value in network.tensors.items()}
    built = build(dataclasses.replace(network, tensors=halves))
    assert built(torch.zeros(1, 6)).dtype == torch.float32


def refused(network, **changes):
    with pytest.raises(LoadError) as caught:
        build(dataclasses.replace(network, **changes))
    message = str(caught.value)
    assert message.startswith("cannot build the network G_ema: ")
    assert message.isprintable()
    assert len(message) < 500
    return message


def test_another_kind_is_refused():
    assert "its kind 'Encoder' is not Generator or" in refused(pickled(skip(8)), kind="Encoder")
    assert "\\n" in refused(pickled(skip(8)), kind="a\nb" * 1000)


def test_tensors_that_do_not_fit_are_refused():
    network = pickled(skip(8))
    name = "synthesis.b8.conv1.affine.bias"
    less = {key: value for key, value in network.tensors.items() if key != name}
    assert f"{name} is missing" in refused(network, tensors=less)
    assert "more is unknown" in refused(network, tensors=network.tensors | {"more": torch.ones(1)})
    wider = network.tensors | {name: torch.ones(9)}
    assert f"{name} is [9], not [8]" in refused(network, tensors=wider)
    for odd in (torch.full((8,), torch.nan), torch.full((8,), torch.inf), torch.ones(8).int()):
        assert "NaN, infinity" in refused(network, tensors=network.tensors | {name: odd})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("synthesis.b8.conv1.activation", "swish"),
        ("synthesis.b8.conv1.up", 2),
        ("synthesis.b8.conv0.act_gain", 1.0),
        ("synthesis.b4.architecture", "resnet"),
        ("synthesis.b8.architecture", "dense"),
        ("synthesis.b8.torgb.conv_clamp", 5),
        ("synthesis.b8.conv1.conv_clamp", -1),
        ("synthesis.img_resolution", 12),
        ("synthesis.img_resolution", 2**40),
        ("synthesis.img_resolution", None),
        ("z_dim", 10**9),
        ("z_dim", True),
        ("mapping.fc0.weight_gain", 0.5),
        ("mapping.fc0.bias_gain", float("nan")),
        ("mapping.w_avg_beta", "much"),
        ("num_ws", 5),
    ],
)
def test_settings_of_another_variant_are_refused(setting, value):
    network = pickled(skip(8))
    message = refused(network, settings=network.settings | {setting: value})
    assert message.endswith("give a network as StyleGAN2-ADA or StyleGAN3 publishes it")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("synthesis.layer_names", None),
        ("synthesis.num_layers", 10**9),
        ("synthesis.num_critical", 4),
        ("synthesis.margin_size", 11),
        ("synthesis.img_resolution", 64),
        ("synthesis.output_scale", 0),
        ("synthesis.input.bandwidth", 3.0),
        ("synthesis.input.size", [36, 37]),
    ],
)
def test_settings_of_another_spectrum_are_refused(setting, value):
    network = pickled(translation(16), **{"synthesis.margin_size": 10})
    assert refused(network, settings=network.settings | {setting: value})


def test_enormous_filters_are_refused():
    network = pickled(rotation(16), **{"synthesis.margin_size": 10})
    for kwargs in ({"filter_size": 10**9}, {"filter_size": 5000}, {"lrelu_upsampling": 4096}):
        assert refused(network, kwargs=kwargs)
    assert refused(network, kwargs={"first_stopband": 1e-300})


ODD = [None, True, 0, -1, 3, 2**62, 10**400, 1e300, -1.5, 0.5, float("nan"), float("inf")]
ODD += ["", "x" * 999, "skip", "\x1b[31m", [], [1, 2], ["L0"], {}, {"a": 1}, [None] * 9]
ARGUMENTS = ["filter_size", "lrelu_upsampling", "first_cutoff", "first_stopband"]


def test_whatever_is_wrong_is_told_on_one_line():
    chance = random.Random(0)  # noqa: S311
    networks = [
        *(pickled(one, **{"synthesis.margin_size": 10}) for one in generators()),
        pickled(discriminator(8, c_dim=2, channel_base=64, channel_max=8), "Discriminator"),
    ]
    messages = []
    for _ in range(200):
        network = chance.choice(networks)
        settings, tensors, kwargs = dict(network.settings), dict(network.tensors), {}
        settings[chance.choice(list(settings))] = chance.choice(ODD)
        if chance.random() < 0.3:
            kwargs[chance.choice(ARGUMENTS)] = chance.choice(ODD)
        if chance.random() < 0.3:
            shape = [chance.choice([0, 1, 2, 8, 9]) for _ in range(chance.randrange(6))]
            tensors[chance.choice(list(tensors))] = torch.zeros(shape)
        try:
            build(dataclasses.replace(network, settings=settings, tensors=tensors, kwargs=kwargs))
        except LoadError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(one.isprintable() and len(one) < 700 for one in messages)
