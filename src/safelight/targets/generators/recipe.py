"""How a small generator and its discriminator are built and trained."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from safelight.targets.generators.dcgan import dcgan, dcgan_discriminator
from safelight.targets.generators.discriminator import discriminator
from safelight.targets.generators.generator import Generator
from safelight.targets.generators.stylegan import stylegan
from safelight.targets.generators.stylegan2 import stylegan2
from safelight.targets.generators.stylegan3 import stylegan3

Network = Literal["dcgan", "stylegan", "stylegan2", "stylegan3-t", "stylegan3-r"]
Width = Annotated[int, Field(ge=1, le=65536)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class GeneratorRecipe(BaseModel):
    """Two networks and how they are trained against each other; kept with the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Network = "dcgan"
    resolution: int = Field(32, ge=8, le=1024, description="side of the pictures, a power of 2")
    z_dim: int = Field(64, ge=1, le=4096)
    w_dim: int = Field(64, ge=1, le=4096, description="of the StyleGANs")
    mapping_layers: int = Field(2, ge=1, le=16, description="of the StyleGANs")
    channel_base: Width = Field(512, description="layers of s x s pixels have base / s channels")
    channel_max: Width = Field(64, description="and at most this many")
    discriminator_base: Width | None = Field(None, description="channel_base of it, if another")
    conditional: bool = Field(False, description="told which class to make")
    batch_statistics: bool = Field(
        False,
        description="the discriminator compares the pictures of a batch: batch normalization in "
        "DCGAN's, the minibatch standard deviation in StyleGAN's",
    )
    steps: int = Field(3000, ge=1, description="of the discriminator")
    discriminator_steps: int = Field(1, ge=1, description="for each step of the generator")
    batch_size: int = Field(64, ge=1)
    learning_rate: Positive = 2e-4
    discriminator_learning_rate: Positive | None = Field(None, description="if another")
    beta1: Fraction = Field(0.0, description="of both Adams; 0.5 in DCGAN, 0 in StyleGAN")
    beta2: Fraction = 0.99
    r1: float = Field(0.0, ge=0, allow_inf_nan=False, description="weight of the R1 penalty")
    r1_every: int = Field(1, ge=1, description="steps between penalties, each weighted by it")
    ema: Fraction = Field(0.995, description="decay of the generator's running average")
    mixing: float = Field(0.0, ge=0, le=1, description="chance that a picture mixes two styles")
    flip: bool = Field(False, description="mirror half of the real pictures, anew each time")
    shift: int = Field(0, ge=0, description="move real pictures by up to this many pixels")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the passes")
    seed: int = Field(0, ge=0, lt=2**63)

    def generator(self, img_channels: int, c_dim: int) -> Generator:
        """Return the untrained generator of pictures with ``img_channels``.

        Raises:
            PlanError: the sizes admit no such network.
        """
        sizes: dict[str, Any] = {"z_dim": self.z_dim, "c_dim": c_dim, "img_channels": img_channels}
        sizes |= {"channel_base": self.channel_base, "channel_max": self.channel_max}
        if self.architecture == "dcgan":
            return dcgan(self.resolution, **sizes)
        sizes |= {"w_dim": self.w_dim, "mapping_layers": self.mapping_layers}
        if self.architecture == "stylegan":
            return stylegan(self.resolution, **sizes)
        if self.architecture == "stylegan2":
            return stylegan2(self.resolution, **sizes)
        kind: Literal["T", "R"] = "T" if self.architecture == "stylegan3-t" else "R"
        return stylegan3(self.resolution, configuration=kind, num_layers=6, **sizes)

    def discriminator(self, img_channels: int, c_dim: int) -> nn.Module:
        """Return the untrained discriminator: DCGAN's, or StyleGAN2's for every StyleGAN."""
        sizes: dict[str, Any] = {"c_dim": c_dim, "img_channels": img_channels}
        sizes["channel_max"] = self.channel_max
        sizes["channel_base"] = self.discriminator_base or self.channel_base
        if self.architecture == "dcgan":
            return dcgan_discriminator(self.resolution, batch_norm=self.batch_statistics, **sizes)
        appended = int(self.batch_statistics)
        return discriminator(self.resolution, mbstd_num_channels=appended, **sizes)
