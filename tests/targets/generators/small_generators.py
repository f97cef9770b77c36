"""A small network of every kind."""

from safelight.targets.generators.dcgan import dcgan
from safelight.targets.generators.stylegan import stylegan
from safelight.targets.generators.stylegan2 import stylegan2
from safelight.targets.generators.stylegan3 import stylegan3

SMALL = {"z_dim": 6, "channel_base": 128, "channel_max": 8}
STYLED = {**SMALL, "w_dim": 5, "mapping_layers": 2}


def skip(resolution, **options):
    return stylegan2(resolution, **STYLED | options)


def resnet(resolution, **options):
    return stylegan2(resolution, architecture="resnet", **STYLED | options)


def orig(resolution, **options):
    return stylegan2(resolution, architecture="orig", **STYLED | options)


def adain(resolution, **options):
    return stylegan(resolution, **STYLED | options)


def translation(resolution, **options):
    return stylegan3(resolution, num_layers=4, **STYLED | options)


def rotation(resolution, **options):
    small = {**STYLED, "channel_max": 4, "num_layers": 4}
    return stylegan3(resolution, configuration="R", **small | options)


def convolutional(resolution, **options):
    return dcgan(resolution, **SMALL | options)


KINDS = {
    "stylegan": adain,
    "stylegan2-skip": skip,
    "stylegan2-resnet": resnet,
    "stylegan2-orig": orig,
    "stylegan3-t": translation,
    "stylegan3-r": rotation,
    "dcgan": convolutional,
}
