"""Everything an audit needs before its first cell, checked before anything is written."""

import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safelight import catalog
from safelight.attacks.attack import InversionAttack
from safelight.auditing.target import obtain
from safelight.cache import Cache
from safelight.data.roles import Roles, deal
from safelight.defenses.fit_at_cut import TrainedAtCut
from safelight.errors import DataError, PlanError
from safelight.metrics.identity import line_up
from safelight.metrics.image import SMALLEST
from safelight.plan.plan import Plan, ThreatPlan
from safelight.record.record import Component, Measurement, Provenance, Role, TargetFacts
from safelight.record.verdict import FEWEST_VICTIMS, LEVEL, LINE_UP
from safelight.stats.intervals import clopper_pearson
from safelight.targets.cut import cut_points
from safelight.targets.target import Target
from safelight.threats.messages import MessageThreat


@dataclass(frozen=True)
class Setting:
    """A resolved plan: the components built, the pictures dealt, the target loaded.

    ``pairs`` are the threats with the attacks to try under each.
    """

    plan: Plan
    device: torch.device
    threats: list[MessageThreat]
    attacks: list[InversionAttack]
    pairs: list[tuple[MessageThreat, InversionAttack]]
    roles: Roles
    target: Target
    suspects: Tensor
    cache: Cache


def prepare(plan: Plan) -> Setting:
    """Resolve a plan.

    Raises:
        PlanError, DataError, LoadError: it cannot be run as it is written.
    """
    device = device_of(plan.device)
    built = [
        (one.label or one.name, attack)
        for one in plan.attacks
        for attack in catalog.expand("attack", one.name, one.options)
    ]
    attacks = [attack for _, attack in built]
    threats, pairs = [], []
    for one in plan.threats:
        tried = _tried(one, built)
        for threat in catalog.expand("threat", one.name, one.options):
            threats.append(threat)
            pairs += [(threat, attack) for attack in tried]
    for position, pair in enumerate(pairs):
        if pair in pairs[:position]:
            names = " under ".join(catalog.name_of(one) for one in reversed(pair))
            raise PlanError(f"{names} stands in the plan twice; remove one or change it")
    roles = deal(plan.data)
    if len(roles.victims) < FEWEST_VICTIMS:
        raise DataError(
            f"{len(roles.victims)} victims are too few to judge; "
            f"set data.victims.count to {FEWEST_VICTIMS} or more"
        )
    if min(roles.victims.shape[1:]) < SMALLEST:
        raise DataError(
            f"pictures of {list(roles.victims.shape)} are smaller than the {SMALLEST} pixels that "
            "SSIM needs; set data.size"
        )
    victims, holdout = roles.victims.to(device), roles.holdout.to(device)
    suspects = line_up(holdout, victims, LINE_UP)
    cache = Cache()
    target, _ = obtain(plan, roles, device, cache)
    for threat in threats:
        threat.parts(target, roles.victims.shape)  # a place that is not there is told now
    _noise_where_it_was_trained(plan, threats)
    return Setting(plan, device, threats, attacks, pairs, roles, target, suspects, cache)


def _noise_where_it_was_trained(plan: Plan, threats: list[MessageThreat]) -> None:
    """Refuse to put noise that a model was trained with at another place."""
    if plan.defense is None:
        return
    defense = catalog.build("defense", plan.defense.name, plan.defense.options)
    if not isinstance(defense, TrainedAtCut) or defense.at_release is None:
        return
    for threat in threats:
        if threat.where != defense.sends:
            raise PlanError(
                f"{plan.defense.name} trains for noise at {defense.sends}, and the threat watches "
                f"{threat.where}; set the threat's cut to {defense.sends!r}"
            )


def _tried(threat: ThreatPlan, attacks: list[tuple[str, InversionAttack]]) -> list[InversionAttack]:
    """Return the attacks of the plan that its entry for a threat calls, or all of them."""
    known = list(dict.fromkeys(label for label, _ in attacks))
    for label in threat.attacks or []:
        if label not in known:
            raise PlanError(catalog.unknown(f"attack of threat {threat.name}", label, known))
    wanted = known if threat.attacks is None else threat.attacks
    return [attack for label, attack in attacks if label in wanted]


def describe_roles(roles: Roles) -> list[Role]:
    """Return what the record says of the pictures."""
    return [
        Role(
            name=name,
            source=images.source,
            count=len(images),
            classes=images.class_counts(),
            sha256=images.sha256(),
        )
        for name, images in roles.items()
    ]


def describe_target(setting: Setting) -> TargetFacts:
    """Return what the record says of the target; accuracy on victims and holdout together."""
    target, roles = setting.target, setting.roles
    images = torch.cat([roles.victims.images, roles.holdout.images]).to(setting.device)
    labels = torch.cat([roles.victims.labels, roles.holdout.labels]).to(setting.device)
    with torch.no_grad():
        answer = target.model(images[:2])
    accuracy = None
    if isinstance(answer, Tensor) and answer.ndim == 2:  # else it is no classifier
        hits = target.correct(images, labels)
        accuracy = share_right(hits, len(labels), len(roles.victims.classes))
    return TargetFacts(
        name=target.name,
        parameters=target.parameters(),
        weights_sha256=target.weights_sha256(),
        trained_on=target.trained_on,
        accuracy=accuracy,
        cut_points={
            name: list(shape)
            for name, shape in cut_points(target.model, roles.victims.shape).items()
        },
        facts=target.facts,
    )


def share_right(hits: int, n: int, classes: int) -> Measurement:
    """Return how many of n pictures are assigned to their class, as a measured share."""
    low, high = clopper_pearson(hits, n, LEVEL)
    return Measurement(
        value=hits / n,
        low=low,
        high=high,
        level=LEVEL,
        n=n,
        seeds=1,
        chance=1 / classes,
        worse="lower",
        unit="share",
    )


def describe_component(kind: str, component: Any) -> Component:
    """Return what the record says of a component, with every option as resolved."""
    summary = (type(component).__doc__ or "").strip().split("\n")[0]
    return Component(
        kind=kind,
        name=catalog.name_of(component),
        options=asdict(component),
        summary=summary,
        bibtex=component.reference.bibtex(),
    )


def watches_no_message(plan: Plan, target: Target) -> None:
    """Refuse a defense of what leaves where nothing that leaves is watched.

    Raises:
        PlanError: the target has one, and the record would carry its name for nothing.
    """
    if target.release is not None and plan.defense is not None:
        raise PlanError(
            f"{plan.defense.name} changes messages, which are not watched here; leave it out, or "
            "use the threat split_inference or prediction_api"
        )


def name_defense(plan: Plan) -> str:
    """Return the plan's defense in words: its name and the options that the plan sets."""
    if plan.defense is None:
        return ""
    options = ", ".join(f"{key} {value}" for key, value in plan.defense.options.items())
    name = plan.defense.name.replace("_", " ")
    return f"{name} ({options})" if options else name


def describe_provenance(where: torch.device) -> Provenance:
    """Return where, when and with what the audit runs."""
    packages = ("torch", "numpy", "scipy", "datasets")
    device = torch.cuda.get_device_name(where) if where.type == "cuda" else str(where)
    return Provenance(
        safelight=metadata.version("safelight"),
        commit=_commit(),
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in packages},
        machine=f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        device=device,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def device_of(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        PlanError: there is none.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise PlanError(f"cannot use device {name!r}: {reason}; use cpu") from None
    return device


def _commit() -> str:
    """Return the commit of safelight's own source, if it runs from a checkout."""
    here = Path(sys.modules["safelight"].__file__ or ".").parent
    if not (here.parents[1] / ".git").exists():
        return ""
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
