"""Get the model that a plan names: network, weights, normalization, facts."""

import hashlib
import importlib
import json
import pickle
import sys
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from safelight import catalog
from safelight.cache import Cache, source_of
from safelight.data.roles import Roles
from safelight.errors import LoadError, PlanError
from safelight.plan.plan import TargetPlan
from safelight.targets.fit import fit
from safelight.targets.target import Normalized, Target


def load_target(plan: TargetPlan, roles: Roles, device: torch.device, cache: Cache) -> Target:
    """Build, fill and freeze the target.

    Raises:
        LoadError: the network or its weights cannot be loaded, or do not fit each other.
        PlanError: there is no such model, or nothing says where its weights come from.
    """
    seed = plan.fit.seed
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(plan)
    model = _normalized(network, plan, roles.victims.shape).to(device)
    if plan.weights is None:
        trained_on, facts = _train(model, plan, roles, cache)
    elif plan.weights.partition("/")[0] == "shipped":
        trained_on, facts = _shipped(network, plan.model, plan.weights, roles)
    else:
        _fill(network, _read_weights(Path(plan.weights)), plan.weights)
        trained_on = "unknown: the weights were given"
        facts = {"weights": Path(plan.weights).name}
        if roles.private is not None:
            trained_on = (
                f"{len(roles.private)} pictures of {roles.private.source}, as the plan says"
            )
    return Target(plan.model, model, trained_on, facts)


def _network(plan: TargetPlan) -> nn.Module:
    module, colon, function = plan.model.partition(":")
    if not colon:
        factory = catalog.load("classifier", plan.model)
    else:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: the user's own package
        try:
            factory = getattr(importlib.import_module(module), function)
        except Exception as error:  # importing runs the user's own code, which may fail in any way
            raise LoadError(
                f"cannot import the model {plan.model}: {error}; "
                "run from the folder that holds the package, or install it"
            ) from None
        finally:
            sys.path.pop(0)
    try:
        network = factory(**plan.options)
    except Exception as error:  # the user's own code again
        reason = str(error).strip().split("\n")[0]
        raise PlanError(f"cannot call {plan.model}: {reason}; correct target.options") from None
    if not isinstance(network, nn.Module):
        raise LoadError(
            f"{plan.model} returned {type(network).__name__}; it must return a torch.nn.Module"
        )
    return network


def _normalized(network: nn.Module, plan: TargetPlan, shape: tuple[int, ...]) -> Normalized:
    channels = shape[0]
    ours = network if ":" not in plan.model else None  # a user's network may mean anything by it
    mean = plan.mean or getattr(ours, "mean", None) or [0.0] * channels
    std = plan.std or getattr(ours, "std", None) or [1.0] * channels
    if len(mean) not in (1, channels) or len(std) not in (1, channels):
        raise PlanError(
            f"target.mean and target.std have {len(mean)} and {len(std)} entries for pictures of "
            f"{channels} channels; give one per channel, or set data.channels"
        )
    return Normalized(network, tuple(mean), tuple(std))


def _train(
    model: Normalized, plan: TargetPlan, roles: Roles, cache: Cache
) -> tuple[str, dict[str, Any]]:
    private = roles.private
    if private is None:
        raise PlanError(
            "the target has neither weights nor training pictures; "
            "set target.weights, or data.private to train on"
        )
    facts: dict[str, Any] = {}

    def make() -> dict[str, Tensor]:
        facts.update(fit(model, private, plan.fit))
        return {name: value.cpu() for name, value in model.network.state_dict().items()}

    data = private.labeled_sha256()
    key = {"target": plan.model_dump(), "data": data, "torch": torch.__version__}
    source = source_of(fit, type(model.network), *(type(one) for one in model.network.modules()))
    key["layers"] = repr(model.network)
    _fill(model.network, cache.tensors(key, source, make), "the cache")
    facts = {"recipe": plan.fit.model_dump(), "training_set_sha256": private.sha256()}
    return f"{len(private)} pictures of {private.source}", facts


def _shipped(
    network: nn.Module, model: str, weights_of: str, roles: Roles
) -> tuple[str, dict[str, Any]]:
    variant = weights_of.partition("/")[2]
    name = f"{model}-{variant}" if variant else model
    folder = resources.files("safelight.targets") / "weights"
    weights, notes = folder / f"{name}.safetensors", folder / f"{name}.json"
    if not weights.is_file():
        shipped = sorted(one.name[:-5] for one in folder.iterdir() if one.name.endswith(".json"))
        raise PlanError(
            f"no weights are shipped as {name} (only {', '.join(shipped)}); "
            "set target.weights to a file, or leave it out to train on data.private"
        )
    content = weights.read_bytes()
    facts: dict[str, Any] = json.loads(notes.read_text())
    if hashlib.sha256(content).hexdigest() != facts["file_sha256"]:
        raise LoadError(f"the shipped weights of {name} are damaged; install safelight again")
    private = roles.private
    if private is not None and private.sha256() != facts["training_set_sha256"]:
        raise PlanError(
            f"data.private is not what the shipped {name} was trained on "
            f"({facts['trained_on']}); name that, or leave out data.private"
        )
    _fill(network, safetensors.torch.load(content), f"{name}.safetensors")
    return str(facts["trained_on"]), facts


def _read_weights(file: Path) -> dict[str, Tensor]:
    """Read a state dict without executing anything that is in the file."""
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        with warnings.catch_warnings():  # of odd pickles, which are refused below anyway
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise LoadError(
            f"{file} holds more than tensors: loading it would run code from the file; "
            "save the state dict alone, best as .safetensors"
        ) from None
    except Exception as error:  # a damaged file may fail anywhere in the reader
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise LoadError(
            f"cannot read the weights {file}: {reason}; "
            "give a .safetensors file or a saved state dict"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise LoadError(
            f"{file} is not a state dict; save model.state_dict(), best as .safetensors"
        )
    return content


def _fill(network: nn.Module, state: dict[str, Tensor], where: str) -> None:
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    if own != given:
        missing = [name for name in own if name not in given]
        extra = [name for name in given if name not in own]
        wrong = [
            f"{name} is {list(given[name])}, not {list(own[name])}"
            for name in own
            if name in given and own[name] != given[name]
        ]
        told = [f"missing {', '.join(missing[:3])}"] if missing else []
        told += [f"unexpected {', '.join(extra[:3])}"] if extra else []
        told += wrong[:2]
        raise LoadError(
            f"the weights {where} do not fit the model: {'; '.join(told)}; "
            "check target.model, target.options and the file"
        )
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise LoadError(
            f"the weights {where} hold NaN or infinity in {broken[0]}; train them again"
        )
    network.load_state_dict(state)
