"""From a network as a pickle holds it to a module with its weights."""

from collections.abc import Callable

from torch import nn

from safelight.errors import LoadError
from safelight.targets.generators import tensorflow_layout
from safelight.targets.generators.discriminator import Discriminator
from safelight.targets.generators.facts import REMEDY, Facts, appended_channels, quoted
from safelight.targets.generators.fill import filled
from safelight.targets.generators.generator import Generator, Synthesis
from safelight.targets.generators.mapping import Mapping
from safelight.targets.generators.stylegan2 import Architecture, StyleGAN2Synthesis
from safelight.targets.generators.stylegan3 import StyleGAN3Synthesis
from safelight.targets.generators.stylegan3_filters import bands
from safelight.targets.stylegan_pickle.networks import PickledNetwork

ARCHITECTURES: tuple[Architecture, ...] = ("orig", "skip", "resnet")
Maker = Callable[[], nn.Module]


def build(network: PickledNetwork) -> nn.Module:
    """Return the ``Generator`` or ``Discriminator``, frozen, in evaluation mode.

    Sizes come from the tensors, everything else from the settings. Of the TensorFlow era,
    StyleGAN's generator and StyleGAN2's networks are known, without classes. All layers compute in
    float32, also those that the published code runs in half precision.

    Raises:
        LoadError: it is of no kind that is known here, or contradicts itself.
    """
    try:
        if network.kind in tensorflow_layout.CONVERTED:
            return tensorflow_layout.build(network.kind, network.kwargs, network.tensors)
        facts = Facts(network.settings, network.kwargs, network.tensors)
        return filled(_maker(network.kind, facts), facts)
    except LoadError as error:
        raise LoadError(f"cannot build the network {network.name}: {error}") from None


def _maker(kind: str, facts: Facts) -> Maker:
    if kind == "Discriminator":
        return _discriminator(facts)
    if kind == "Generator":
        alias_free = "synthesis.input.freqs" in facts.tensors
        return _stylegan3(facts) if alias_free else _stylegan2(facts)
    raise LoadError(f"its kind {quoted(kind)} is not Generator or Discriminator; {REMEDY}")


def _stylegan2(facts: Facts) -> Maker:
    sizes = _sizes(facts, "synthesis.img_resolution")
    channels = {size: facts.shape(f"synthesis.b{size}.conv1.weight", 4)[0] for size in sizes}
    last = f"synthesis.b{sizes[-1]}"
    img_channels = facts.shape(f"{last}.torgb.weight", 4)[0]
    architecture = facts.one_of(f"{last}.architecture", ARCHITECTURES)
    clamp = facts.clamp(f"{last}.conv1.conv_clamp")
    use_noise = facts.one_of(f"{last}.conv1.use_noise", (True, False))
    w_dim = facts.whole("w_dim", 1)

    def synthesis() -> Synthesis:
        return StyleGAN2Synthesis(w_dim, channels, img_channels, architecture, clamp, use_noise)

    return _generator(facts, synthesis)


def _stylegan3(facts: Facts) -> Maker:
    resolution = facts.whole("synthesis.img_resolution", 4)
    num_layers = facts.whole("synthesis.num_layers", 1, len(facts.tensors))
    num_critical = facts.whole("synthesis.num_critical", 0, num_layers - 1)
    names = facts.settings.get("synthesis.layer_names")
    if not isinstance(names, list) or len(names) != num_layers + 1:
        raise LoadError(f"its setting synthesis.layer_names is {quoted(names)}; {REMEDY}")
    channels = [facts.shape(f"synthesis.{name}.weight", 4)[0] for name in names]
    first = f"synthesis.{names[0]}"
    layers = bands(
        resolution,
        num_layers,
        num_critical,
        facts.argument("first_cutoff", 2.0),
        facts.argument("first_stopband", 2.0**2.1),
        facts.argument("last_stopband_rel", 2.0**0.3),
        facts.whole("synthesis.margin_size"),
    )
    w_dim = facts.whole("w_dim", 1)
    output_scale = facts.number("synthesis.output_scale")
    clamp = facts.clamp(f"{first}.conv_clamp")
    beta = facts.number(f"{first}.magnitude_ema_beta")
    conv_kernel = facts.whole(f"{first}.conv_kernel", 1, 15)
    radial = facts.one_of(f"{first}.down_radial", (True, False))
    filter_size = facts.whole_argument("filter_size", 6)
    lrelu_upsampling = facts.whole_argument("lrelu_upsampling", 2)

    def synthesis() -> Synthesis:
        return StyleGAN3Synthesis(
            w_dim,
            layers,
            channels,
            num_critical=num_critical,
            output_scale=output_scale,
            conv_kernel=conv_kernel,
            use_radial_filters=radial,
            filter_size=filter_size,
            lrelu_upsampling=lrelu_upsampling,
            conv_clamp=clamp,
            magnitude_ema_beta=beta,
        )

    return _generator(facts, synthesis)


def _generator(facts: Facts, synthesis: Callable[[], Synthesis]) -> Maker:
    z_dim, c_dim, w_dim = facts.whole("z_dim", 1), facts.whole("c_dim"), facts.whole("w_dim", 1)
    num_layers = facts.count("mapping.fc")
    beta = facts.number("mapping.w_avg_beta")
    lr_multiplier = facts.number("mapping.fc0.bias_gain")

    def make() -> nn.Module:
        made = synthesis()
        mapping = Mapping(z_dim, c_dim, w_dim, made.num_ws, num_layers, beta, lr_multiplier)
        return Generator(mapping, made, z_dim, c_dim)

    return make


def _discriminator(facts: Facts) -> Maker:
    sizes = _sizes(facts, "img_resolution")
    channels = {size: facts.shape(f"b{size}.conv0.weight", 4)[0] for size in sizes[1:]}
    channels[4], with_deviation = facts.shape("b4.conv.weight", 4)[:2]
    appended = appended_channels(with_deviation, channels[4])
    group_size = None
    if appended and facts.settings.get("b4.mbstd.group_size") is not None:
        group_size = facts.whole("b4.mbstd.group_size", 1)
    c_dim = facts.whole("c_dim")
    img_channels = facts.whole("img_channels", 1)
    architecture = facts.one_of("b4.architecture", ARCHITECTURES)
    clamp = facts.clamp("b4.conv.conv_clamp")
    cmap_dim = facts.whole("b4.cmap_dim")
    mapping_layers = facts.count("mapping.fc")

    def make() -> nn.Module:
        return Discriminator(
            channels,
            img_channels,
            c_dim,
            architecture=architecture,
            conv_clamp=clamp,
            cmap_dim=cmap_dim,
            mapping_layers=mapping_layers,
            mbstd_group_size=group_size,
            mbstd_num_channels=appended,
        )

    return make


def _sizes(facts: Facts, name: str) -> list[int]:
    """Return 4, 8, ... up to the resolution that a setting has."""
    resolution = facts.whole(name, 4)
    if resolution & (resolution - 1):
        raise LoadError(f"its setting {name} is {resolution}, no power of 2; {REMEDY}")
    return [2**power for power in range(2, resolution.bit_length())]
