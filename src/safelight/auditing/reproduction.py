"""Build a paper's plans from its description, and set what was measured beside its figures."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal

from safelight import catalog
from safelight.errors import PlanError
from safelight.plan.plan import Plan, parse_plan
from safelight.record.record import Finding, Record
from safelight.record.reproduction import Table, tabulate

#: The papers that can be reproduced: one description a file.
PAPERS = resources.files("safelight") / "reproductions"

Scale = Literal["quick", "full"]


def papers() -> list[str]:
    """Return the names of the papers."""
    return sorted(one.name.removesuffix(".toml") for one in PAPERS.iterdir())


def load_paper(name: str) -> dict[str, Any]:
    """Return a paper's description.

    Raises:
        PlanError: there is none of that name.
    """
    if name not in papers():
        raise PlanError(catalog.unknown("paper", name, papers()))
    return tomllib.loads((PAPERS / f"{name}.toml").read_text())


def plans(paper: Mapping[str, Any], scale: Scale) -> dict[str, Plan]:
    """Return the plan of every table of a scale: each adversary at each cut, its own attack."""
    tables = paper["tables"].items()
    return {name: _plan(paper, name, table, scale) for name, table in tables if scale in table}


def table(paper: Mapping[str, Any], name: str, record: Record) -> Table:
    """Set the record of one table's plan beside the published figures."""
    who = {one.id: _adversary(paper, one) for one in record.findings}
    published = paper["tables"][name].get("published", name)
    return tabulate(name, record, who, paper["published"][published])


def _plan(paper: Mapping[str, Any], name: str, table: Mapping[str, Any], scale: Scale) -> Plan:
    own = table[scale]
    threats, attacks = [], []
    for cut in own["cuts"]:
        for one in paper["adversaries"]:
            if one["name"] not in own.get("adversaries", [one["name"]]):
                continue
            attack = {"name": _attack(own, cut, one), **_options(own, cut, one)}
            if attack not in attacks:
                attacks.append(attack)
            label = f"attack {attacks.index(attack) + 1}"
            threat = {"name": "split_inference", "cut": cut, **one["threat"]}
            threats.append({**threat, "attacks": [label]})
    content = {
        "name": f"{name}-{scale}",
        "seeds": own["seeds"],
        "data": {**table["plan"]["data"], "victims": {"split": own["victims"]}},
        "target": table["plan"]["target"],
        "threats": threats,
        "attacks": [{**one, "label": f"attack {number}"} for number, one in enumerate(attacks, 1)],
    }
    return parse_plan(content, f"the reproduction of {name}")


def _options(own: Mapping[str, Any], cut: str, adversary: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attack's options: of the scale, over them of the cut, over them the adversary's."""
    name = _attack(own, cut, adversary)
    kind, here = name.rpartition("/")[2], own.get("at", {}).get(cut, {})
    options = {**own.get(kind, {}), **here.get(kind, {})}
    if name != adversary["attack"]:
        return options
    return {**options, **own.get(adversary["name"], {}), **adversary.get("options", {})}


def _attack(own: Mapping[str, Any], cut: str, adversary: Mapping[str, Any]) -> str:
    """Return the adversary's attack: its own, or what does better at this cut."""
    better = own.get("at", {}).get(cut, {}).get("better", {})
    return str(better.get(adversary["attack"], adversary["attack"]))


def _adversary(paper: Mapping[str, Any], finding: Finding) -> tuple[str, str]:
    """Return the name and group of the adversary that a finding is about."""
    better = [
        (its, own)
        for table in paper["tables"].values()
        for scale in ("quick", "full")
        for here in table.get(scale, {}).get("at", {}).values()
        for own, its in here.get("better", {}).items()
    ]
    for one in paper["adversaries"]:
        if (
            (finding.attack == one["attack"] or (finding.attack, one["attack"]) in better)
            and one["threat"].items() <= finding.threat_options.items()
            and one.get("options", {}).items() <= finding.attack_options.items()
        ):
            return one["name"], one["group"]
    raise PlanError(f"{finding.attack} at {finding.where} is no adversary of this paper")
