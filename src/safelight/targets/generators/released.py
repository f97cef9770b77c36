"""A trained generator as it is given out: networks and facts in one file that runs no code."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import pydantic
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from safelight.errors import LoadError, PlanError
from safelight.targets.generators.build import build
from safelight.targets.generators.facts import quoted
from safelight.targets.generators.generator import Generator
from safelight.targets.generators.recipe import GeneratorRecipe
from safelight.targets.stylegan_pickle.networks import PickledNetwork

#: The metadata's entry, as ``safelight convert`` writes it.
ENTRY = "safelight"
#: The generator's and the discriminator's names in the file, of which the first is the average.
AVERAGED, PLAIN, DISCRIMINATOR = "G_ema", "G", "D"
REMEDY = "give a file that safelight trained, or one that safelight convert wrote"
#: What batch normalization counts and nothing reads.
_COUNT = "num_batches_tracked"
_MOST_TOLD = 3
_SHIPPED, _SUFFIX = "shipped/", ".safetensors"
_FOLDER = resources.files("safelight.targets") / "weights" / "generators"


@dataclass(frozen=True)
class ReleasedGenerator:
    """A generator, frozen, in evaluation mode, and what came along.

    ``generator``: images about [-1, 1]. ``discriminator``: images about [-1, 1] and, where it is
    conditional, one-hot labels -> logits [n, 1], higher for real; None where it was not given out.
    ``facts``: the recipe, ``n``, ``training_set_sha256`` and what else is known of the training.
    """

    generator: Generator
    discriminator: nn.Module | None
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generator.eval().requires_grad_(False)
        if self.discriminator is not None:
            self.discriminator.eval().requires_grad_(False)

    @property
    def recipe(self) -> GeneratorRecipe | None:
        """How the generator was trained; None where its facts do not say or a defense did it."""
        try:
            recipe = GeneratorRecipe.model_validate(self.facts.get("recipe"))
        except pydantic.ValidationError:
            return None
        return None if "privacy" in self.facts else recipe

    def pictures(self, count: int, seed: int, labels: Tensor | None = None) -> Tensor:
        """Draw pictures [count, channels, height, width] with pixels in [0, 1], on the CPU.

        Args:
            count: how many.
            seed: of the latent codes, which are N(0, I).
            labels: class indices [count] of a conditional generator; drawn evenly if not given.
        """
        draw = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.generator.z_dim, generator=draw)
        one_hot = None
        if self.generator.c_dim:
            if labels is None:
                labels = torch.arange(count) % self.generator.c_dim
            one_hot = torch.eye(self.generator.c_dim)[labels.cpu()].numpy()
        made = self.generator.run(z.numpy(), one_hot, minibatch_size=250)
        return torch.from_numpy(made).add(1).div(2).clamp(0, 1)


def save_generator(released: ReleasedGenerator, file: Path, dtype: torch.dtype) -> None:
    """Write one file, whole or not at all, readable by its user alone.

    Args:
        released: with the facts of ``train_generator``.
        file: ends in .safetensors.
        dtype: of the tensors: float32, or float16, which halves the file and rounds the weights.

    Raises:
        PlanError: the file cannot be written.
    """
    metadata = {ENTRY: json.dumps(released.facts, sort_keys=True)}
    tensors = {name: value.to(dtype) for name, value in tensors_of(released).items()}
    passing = None
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as stream:
            passing = Path(stream.name)
        safetensors.torch.save_file(tensors, passing, metadata=metadata)
        passing.chmod(0o600)
        passing.replace(file)
    except (OSError, safetensors.SafetensorError) as error:
        if passing is not None:
            passing.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else str(error).split("\n")[0]
        raise PlanError(
            f"cannot write {file}: {reason}; give a folder that exists and has space"
        ) from None


def tensors_of(released: ReleasedGenerator) -> dict[str, Tensor]:
    """Return both networks' tensors under their names in the file, on the CPU."""
    networks: dict[str, nn.Module] = {AVERAGED: released.generator}
    if released.discriminator is not None:
        networks[DISCRIMINATOR] = released.discriminator
    return {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
        if not key.endswith(_COUNT)
    }


def load_generator(file: str | Path) -> ReleasedGenerator:
    """Read a file of ``save_generator`` or of ``safelight convert``; nothing in it is executed.

    ``shipped/NAME`` is one that comes with this package.

    Raises:
        LoadError: it is not such a file, or tensors and facts do not fit each other.
        PlanError: none is shipped by that name.
    """
    if str(file).startswith(_SHIPPED):
        with resources.as_file(_shipped(str(file).removeprefix(_SHIPPED))) as own:
            return load_generator(own)
    try:
        with safetensors.safe_open(file, "pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        reason = str(error).split("\n")[0]
        raise LoadError(f"cannot read the generator {file}: {reason}; {REMEDY}") from None
    try:
        facts = json.loads(metadata.get(ENTRY, ""))
    except (ValueError, RecursionError):
        facts = None
    try:
        if isinstance(facts, dict) and isinstance(facts.get("networks"), dict):
            return _published(facts, tensors)
        if isinstance(facts, dict) and "recipe" in facts:
            return _trained(facts, tensors)
        raise LoadError(f"its facts name neither a recipe nor networks; {REMEDY}")
    except LoadError as error:
        raise LoadError(f"cannot load the generator {file}: {error}") from None


def shipped_generators() -> list[str]:
    """Return the names that ``load_generator`` knows behind ``shipped/``."""
    found = [one.name for one in _FOLDER.iterdir()] if _FOLDER.is_dir() else []
    return sorted(one.removesuffix(_SUFFIX) for one in found if one.endswith(_SUFFIX))


def _shipped(name: str) -> Traversable:
    if name not in shipped_generators():
        known = ", ".join(shipped_generators()) or "(none)"
        raise PlanError(f"no generator is shipped as {quoted(name)}; choose from: {known}")
    return _FOLDER / f"{name}{_SUFFIX}"


def filled(
    recipe: GeneratorRecipe, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> ReleasedGenerator:
    """Return the recipe's networks with these tensors, named as in a file.

    Raises:
        LoadError: the tensors are not those of the recipe.
    """
    channels, classes = facts.get("img_channels"), facts.get("classes")
    if channels not in (1, 3) or not isinstance(classes, list):
        raise LoadError(f"its facts do not name channels and classes; {REMEDY}")
    c_dim = len(classes) if recipe.conditional else 0
    generator = _with_weights(
        lambda: recipe.generator(channels, c_dim), _of(AVERAGED, tensors), AVERAGED
    )
    own = _of(DISCRIMINATOR, tensors)
    judge = None
    if own:
        judge = _with_weights(lambda: recipe.discriminator(channels, c_dim), own, DISCRIMINATOR)
    if not isinstance(generator, Generator):  # never: the recipe builds one
        raise AssertionError
    return ReleasedGenerator(generator, judge, dict(facts))


def _trained(facts: dict[str, Any], tensors: Mapping[str, Tensor]) -> ReleasedGenerator:
    try:
        recipe = GeneratorRecipe.model_validate(facts["recipe"])
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise LoadError(f"its recipe's {where} is {quoted(first['input'])}; {REMEDY}") from None
    return filled(recipe, facts, tensors)


def _published(facts: dict[str, Any], tensors: Mapping[str, Tensor]) -> ReleasedGenerator:
    networks = facts["networks"]
    name = AVERAGED if AVERAGED in networks else PLAIN
    generator = _built(name, networks.get(name), tensors)
    if not isinstance(generator, Generator):
        raise LoadError(f"its {name} is no generator; {REMEDY}")
    judge = None
    if DISCRIMINATOR in networks:
        judge = _built(DISCRIMINATOR, networks[DISCRIMINATOR], tensors)
    return ReleasedGenerator(generator, judge, facts)


def _built(name: str, told: Any, tensors: Mapping[str, Tensor]) -> nn.Module:
    told = told if isinstance(told, dict) else {}
    kind, kwargs, settings = told.get("kind"), told.get("init_kwargs"), told.get("settings")
    sound = isinstance(kind, str) and isinstance(kwargs, dict) and isinstance(settings, dict)
    if not sound:
        raise LoadError(f"its facts do not say what {name} is; {REMEDY}")
    own = _of(name, tensors)
    source = str(told.get("module_source_sha256"))
    return build(PickledNetwork(name, kind, [], kwargs, settings, own, source))


def _of(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{name}."
    return {key[len(start) :]: one for key, one in tensors.items() if key.startswith(start)}


def _with_weights(make: Callable[[], nn.Module], given: dict[str, Tensor], name: str) -> nn.Module:
    """Build without memory for weights, until names and shapes are known to fit."""
    try:
        with torch.device("meta"):
            network = make()
    except PlanError as error:
        raise LoadError(
            f"its recipe cannot be built: {str(error).split(';')[0]}; {REMEDY}"
        ) from None
    own = network.state_dict()
    counts = {key: torch.zeros((), dtype=torch.long) for key in own if key.endswith(_COUNT)}
    told = [f"{name}.{key} is missing" for key in own if key not in given and key not in counts]
    told += [f"{name}.{key} is unknown" for key in given if key not in own]
    told += [
        f"{name}.{key} is {list(given[key].shape)}, not {list(value.shape)}"
        for key, value in own.items()
        if key in given and given[key].shape != value.shape
    ]
    told += [
        f"{name}.{key} holds NaN, infinity or whole numbers"
        for key, value in given.items()
        if not value.is_floating_point() or not torch.isfinite(value).all()
    ]
    if told:
        raise LoadError(f"{quoted('; '.join(told[:_MOST_TOLD]))[1:-1]}; {REMEDY}")
    weights = {key: value.float() for key, value in given.items()}
    network.load_state_dict(weights | counts, strict=True, assign=True)
    return network
