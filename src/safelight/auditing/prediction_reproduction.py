"""Build the plans of a paper on prediction APIs, and set what was measured beside its figures."""

from collections.abc import Mapping
from typing import Any, Literal

from safelight import catalog
from safelight.errors import PlanError
from safelight.plan.plan import Plan, parse_plan
from safelight.record.prediction_reproduction import Row, row
from safelight.record.record import Finding, Record

Scale = Literal["quick", "full"]


def plans(paper: Mapping[str, Any], scale: Scale) -> dict[str, Plan]:
    """Return a plan for every defense and every pair of target and shadow.

    A pair is a seed: of the target's training, and of the attacks with their shadows.
    """
    own = paper["scales"][scale]
    return {
        f"{defense}, pair {pair}": _plan(paper, own, defense, pair)
        for defense in own["defenses"]
        for pair in own["pairs"]
    }


def rows(paper: Mapping[str, Any], records: Mapping[str, Record]) -> list[Row]:
    """Return one row for each defense and adversary, over all pairs that were run.

    Args:
        paper: its description.
        records: by the names of the plans, finished or not.
    """
    made = []
    for defense in dict.fromkeys(name.rpartition(", pair ")[0] for name in records):
        own = [one for name, one in records.items() if name.rpartition(", pair ")[0] == defense]
        for described in paper["rows"]:
            if described.get("only", defense) != defense:
                continue
            published = paper["published"].get(defense, {}).get(described["name"])
            found = [(record, _finding(record, described)) for record in own]
            cells = [(record, one) for record, one in found if one is not None]
            made.append(row(described["name"], defense, published, cells))
    return made


def _plan(paper: Mapping[str, Any], own: Mapping[str, Any], defense: str, pair: int) -> Plan:
    threats: list[dict[str, Any]] = []
    attacks: list[dict[str, Any]] = []
    change = dict(paper["defenses"][defense]) if defense != "none" else {}
    returns = change.pop("returns", "logits")
    for one in _tried(paper, own, defense):
        label = f"attack {len(attacks) + 1}"
        attacks.append({"name": one["attack"], "label": label, **_options(own, one)})
        knows = one.get("knows", "nothing")
        threat = {"name": "prediction_api", "returns": returns, "knows": knows}
        threats.append({**threat, "attacks": [label]})
    target = paper["plan"]["target"]
    content = {
        "name": f"{defense}, pair {pair}".replace(",", ""),
        "seeds": [pair],
        "data": {**paper["plan"]["data"], **own.get("data", {}), "victims": own["victims"]},
        "target": {
            **target,
            "options": {**target.get("options", {}), **own.get("options", {})},
            "fit": {**target["fit"], "seed": pair, **own.get("fit", {})},
        },
        "threats": _merged(threats),
        "attacks": attacks,
    }
    if change:
        content["defense"] = change
    return parse_plan(content, f"the reproduction of {defense}")


def _merged(threats: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each threat once, with all its attacks."""
    merged: list[dict[str, Any]] = []
    for threat in threats:
        same = [one for one in merged if {**one, "attacks": 0} == {**threat, "attacks": 0}]
        if same:
            same[0]["attacks"] = [*same[0]["attacks"], *threat["attacks"]]
        else:
            merged.append(dict(threat))
    return merged


def _tried(
    paper: Mapping[str, Any], own: Mapping[str, Any], defense: str
) -> list[Mapping[str, Any]]:
    """Return the rows that a scale runs under a defense: all, or those that it lists.

    ``defended_rows``, where a scale has them, stand in for ``rows`` under a defense.
    """
    names = [one["name"] for one in paper["rows"]]
    wanted = own.get("rows", names)
    if defense != "none":
        wanted = own.get("defended_rows", wanted)
    for name in wanted:
        if name not in names:
            raise PlanError(catalog.unknown("row", name, names))
    return [
        one
        for one in paper["rows"]
        if one["name"] in wanted and one.get("only", defense) == defense
    ]


def _options(own: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attack's options: of the scale, and over them the row's."""
    kind = described["attack"].rpartition("/")[2]
    return {**own.get("attacks", {}).get(kind, {}), **described.get("options", {})}


def _finding(record: Record, described: Mapping[str, Any]) -> Finding | None:
    """Return the finding of a record that a row describes, if it was run."""
    wanted, knows = described.get("options", {}), described.get("knows", "nothing")
    if "align" not in wanted and described["attack"] == "inversion/inverse_combination":
        wanted = {**wanted, "align": True}
    for one in record.findings:
        if (
            one.attack == described["attack"]
            and one.threat_options.get("knows") == knows
            and wanted.items() <= one.attack_options.items()
        ):
            return one
    return None
