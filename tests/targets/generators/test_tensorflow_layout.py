"""Networks of the TensorFlow era, named and laid out as their files have them."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from small_generators import adain, orig, resnet, skip

from safelight.errors import LoadError
from safelight.targets.generators.build import build
from safelight.targets.generators.discriminator import discriminator
from safelight.targets.generators.stylegan import SmoothConvolution
from safelight.targets.stylegan_pickle.networks import PickledNetwork


def kernel(weight, mirrored=False):
    weight = weight.permute(2, 3, 1, 0)
    return weight.flip((0, 1)) if mirrored else weight


def of_mapping(mapping, bias_gain=1.0):
    named = {"dlatent_avg": mapping.w_avg}
    for index in range(mapping.num_layers):
        layer = mapping.get_submodule(f"fc{index}")
        named[f"mapping.Dense{index}.weight"] = layer.weight.t()
        named[f"mapping.Dense{index}.bias"] = layer.bias * bias_gain
    return named


def of_stylegan(generator):
    """The tensors of ``G_style`` for a generator of ours."""
    synthesis = generator.synthesis
    named = of_mapping(generator.mapping, math.sqrt(2)) | {"synthesis.lod": torch.tensor(0.0)}
    named["synthesis.4x4.Const.const"] = synthesis.b4.const[None]
    for place, size in enumerate(synthesis.block_resolutions):
        block = synthesis.get_submodule(f"b{size}")
        for index, name in enumerate(("Const", "Conv") if size == 4 else ("Conv0_up", "Conv1")):
            epilogue = block.get_submodule(f"epilogue{index}")
            scope = f"synthesis.{size}x{size}.{name}"
            if name != "Const":
                weight = block.get_submodule(f"conv{index}").weight
                named[f"{scope}.weight"] = kernel(weight, name == "Conv0_up" and size >= 128)
            named[f"{scope}.bias"] = epilogue.bias
            named[f"{scope}.Noise.weight"] = epilogue.noise_strength
            named[f"{scope}.StyleMod.weight"] = epilogue.affine.weight.t()
            named[f"{scope}.StyleMod.bias"] = epilogue.affine.bias
            named[f"synthesis.noise{2 * place + index}"] = epilogue.noise_const[None, None]
    for lod in range(len(synthesis.block_resolutions)):
        torgb = synthesis.torgb
        named[f"synthesis.ToRGB_lod{lod}.weight"] = kernel(torgb.weight) / (lod + 1)
        named[f"synthesis.ToRGB_lod{lod}.bias"] = torgb.bias / (lod + 1)
    return named


def of_stylegan2(generator):
    """The tensors of ``G_main`` for a generator of ours."""
    synthesis, count = generator.synthesis, 0
    named = of_mapping(generator.mapping)
    named["synthesis.4x4.Const.const"] = synthesis.b4.const[None]

    def modulated(scope, layer, mirrored=False):
        named[f"{scope}.weight"] = kernel(layer.weight, mirrored)
        named[f"{scope}.bias"] = layer.bias
        named[f"{scope}.mod_weight"] = layer.affine.weight.t()
        named[f"{scope}.mod_bias"] = layer.affine.bias - 1

    for size in synthesis.block_resolutions:
        block, scope = synthesis.get_submodule(f"b{size}"), f"synthesis.{size}x{size}"
        layers = ("conv1",) if size == 4 else ("conv0", "conv1")
        for own, name in zip(
            layers, ("Conv",) if size == 4 else ("Conv0_up", "Conv1"), strict=True
        ):
            layer = block.get_submodule(own)
            modulated(f"{scope}.{name}", layer, own == "conv0")
            named[f"{scope}.{name}.noise_strength"] = layer.noise_strength
            named[f"synthesis.noise{count}"] = layer.noise_const[None, None]
            count += 1
        if block.num_torgb:
            modulated(f"{scope}.ToRGB", block.torgb)
        if block.architecture == "resnet" and size > 4:
            named[f"{scope}.Skip.weight"] = kernel(block.skip.weight)
    return named


def of_discriminator(network):
    """The tensors of ``D_stylegan2`` for a discriminator of ours."""
    renamed = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}
    renamed |= {"conv": "Conv", "fc": "Dense0", "out": "Output"}
    named = {}
    for name, value in network.named_parameters():
        block, layer, what = name.split(".")
        scope = f"{block[1:]}x{block[1:]}." if layer != "out" else ""
        stored = kernel(value) if value.ndim == 4 else value.t() if value.ndim == 2 else value
        named[f"{scope}{renamed[layer]}.{what}"] = stored
    return named


def pickled(kind, tensors, **kwargs):
    tensors = {name: value.detach().clone() for name, value in tensors.items()}
    return PickledNetwork("G_ema", kind, [], kwargs, {}, tensors, "")


def randomized(network):
    with torch.no_grad():
        for one in network.parameters():
            one.normal_()
    return network.eval()


CASES = {
    "stylegan": (lambda: adain(128, channel_max=3), "G_style", of_stylegan),
    "skip": (lambda: skip(32), "G_main", of_stylegan2),
    "resnet": (lambda: resnet(16), "G_main", of_stylegan2),
    "orig": (lambda: orig(16, img_channels=1), "G_main", of_stylegan2),
}


@pytest.fixture(params=CASES)
def case(request):
    make, kind, tensors = CASES[request.param]
    generator = randomized(make())
    return generator, pickled(kind, tensors(generator))


def test_a_generator_comes_back_with_its_weights(case):
    original, network = case
    built = build(network)
    z = torch.randn(2, original.z_dim)
    for psi in (1.0, 0.5):
        images = original(z, truncation_psi=psi)
        assert torch.allclose(built(z, truncation_psi=psi), images, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(built(z), built(z, noise_mode="none"), atol=1e-3)


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_a_discriminator_comes_back_with_its_weights(architecture):
    original = discriminator(32, architecture=architecture, channel_base=256, channel_max=8)
    built = build(pickled("D_stylegan2", of_discriminator(randomized(original))))
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(built(images), original(images))


def test_the_joined_upsampling_convolution_mirrors_its_kernel():
    """Four shifts of the kernel, added up, in a transposed convolution: StyleGAN from 128 on."""
    layer = SmoothConvolution(3, 2, up=True)
    weight = layer.weight * layer.weight_gain
    shifts = [F.pad(weight, (x, 1 - x, y, 1 - y)) for x in (0, 1) for y in (0, 1)]
    x = torch.randn(1, 3, 5, 5)
    joined = F.conv_transpose2d(x, sum(shifts).transpose(0, 1), stride=2, padding=1)
    blurred = F.conv2d(
        joined.transpose(0, 1),
        torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 16,
        padding=1,
    ).transpose(0, 1)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.flip((2, 3)))
        assert torch.allclose(layer(x), blurred, atol=1e-5)


def test_variants_that_are_not_known_are_refused(case):
    _, network = case
    for option, value in {"label_size": 10, "mapping_lrmul": 0.1, "nonlinearity": "relu"}.items():
        with pytest.raises(LoadError, match=f"its argument {option} is"):
            build(pickled(network.kind, network.tensors, **{option: value}))


def test_tensors_that_do_not_fit_are_refused(case):
    _, network = case
    for name in ("dlatent_avg", "mapping.Dense0.weight", "synthesis.noise1"):
        less = {key: value for key, value in network.tensors.items() if key != name}
        with pytest.raises(LoadError, match=f"{name} is missing"):
            build(pickled(network.kind, less))
        odd = network.tensors | {name: torch.zeros(2, 2, 2, 2, 2)}
        with pytest.raises(LoadError, match="do not fit"):
            build(pickled(network.kind, odd))
    with pytest.raises(LoadError, match="more is unknown"):
        build(pickled(network.kind, network.tensors | {"more": torch.zeros(1)}))


def test_a_network_that_still_grows_is_refused():
    tensors = of_stylegan(adain(8))
    with pytest.raises(LoadError, match="still growing"):
        build(pickled("G_style", tensors | {"synthesis.lod": torch.tensor(1.5)}))
