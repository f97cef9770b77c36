"""Gaussian noise on what leaves, as much for each picture as its message tells of it."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pydantic
import torch
from torch import Tensor, nn

from safelight.catalog import Reference
from safelight.stats.seeds import Seeds
from safelight.targets.release import Calibrated, Release, Scale

#: Pictures whose passes through the edge are kept in memory for their gradients.
AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class FisherNoise(Calibrated):
    """Add Gaussian noise to each message, so large that its Fisher information is as stated.

    A message f(x) with noise of deviation s tells dFIL = tr(J'J) / (d s^2) about a picture of d
    pixels, J the Jacobian of f at x (Maeng et al. 2023). Each picture gets the s at which that is
    the ``leakage``: one whose message answers strongly to its pixels gets more noise than one
    whose message does not. It is a measure and no promise: 1 / leakage bounds the squared error
    of unbiased attackers alone, and whoever knows what pictures look like is biased.

    The trace is estimated by ``probes`` random signs u, tr(J'J) = E |J'u|^2 (Hutchinson 1990), the
    same for every picture, so that s is a function of the picture. It is the mean, not an upper
    limit: a limit that holds for any edge would double the noise, to be sure of a measure.

    Attributes:
        leakage: dFIL of one send, per squared pixel unit; k sends tell k times as much.
        probes: backward passes through the edge a picture.
    """

    reference: ClassVar[Reference] = Reference(
        key="maeng2023",
        authors="Maeng, Kiwan and Guo, Chuan and Kariyappa, Sanjay and Suh, G. Edward",
        title="Bounding the Invertibility of Privacy-preserving Instance Encoding using Fisher "
        "Information",
        year=2023,
        venue="NeurIPS 2023",
        url="https://arxiv.org/abs/2305.04146",
    )
    random: ClassVar[bool] = True
    hides: ClassVar[bool] = False

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    leakage: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 10.0
    probes: Annotated[int, pydantic.Field(ge=1)] = 16

    def calibrated(self, edge: nn.Module, pictures: Tensor) -> Release:
        """Return noise of the deviations of these pictures."""
        return _Noise(self.deviations(edge, pictures))

    def deviations(self, edge: nn.Module, pictures: Tensor) -> Tensor:
        """Return s = sqrt(tr(J'J) / (d leakage)) of each picture [n, c, h, w], in units of f: [n].

        0 where the message does not answer to the picture at all.
        """
        draw = torch.Generator().manual_seed(Seeds(0, ("Fisher noise",)).integer())
        signs: list[Tensor] = []
        found = [pictures.new_zeros(0)]
        for part in pictures.split(AT_ONCE):
            with torch.enable_grad():
                x = part.detach().requires_grad_()
                sent = edge(x) + 0 * x.sum()  # also where an edge ignores its input
                if not signs:
                    bits = torch.randint(0, 2, (self.probes, *sent.shape[1:]), generator=draw)
                    signs = list((2 * bits - 1).to(sent))
                total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
                for u in signs:
                    (pulled,) = torch.autograd.grad(sent, x, u.expand_as(sent), retain_graph=True)
                    total += pulled.double().flatten(1).square().sum(1)  # |J'u|^2
            pixels = math.prod(x.shape[1:])
            found.append((total / (self.probes * pixels * self.leakage)).sqrt().to(part))
        return torch.cat(found)

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return z + N(0, 1 / leakage): with nothing known of the edge, z counts as the picture."""
        even = messages.new_full((len(messages),), 1 / math.sqrt(self.leakage))
        return _Noise(even).release(messages, scale, draw)


@dataclass(frozen=True)
class _Noise(Release):
    """Gaussian noise of deviation ``deviations`` [n] on each of n messages."""

    random: ClassVar[bool] = True
    hides: ClassVar[bool] = False

    deviations: Tensor

    def release(self, messages: Tensor, scale: Scale, draw: torch.Generator) -> Tensor:
        """Return z + s N(0, 1)."""
        del scale
        noise = torch.randn(messages.shape, generator=draw).to(messages)
        each = self.deviations.reshape(-1, *(1 for _ in messages.shape[1:])).to(messages)
        return messages + each * noise
