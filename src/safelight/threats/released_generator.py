"""Released generator: pictures made by it are public, and perhaps more than its pictures."""

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.catalog import Reference
from safelight.data.images import ImageSet
from safelight.errors import AccessError, DataError, PlanError
from safelight.stats.seeds import Seeds
from safelight.targets.generators.generator import Generator
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.generators.released import ReleasedGenerator as Released

Mask = NDArray[np.bool_]

#: Pictures made or scored at once.
BATCH = 500


@dataclass(frozen=True, kw_only=True)
class GeneratorNeeds:
    """What an adversary of a generator may use; also what an attack asks for.

    ``candidates``: pictures that may have been trained on. ``samples``: pictures that the generator
    makes of latents nobody tells. ``latents``: choose latents and see their pictures. ``weights``:
    the generator, with gradients. ``discriminator``: what it scores. ``reference``: own pictures
    of the same distribution. ``twin``: a generator trained alike on other pictures. ``recipe``: how
    it was trained.
    """

    candidates: bool = False
    samples: bool = False
    latents: bool = False
    weights: bool = False
    discriminator: bool = False
    reference: bool = False
    twin: bool = False
    recipe: bool = False

    def missing_from(self, offers: "GeneratorNeeds") -> list[str]:
        """Return what is asked for here and not offered there."""
        return [one for one in self.names() if not getattr(offers, one)]

    def names(self) -> list[str]:
        """Return the names of what is set."""
        return [one.name for one in fields(self) if getattr(self, one.name)]


@dataclass(frozen=True)
class Painter:
    """A generator as its attackers run it: latents in, pixels about [0, 1] out, differentiable.

    Noise inputs are constant. ``classes`` are integers [n], and none where there are no classes.
    """

    generator: Generator

    def mapped(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return ws [n, num_ws, w_dim] of z [n, z_dim]."""
        ws: Tensor = self.generator.mapping(z, self.labels(classes))
        return ws

    def of_z(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return the pictures of z [n, z_dim]: [n, c, h, w], not clamped."""
        return self.of_ws(self.mapped(z, classes))

    def of_ws(self, ws: Tensor) -> Tensor:
        """Return the pictures of ws [n, num_ws, w_dim]: [n, c, h, w], not clamped."""
        images: Tensor = self.generator.synthesis(ws, "const")
        return (images + 1) / 2

    def labels(self, classes: Tensor | None) -> Tensor | None:
        """Return one-hot labels [n, c_dim], or None where the generator has no classes."""
        if not self.generator.c_dim:
            return None
        if classes is None:
            raise ValueError("this generator has classes; say which")
        return F.one_hot(classes, self.generator.c_dim).float()


@dataclass(frozen=True)
class GeneratorSecret:
    """The truth, for metrics and controls only.

    ``member``: which candidates were trained on, [candidates]. ``position``: where each stands in
    ``members`` or ``others``, [candidates].
    """

    member: Mask
    position: NDArray[np.int64]
    members: ImageSet
    others: ImageSet


@dataclass(frozen=True)
class _Sight:
    networks: Released
    twin: Released | None
    recipe: GeneratorRecipe | None
    candidates: ImageSet
    reference: ImageSet
    threat: str
    drawn: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    twins: dict[tuple[int, int], Tensor] = field(default_factory=dict)


class GeneratorObservation:
    """What one adversary of a generator sees. Reading more raises ``AccessError``.

    Which candidates were trained on is not in here: an attack cannot receive what it must guess.
    """

    def __init__(self, sight: _Sight, offers: GeneratorNeeds) -> None:
        self._sight = sight
        self._offers = offers
        self._queries = 0
        self._shown: set[tuple[int, int]] = set()

    def restricted(self, needs: GeneratorNeeds) -> "GeneratorObservation":
        """Return a fresh view that shows only ``needs``, with its own query count."""
        missing = needs.missing_from(self._offers)
        if missing:
            raise AccessError(self._hidden(missing[0]))
        return GeneratorObservation(self._sight, needs)

    def remade(self, networks: Released) -> "GeneratorObservation":
        """Return what would be seen of other networks: for controls, with the same candidates."""
        sight = replace(self._sight, networks=networks, drawn={})
        return GeneratorObservation(sight, self._offers)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the pictures."""
        made = self._sight.networks.generator
        return made.img_channels, made.img_resolution, made.img_resolution

    @property
    def z_dim(self) -> int:
        """How many numbers a latent has."""
        return self._sight.networks.generator.z_dim

    @property
    def classes(self) -> int:
        """How many classes the generator makes pictures of; 0 where it knows none."""
        return self._sight.networks.generator.c_dim

    @property
    def device(self) -> torch.device:
        """Where the adversary computes."""
        return self._sight.candidates.images.device

    @property
    def queries(self) -> int:
        """How many pictures were made for this view."""
        return self._queries

    @property
    def candidates(self) -> ImageSet:
        """The pictures that the adversary asks about."""
        self._require("candidates")
        return self._sight.candidates

    @property
    def reference(self) -> ImageSet:
        """Pictures of the same distribution that the adversary owns; none is a candidate."""
        self._require("reference")
        return self._sight.reference

    @property
    def painter(self) -> Painter:
        """The generator itself, frozen, with gradients."""
        self._require("weights")
        return Painter(self._sight.networks.generator)

    @property
    def twin(self) -> "GeneratorObservation":
        """A generator trained alike on the adversary's own pictures, seen in the same way."""
        self._require("twin")
        if self._sight.twin is None:
            raise AccessError(self._hidden("twin"))
        told = f"the twin of {self._sight.threat}"
        sight = replace(
            self._sight, networks=self._sight.twin, twin=None, threat=told, drawn=self._sight.twins
        )
        named = {one: True for one in self._offers.names() if one != "twin"}
        return GeneratorObservation(sight, GeneratorNeeds(**named))

    @property
    def recipe(self) -> GeneratorRecipe:
        """How the generator was trained."""
        self._require("recipe")
        assert self._sight.recipe is not None  # noqa: S101 - the threat offers none without
        return self._sight.recipe

    def shadow(
        self, networks: Released, candidates: ImageSet, reference: ImageSet
    ) -> "GeneratorObservation":
        """A generator of the adversary's own, seen in the same way and asked about own pictures."""
        self._require("reference")
        own = _Sight(networks, None, None, candidates, reference, f"shadow of {self._sight.threat}")
        return GeneratorObservation(own, replace(self._offers, twin=False, recipe=False))

    def samples(self, count: int, seeds: Seeds) -> Tensor:
        """Return pictures [count, c, h, w] in [0, 1] of latents that stay unknown.

        Who asks for as many with the same seeds is shown the same, and a view counts them once.
        """
        self._require("samples")
        seed = seeds.child("samples").integer()
        self._queries += 0 if (count, seed) in self._shown else count
        self._shown.add((count, seed))
        if (count, seed) not in self._sight.drawn:
            z, classes = self.latents(count, Seeds(seed))
            self._sight.drawn[count, seed] = self._made(z, classes)
        return self._sight.drawn[count, seed]

    def latents(self, count: int, seeds: Seeds) -> tuple[Tensor, Tensor | None]:
        """Draw latents as the generator was trained on, [count, z_dim], and classes [count]."""
        rng = torch.Generator().manual_seed(seeds.child("latents").integer())
        z = torch.randn(count, self.z_dim, generator=rng)
        if not self.classes:
            return z.to(self.device), None
        classes = torch.randint(self.classes, (count,), generator=rng)
        return z.to(self.device), classes.to(self.device)

    def pictures(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return the pictures [n, c, h, w] in [0, 1] of chosen latents [n, z_dim]: n queries."""
        self._require("latents")
        self._queries += len(z)
        return self._made(z, classes)

    @torch.no_grad()
    def scores(self, images: ImageSet) -> Tensor:
        """Return the discriminator's logits [n] of pictures with their classes."""
        pairs = zip(images.images.split(BATCH), images.labels.split(BATCH), strict=True)
        return torch.cat([self.judged(*pair) for pair in pairs])

    def judged(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return the discriminator's logits [n] of pictures [n, c, h, w] in [0, 1], with gradients.

        Classes [n] are read only where the discriminator has them.
        """
        self._require("discriminator")
        network = self._sight.networks.discriminator
        if network is None:
            raise AccessError(self._hidden("discriminator"))
        labels = Painter(self._sight.networks.generator).labels(classes)
        logits: Tensor = network(images * 2 - 1, labels)
        return logits.flatten()

    @torch.no_grad()
    def _made(self, z: Tensor, classes: Tensor | None) -> Tensor:
        painter = Painter(self._sight.networks.generator)
        parts = z.split(BATCH)
        own = [None] * len(parts) if classes is None else classes.split(BATCH)
        made = [painter.of_z(*pair).clamp(0, 1) for pair in zip(parts, own, strict=True)]
        return torch.cat(made)

    def _require(self, sight: str) -> None:
        if not getattr(self._offers, sight):
            raise AccessError(self._hidden(sight))

    def _hidden(self, sight: str) -> str:
        verb = "are" if sight in ("candidates", "samples", "latents", "weights") else "is"
        return (
            f"{sight} {verb} hidden here: declare needs.{sight} on the attack, and use a threat "
            f"that offers it (this one is {self._sight.threat})"
        )


@dataclass(frozen=True, kw_only=True)
class ReleasedGenerator:
    """Somebody has a generator's pictures, or the generator, and asks whom it was trained on.

    Candidates are pictures of the training set and as many that it never saw, mixed.

    Attributes:
        access: ``samples`` (pictures alone), ``latents`` (whoever asks chooses the latent) or
            ``weights`` (the generator is published).
        discriminator: the discriminator was published with it.
        pictures: what the adversary owns: of the ``same distribution`` (``data.public``), or
            ``none``.
        twin: the adversary trained a generator alike on own pictures.
        recipe: the adversary knows the architecture and how it was trained.
    """

    reference: ClassVar[Reference] = Reference(
        key="chen2020",
        authors="Chen, Dingfan and Yu, Ning and Zhang, Yang and Fritz, Mario",
        title="GAN-Leaks: A Taxonomy of Membership Inference Attacks against Generative Models",
        year=2020,
        venue="ACM CCS 2020",
        doi="10.1145/3372297.3417238",
    )

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    access: Literal["samples", "latents", "weights"] = "weights"
    discriminator: bool = False
    pictures: Literal["same distribution", "none"] = "same distribution"
    twin: bool = False
    recipe: bool = False

    @property
    def offers(self) -> GeneratorNeeds:
        """What this adversary may use."""
        return GeneratorNeeds(
            candidates=True,
            samples=True,
            latents=self.access != "samples",
            weights=self.access == "weights",
            discriminator=self.discriminator,
            reference=self.pictures != "none",
            twin=self.twin,
            recipe=self.recipe,
        )

    def meet(
        self,
        networks: Released,
        members: ImageSet,
        others: ImageSet,
        reference: ImageSet,
        twin: Released | None = None,
    ) -> tuple[GeneratorObservation, GeneratorSecret]:
        """Let the adversary have the generator, or its pictures.

        Args:
            networks: what was released, on the device of the pictures.
            members: pictures that it was trained on.
            others: as many of the same source that it never saw.
            reference: the adversary's own pictures, none of them a candidate.
            twin: trained alike on the adversary's own pictures.

        Raises:
            DataError: the sides are not of the same size, the pictures are not of the generator's
                shape, or a picture stands in two sets.
            PlanError: the adversary has a discriminator, a twin or a recipe, and there is none.
        """
        self._check(networks, twin)
        check_candidates(members, others, reference, networks.generator)
        both = [(one.images, one.labels) for one in (members, others)]
        images, labels = (torch.cat(parts) for parts in zip(*both, strict=True))
        order = torch.Generator().manual_seed(Seeds(0, ("released generator",)).integer())
        shuffled = torch.randperm(len(labels), generator=order)  # the order must not tell
        member = (shuffled < len(members)).numpy()
        place = shuffled.to(labels.device)
        candidates = ImageSet(images[place], labels[place], members.classes, members.source)
        threat = f"released_generator with access = {self.access!r}"
        sight = _Sight(networks, twin, networks.recipe, candidates, reference, threat)
        position = (shuffled % len(members)).numpy()
        secret = GeneratorSecret(member, position, members, others)
        return GeneratorObservation(sight, self.offers), secret

    def _check(self, networks: Released, twin: Released | None) -> None:
        lacking = (
            ("discriminator", networks.discriminator, "the file of the generator holds none"),
            ("twin", twin, "none is given; name one as target.options.twin"),
            ("recipe", networks.recipe, "the generator's facts name none without a defense"),
        )
        for name, there, why in lacking:
            if getattr(self, name) and there is None:
                raise PlanError(f"this adversary has a {name}, and {why}; or set {name} = false")


def check_candidates(
    members: ImageSet, others: ImageSet, reference: ImageSet, generator: Generator
) -> None:
    """Refuse candidates that cannot be compared.

    Raises:
        DataError: the sides are not of the same size, the pictures are not of the generator's
            shape, or a picture stands in two sets.
    """
    if len(members) != len(others):
        raise DataError(f"{len(members)} members and {len(others)} others; take as many of either")
    shape = (generator.img_channels, generator.img_resolution, generator.img_resolution)
    if members.shape != shape:
        raise DataError(
            f"the generator makes pictures of {list(shape)}, and the candidates are of "
            f"{list(members.shape)}; set data.size and data.channels"
        )
    known: dict[str, str] = {}
    for name, images in (("members", members), ("others", others), ("reference", reference)):
        own = set(images.content_hashes())
        shared = own & known.keys()
        if shared:
            raise DataError(
                f"{len(shared)} pictures stand in {known[shared.pop()]} and in {name}; take them "
                "from splits that do not overlap, without copies"
            )
        known.update(dict.fromkeys(own, name))
