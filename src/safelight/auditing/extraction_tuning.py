"""Choose an extraction attack's options on shadow models, whose training sets the attacker owns."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pydantic
import torch
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from pydantic import BaseModel, ConfigDict, Field

from safelight import catalog
from safelight.attacks.extraction.attack import ExtractionAttack
from safelight.auditing.extraction_scoring import checked, likeness_of
from safelight.controls.planted_training import Planted, planted
from safelight.data.images import ImageSet
from safelight.errors import PlanError
from safelight.metrics import membership
from safelight.stats.seeds import Seeds
from safelight.threats.released_model import ReleasedModel

#: The study's file in the run's folder.
STUDY = "tuning.sqlite3"

#: Trials drawn at random before the sampler learns from them.
RANDOM_TRIALS = 8


class SearchPlan(BaseModel):
    """The key ``tune`` of an attack in a plan: which options to search, and for how long.

    ``ranges``: option -> (low, high). ``trials``: settings tried. ``shadows``: models that each
    trial is averaged over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ranges: dict[str, tuple[float, float]] = Field(min_length=1)
    trials: int = Field(20, ge=1)
    shadows: int = Field(2, ge=1)


@dataclass(frozen=True)
class Tuned:
    """The attack with the best options, their AUC on shadows, and how much each option mattered.

    ``importance`` adds up to 1; it is empty below three trials, which tell nothing.
    """

    attack: ExtractionAttack
    auc: float
    importance: dict[str, float]
    trials: int


def taken_from(options: Mapping[str, Any]) -> tuple[dict[str, Any], SearchPlan | None]:
    """Split the options of an attack in a plan from its search, if it has one.

    Raises:
        PlanError: the search is not written as ``SearchPlan``.
    """
    own = dict(options)
    if "tune" not in own:
        return own, None
    try:
        return own, SearchPlan.model_validate(own.pop("tune"))
    except pydantic.ValidationError as error:
        raise PlanError(f"attacks.tune: {catalog.explain_invalid(error)}") from None


def tune(
    attack: ExtractionAttack,
    ranges: Mapping[str, tuple[float, float]],
    public: ImageSet,
    folder: Path,
    *,
    trials: int,
    shadows: int = 2,
    seed: int = 0,
    threat: ReleasedModel | None = None,
) -> Tuned:
    """Search options by Bayesian optimization (tree-structured Parzen estimators).

    The objective is the AUC of members against others, averaged over small models that were made to
    learn public pictures by heart: the audited training set is never looked at. Stopped at any
    moment, the study goes on from the folder with the trials that are left.

    Args:
        attack: whose other options stay.
        ranges: option -> (low, high), searched on a logarithmic axis; low 0 on an even one.
        public: the attacker's pictures.
        folder: of the study's database.
        trials: in all, those of an earlier call included.
        shadows: models that each trial is averaged over.
        seed: of the shadows and the sampler.
        threat: what the attacker knows of each shadow; the weights if unset.

    Raises:
        PlanError: an option does not exist, or its range is none.
    """
    check(attack, ranges)
    worlds = [
        planted(public, Seeds(seed, ("shadow", str(one))).integer()) for one in range(shadows)
    ]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / STUDY}",
        study_name=_name(attack, ranges, shadows, seed, threat),
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS),
        direction="maximize",
        load_if_exists=True,
    )

    def objective(trial: optuna.Trial) -> float:
        chosen = {name: _suggested(trial, name, *ends) for name, ends in ranges.items()}
        tried = dataclasses.replace(attack, **chosen)
        return sum(shadow_auc(tried, world, threat) for world in worlds) / len(worlds)

    complete = optuna.trial.TrialState.COMPLETE  # a trial that was stopped is tried again
    finished = len(study.get_trials(states=(complete,)))
    study.optimize(objective, n_trials=max(trials - finished, 0))
    done = study.get_trials(states=(complete,))
    importance: dict[str, float] = {}
    if len(done) >= 3 and len({one.value for one in done}) > 1:
        importance = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    best: dict[str, Any] = study.best_params
    return Tuned(dataclasses.replace(attack, **best), study.best_value, importance, len(done))


def _name(attack: ExtractionAttack, *more: Any) -> str:
    """Name a study by all that it depends on: another search must not go on from its trials."""
    return f"{catalog.name_of(attack)} {hashlib.sha256(repr((attack, more)).encode()).hexdigest()}"


def shadow_auc(
    attack: ExtractionAttack, world: Planted, threat: ReleasedModel | None = None
) -> float:
    """Return how often the attack comes nearer to a shadow's member than to another picture."""
    device = world.public.images.device
    seen = (threat or ReleasedModel()).meet(
        world.target, world.secret, world.public, world.initial, device
    )
    with torch.enable_grad():
        claim = attack.run(seen.restricted(attack.needs, attack.welcomes), Seeds(0))
    claim = checked(claim, world.secret.members.shape)
    center = world.public.images.mean(0)
    members, others = (
        likeness_of(one.images, claim.images, center).max(1)
        for one in (world.secret.members, world.secret.others)
    )
    return membership.auc(members, others).value


def _suggested(trial: optuna.Trial, name: str, low: float, high: float) -> float:
    return trial.suggest_float(name, low, high, log=low > 0)


def check(attack: ExtractionAttack, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse what cannot be searched.

    Raises:
        PlanError: an option does not exist, is no number with decimals, or its range is none.
    """
    known = catalog.options(type(attack))
    for name, (low, high) in ranges.items():
        if name not in known:
            raise PlanError(
                catalog.unknown(f"option of {type(attack).__name__}", name, list(known))
            )
        if not isinstance(getattr(attack, name), float):
            raise PlanError(f"{name} is no number with decimals; take it out of tune.ranges")
        if not 0 <= low < high or not math.isfinite(high):
            raise PlanError(
                f"{name} cannot be searched from {low:g} to {high:g}; give 0 <= low < high"
            )
