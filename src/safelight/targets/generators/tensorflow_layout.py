"""Networks of the TensorFlow era under the names and in the order of axes that this package has.

Covers the generators of StyleGAN (``G_style``) and StyleGAN2 (``G_main``) and the discriminator of
StyleGAN2 (``D_stylegan2``), without classes. Their convolutions are stored [k, k, in, out], dense
layers [in, out]; the 1 that a StyleGAN2 style starts from is in its computation, not in its bias.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from safelight.errors import LoadError
from safelight.targets.generators.discriminator import Discriminator
from safelight.targets.generators.facts import Facts, appended_channels, quoted
from safelight.targets.generators.fill import filled
from safelight.targets.generators.generator import Generator, Synthesis
from safelight.targets.generators.mapping import Mapping as MappingNetwork
from safelight.targets.generators.resampling import BINOMIAL, separable
from safelight.targets.generators.stylegan import StyleGANSynthesis
from safelight.targets.generators.stylegan2 import Architecture, StyleGAN2Synthesis

REMEDY = "give a network as StyleGAN or StyleGAN2 publishes it, without classes"
#: Constructor arguments that change the computation, with the one value that is known here.
FIXED: Mapping[str, Any] = {
    "label_size": 0,
    "nonlinearity": "lrelu",
    "act": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "mapping_lrmul": 0.01,
    "normalize_latents": True,
    "resample_kernel": list(map(int, BINOMIAL)),
    "use_wscale": True,
    "use_styles": True,
    "use_noise": True,
    "use_pixel_norm": False,
    "use_instance_norm": True,
    "const_input_layer": True,
    "blur_filter": [1, 2, 1],
    "fused_scale": "auto",
}
#: From this resolution on, StyleGAN joins upsampling and convolution in one transposed convolution,
#: which mirrors the kernel.
FIRST_JOINED = 128
W_AVG_BETA = 0.995

Named = dict[str, Tensor]


class _Source:
    """The tensors of a file, each taken once."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.left = dict(tensors)

    def take(self, name: str, dimensions: int) -> Tensor:
        tensor = self.left.pop(name, None)
        if tensor is None or tensor.ndim != dimensions or (dimensions and not tensor.numel()):
            told = "missing" if tensor is None else f"{list(tensor.shape)}"
            raise LoadError(f"the tensors do not fit: {name} is {told}; {REMEDY}")
        return tensor

    def convolution(self, scope: str, *, mirrored: bool = False) -> Tensor:
        weight = self.take(f"{scope}.weight", 4).permute(3, 2, 0, 1)
        return weight.flip((2, 3)) if mirrored else weight

    def dense(self, scope: str, into: str) -> Named:
        weight = self.take(f"{scope}.weight", 2).t()
        return {f"{into}.weight": weight, f"{into}.bias": self.take(f"{scope}.bias", 1)}

    def sizes(self, prefix: str) -> list[int]:
        """Return 4, 8, ... as far as there are layers."""
        sizes = [4]
        while any(name.startswith(f"{prefix}{_scope(2 * sizes[-1])}.") for name in self.left):
            sizes.append(2 * sizes[-1])
        return sizes


def build(kind: str, kwargs: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the network with its weights, frozen, in evaluation mode.

    Raises:
        LoadError: it is a variant that is not known here, or contradicts itself.
    """
    for key, known in FIXED.items():
        if kwargs.get(key, known) != known:
            raise LoadError(f"its argument {key} is {quoted(kwargs[key])}; {REMEDY}")
    source = _Source(tensors)
    make, named = CONVERTED[kind](source, Facts(kwargs, {}, tensors))
    if source.left:
        raise LoadError(f"the tensors do not fit: {next(iter(source.left))} is unknown; {REMEDY}")
    return filled(make, Facts({}, {}, named))


def _scope(size: int) -> str:
    return f"{size}x{size}"


def _mapping(source: _Source, bias_gain: float) -> Named:
    """``bias_gain`` is 1 / sqrt(2) where the nonlinearity has no gain and the weights have it."""
    named = {"mapping.w_avg": source.take("dlatent_avg", 1)}
    index = 0
    while f"mapping.Dense{index}.weight" in source.left:
        named |= source.dense(f"mapping.Dense{index}", f"mapping.fc{index}")
        named[f"mapping.fc{index}.bias"] = named[f"mapping.fc{index}.bias"] * bias_gain
        index += 1
    if not index:
        raise LoadError(f"the tensors do not fit: mapping.Dense0.weight is missing; {REMEDY}")
    return named


def _generator(named: Named, synthesis: Callable[[], Synthesis]) -> Callable[[], nn.Module]:
    z_dim = named["mapping.fc0.weight"].shape[1]
    w_dim, layers = len(named["mapping.w_avg"]), sum("mapping.fc" in name for name in named) // 2

    def make() -> nn.Module:
        made = synthesis()
        mapping = MappingNetwork(z_dim, 0, w_dim, made.num_ws, layers, W_AVG_BETA)
        return Generator(mapping, made, z_dim, 0)

    return make


def _noise(source: _Source, index: int) -> Tensor:
    return source.take(f"synthesis.noise{index}", 4)[0, 0]


def _stylegan(source: _Source, facts: Facts) -> tuple[Callable[[], nn.Module], Named]:
    del facts
    sizes = source.sizes("synthesis.")
    named = _mapping(source, math.sqrt(0.5))
    if source.take("synthesis.lod", 0) != 0:
        raise LoadError(f"it is still growing: synthesis.lod is not 0; {REMEDY}")
    named["synthesis.b4.const"] = source.take("synthesis.4x4.Const.const", 4)[0]
    for index, size in enumerate(sizes):
        layers = ("Const", "Conv") if size == 4 else ("Conv0_up", "Conv1")
        for which, layer in enumerate(layers):
            scope = f"synthesis.{_scope(size)}.{layer}"
            into = f"synthesis.b{size}.epilogue{which}"
            if layer != "Const":
                mirrored = layer == "Conv0_up" and size >= FIRST_JOINED
                weight = source.convolution(scope, mirrored=mirrored)
                named[f"synthesis.b{size}.conv{which}.weight"] = weight
            named[f"{into}.bias"] = source.take(f"{scope}.bias", 1)
            named[f"{into}.noise_strength"] = source.take(f"{scope}.Noise.weight", 1)
            named[f"{into}.noise_const"] = _noise(source, 2 * index + which)
            named |= source.dense(f"{scope}.StyleMod", f"{into}.affine")
    named["synthesis.torgb.weight"] = source.convolution("synthesis.ToRGB_lod0")
    named["synthesis.torgb.bias"] = source.take("synthesis.ToRGB_lod0.bias", 1)
    for lod in range(1, len(sizes)):  # the images of lower resolutions, only used in growing
        source.take(f"synthesis.ToRGB_lod{lod}.weight", 4)
        source.take(f"synthesis.ToRGB_lod{lod}.bias", 1)
    w_dim = len(named["mapping.w_avg"])
    channels = {size: len(named[f"synthesis.b{size}.epilogue0.bias"]) for size in sizes}
    img_channels = len(named["synthesis.torgb.bias"])
    return _generator(named, lambda: StyleGANSynthesis(w_dim, channels, img_channels)), named


def _modulated(source: _Source, scope: str, into: str, *, mirrored: bool = False) -> Named:
    return {
        f"{into}.weight": source.convolution(scope, mirrored=mirrored),
        f"{into}.bias": source.take(f"{scope}.bias", 1),
        f"{into}.affine.weight": source.take(f"{scope}.mod_weight", 2).t(),
        f"{into}.affine.bias": source.take(f"{scope}.mod_bias", 1) + 1,
    }


def _stylegan2(source: _Source, facts: Facts) -> tuple[Callable[[], nn.Module], Named]:
    sizes = source.sizes("synthesis.")
    named = _mapping(source, 1.0)
    named["synthesis.b4.const"] = source.take("synthesis.4x4.Const.const", 4)[0]
    architecture = _architecture(source, "synthesis.8x8.Skip.weight", "synthesis.4x4.ToRGB.weight")
    for index, size in enumerate(sizes):
        from_, into = f"synthesis.{_scope(size)}", f"synthesis.b{size}"
        layers = {"Conv": "conv1"} if size == 4 else {"Conv0_up": "conv0", "Conv1": "conv1"}
        for which, (layer, own) in enumerate(layers.items(), 2 * index - (size > 4)):
            # Resampled convolutions mirror the kernel here and do not there.
            mirrored = layer == "Conv0_up"
            named |= _modulated(source, f"{from_}.{layer}", f"{into}.{own}", mirrored=mirrored)
            strength = source.take(f"{from_}.{layer}.noise_strength", 0)
            named[f"{into}.{own}.noise_strength"] = strength
            named[f"{into}.{own}.noise_const"] = _noise(source, which)
        if architecture == "skip" or size == sizes[-1]:
            named |= _modulated(source, f"{from_}.ToRGB", f"{into}.torgb")
        if architecture == "resnet" and size > 4:
            named[f"{into}.skip.weight"] = source.convolution(f"{from_}.Skip")
    channels = {size: len(named[f"synthesis.b{size}.conv1.bias"]) for size in sizes}
    img_channels = len(named[f"synthesis.b{sizes[-1]}.torgb.bias"])
    w_dim, clamp = len(named["mapping.w_avg"]), facts.clamp("conv_clamp")

    def synthesis() -> Synthesis:
        return StyleGAN2Synthesis(w_dim, channels, img_channels, architecture, clamp)

    make = _generator(named, synthesis)
    return make, _with_filters(make, named)


def _discriminator(source: _Source, facts: Facts) -> tuple[Callable[[], nn.Module], Named]:
    sizes = source.sizes("")
    architecture = _architecture(source, "8x8.Skip.weight", "4x4.FromRGB.weight")
    named: Named = {}

    def convolution(scope: str, into: str) -> None:
        named[f"{into}.weight"] = source.convolution(scope)
        named[f"{into}.bias"] = source.take(f"{scope}.bias", 1)

    for size in sizes:
        scope, into = _scope(size), f"b{size}"
        if size == sizes[-1] or architecture == "skip":
            convolution(f"{scope}.FromRGB", f"{into}.fromrgb")
        if size > 4:
            convolution(f"{scope}.Conv0", f"{into}.conv0")
            convolution(f"{scope}.Conv1_down", f"{into}.conv1")
            if architecture == "resnet":
                named[f"{into}.skip.weight"] = source.convolution(f"{scope}.Skip")
    convolution("4x4.Conv", "b4.conv")
    named |= source.dense("4x4.Dense0", "b4.fc") | source.dense("Output", "b4.out")
    channels = {size: len(named[f"b{size}.conv0.bias"]) for size in sizes[1:]}
    channels[4] = len(named["b4.conv.bias"])
    appended = appended_channels(named["b4.conv.weight"].shape[1], channels[4])
    group_size = facts.whole("mbstd_group_size", 1) if "mbstd_group_size" in facts.settings else 4
    img_channels = named[f"b{sizes[-1]}.fromrgb.weight"].shape[1]

    def make() -> nn.Module:
        return Discriminator(
            channels,
            img_channels,
            architecture=architecture,
            conv_clamp=facts.clamp("conv_clamp"),
            mbstd_group_size=group_size,
            mbstd_num_channels=appended,
        )

    return make, _with_filters(make, named)


def _architecture(source: _Source, shortcut: str, image: str) -> Architecture:
    if shortcut in source.left:
        return "resnet"
    return "skip" if image in source.left else "orig"


def _with_filters(make: Callable[[], nn.Module], named: Named) -> Named:
    """Add the filters, which these files do not hold."""
    with torch.device("meta"):
        own = make().state_dict()
    filters = {name: separable(BINOMIAL) for name in own if name.endswith("resample_filter")}
    return named | filters


#: Which function of the published code built a network -> what converts its tensors.
CONVERTED: Mapping[str, Callable[[_Source, Facts], tuple[Callable[[], nn.Module], Named]]] = {
    "G_style": _stylegan,
    "G_main": _stylegan2,
    "D_stylegan2": _discriminator,
}
