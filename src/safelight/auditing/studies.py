"""Impact studies: turn a plan into the plan that answers one question. Nothing is run here."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from safelight import catalog
from safelight.auditing.setting import prepare
from safelight.errors import PlanError
from safelight.plan.plan import AttackPlan, DefensePlan, Plan, ThreatPlan
from safelight.targets.cut import cut_points

#: How often each picture is sent: the noise that is left is 1, 1/2, 1/4 and 1/8.
SENDS = (1, 4, 16, 64)

#: The attack that each knowledge of the model allows (He et al. 2019).
ATTACKS: Mapping[str, str] = {
    "weights": "inversion/likelihood",
    "queries": "inversion/decoder",
    "cloud": "inversion/shadow",
}


@dataclasses.dataclass(frozen=True)
class _Watch:
    """What the threats of a plan that differ only in what a study varies have in common."""

    name: str
    options: dict[str, Any]
    cuts: list[str]
    attacks: list[str] | None


def depth(plan: Plan) -> Plan:
    """Watch every cut point of the target: which cut is safe to ship?

    The target is loaded to find them. Where it must be trained first, the cache keeps it.

    Raises:
        PlanError, DataError, LoadError: the plan cannot be run as it is written.
    """
    setting = prepare(plan)
    return at_cuts(plan, list(cut_points(setting.target.model, setting.roles.victims.shape)))


def at_cuts(plan: Plan, cuts: Sequence[str]) -> Plan:
    """Return the plan with every threat of it at these cuts."""
    threats = [
        _threat(one.name, {"cut": list(cuts), **one.options}, one.attacks)
        for one in _watches(plan, ("cut",))
    ]
    return _named(plan, "depth", threats=threats)


def knowledge(plan: Plan) -> Plan:
    """Put every adversary of He et al. (2019) at the plan's cuts: what must one know?

    White-box, black-box by what the adversary trains on, query-free by that and by what is known
    of the edge's structure; each with the attack for it, as the plan sets it. Other attacks of
    the plan are left out. Who owns the training set is asked only where the plan names it.
    """
    pictures = ["training set"] if plan.data.private is not None else []
    pictures.append("same distribution")
    adversaries: list[dict[str, Any]] = [
        {"knows": "weights"},
        {"knows": "queries", "pictures": [*pictures, "noise"]},
        {"knows": "cloud", "pictures": pictures, "structure": ["known", "different"]},
    ]
    attacks, called = [], {}
    for knows, name in ATTACKS.items():
        given = [one for one in plan.attacks if one.name == name] or [AttackPlan(name=name)]
        attacks += given
        called[knows] = list(dict.fromkeys(one.label or one.name for one in given))
    threats = [
        _threat(watch.name, {"cut": watch.cuts, **own, **watch.options}, called[own["knows"]])
        for watch in _watches(plan, ("cut", "knows", "pictures", "structure"))
        for own in adversaries
    ]
    return _named(plan, "knowledge", threats=threats, attacks=attacks)


def repeats(plan: Plan) -> Plan:
    """Send each picture several times with fresh noise: how fast does averaging undo it?

    Where the plan has no defense, Gaussian noise as strong as the message is added.
    """
    threats = [
        _threat(one.name, {"cut": one.cuts, **one.options, "sends": list(SENDS)}, one.attacks)
        for one in _watches(plan, ("cut", "sends"))
    ]
    defense = plan.defense or DefensePlan(name="gaussian_noise")
    return _named(plan, "repeats", threats=threats, defense=defense)


#: The question -> what turns a plan into the one that answers it.
STUDIES: Mapping[str, Callable[[Plan], Plan]] = {
    "depth": depth,
    "knowledge": knowledge,
    "repeats": repeats,
}


def _watches(plan: Plan, varied: Sequence[str]) -> list[_Watch]:
    """Merge the plan's threats that agree in everything but the options that are varied."""
    if others := [one.name for one in plan.threats if one.name != "split_inference"]:
        raise PlanError(f"studies vary split_inference, and the plan has {others[0]}; take it out")
    found: dict[str, _Watch] = {}
    for entry in plan.threats:
        for threat in catalog.expand("threat", entry.name, entry.options):
            options = dataclasses.asdict(threat)
            cut = str(options["cut"])
            rest = {key: value for key, value in options.items() if key not in varied}
            key = json.dumps([entry.name, rest])
            old = found.get(key)
            if old is None:
                found[key] = _Watch(entry.name, rest, [cut], entry.attacks)
                continue
            found[key] = dataclasses.replace(
                old,
                cuts=list(dict.fromkeys([*old.cuts, cut])),
                attacks=_either(old.attacks, entry.attacks),
            )
    return list(found.values())


def _either(one: list[str] | None, other: list[str] | None) -> list[str] | None:
    """Return the attacks that either list calls; None calls all."""
    return None if one is None or other is None else list(dict.fromkeys([*one, *other]))


def _threat(name: str, options: dict[str, Any], attacks: list[str] | None) -> ThreatPlan:
    return ThreatPlan.model_validate({"name": name, "attacks": attacks, **options})


def _named(plan: Plan, question: str, **changes: Any) -> Plan:
    """Return the changed plan under a name of its own, so that its run has its own folder."""
    return plan.model_copy(update={"name": f"{plan.name}-{question}", **changes})
