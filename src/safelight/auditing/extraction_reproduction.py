"""Build the plans of the network inversion papers, and test what they claim on our records."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.auditing.reproduction import Scale
from safelight.metrics import membership
from safelight.plan.plan import Plan, parse_plan
from safelight.record.extraction import (
    ClaimRow,
    ExtractionCell,
    ExtractionFinding,
    ExtractionRecord,
    TargetRow,
)
from safelight.record.verdict import LEVEL

Array = NDArray[np.float64]

#: Draws of the paired bootstrap.
RESAMPLES = 2000

#: In place of a training size: all of the training file but ``HELD_OUT`` pictures, and the recipe
#: that an architecture has for so many.
ALL, HELD_OUT = "all", 1000

#: The source of each data set's other pictures, and what its models expect.
_SHAPES: dict[str, dict[str, Any]] = {
    "mnist": {},
    "fashion_mnist": {},
    "cifar10": {"image_shape": [3, 32, 32]},
    "svhn": {"image_shape": [3, 32, 32]},
}

#: Sides that the transformer's patches tile.
_PATCHES = {"cifar10": 8, "svhn": 8}


def plans(paper: Mapping[str, Any], scale: Scale) -> dict[str, Plan]:
    """Return one plan for each data set, training size and architecture, by its name."""
    own = paper[scale]
    return {
        f"{data}-{size}-{architecture}": _plan(paper, own, data, size, architecture)
        for data in own["data"]
        for size in own["sizes"]
        for architecture in paper["architectures"]
    }


def rows(paper: Mapping[str, Any], name: str, record: ExtractionRecord) -> list[TargetRow]:
    """Return the rows of one plan's record: each attack on one target."""
    setting, _, architecture = name.rpartition("-")
    return [
        TargetRow(
            setting=setting,
            architecture=architecture,
            attack=_attack(paper, finding),
            finding=finding,
            accuracy=record.target.accuracy,
        )
        for finding in record.findings
    ]


def claims(paper: Mapping[str, Any], records: Mapping[str, ExtractionRecord]) -> list[ClaimRow]:
    """Test every claim on every setting whose two sides were run.

    The difference of two member AUCs is over the same pictures, members and others: a bootstrap
    draws pictures, and both AUCs from the same draw.

    Args:
        paper: the description.
        records: of the plans, by name; those that are missing are left out.
    """
    found = []
    for setting in dict.fromkeys(name.rpartition("-")[0] for name in records):
        for claim in paper["claims"]:
            sides = [_scores(paper, records, setting, claim[side]) for side in ("more", "less")]
            if sides[0] is None or sides[1] is None:
                continue
            if any(one.shape != other.shape for one, other in zip(*sides, strict=True)):
                continue
            value, low, high = paired_difference(sides[0], sides[1])
            found.append(
                ClaimRow(setting=setting, said=claim["said"], difference=value, low=low, high=high)
            )
    return found


def paired_difference(
    more: tuple[Array, Array], less: tuple[Array, Array], seed: int = 0
) -> tuple[float, float, float]:
    """Return AUC(more) - AUC(less), with a 95% interval over pictures.

    Args:
        more: likeness of members [n] and of others [m] to the nearest candidate of one attack.
        less: the same of the other attack, on the same pictures in the same order.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    n, m = len(more[0]), len(more[1])
    drawn = []
    for _ in range(RESAMPLES):
        rows, columns = rng.integers(n, size=n), rng.integers(m, size=m)
        drawn.append(_auc(more[0][rows], more[1][columns]) - _auc(less[0][rows], less[1][columns]))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return _auc(*more) - _auc(*less), float(low), float(high)


def _auc(members: Array, others: Array) -> float:
    return membership.auc(members, others).value


def _plan(
    paper: Mapping[str, Any],
    own: Mapping[str, Any],
    data: str,
    size: int | str,
    architecture: str,
) -> Plan:
    described = paper["architectures"][architecture]
    counts = ({}, {"count": HELD_OUT}) if size == ALL else ({"count": size}, {"count": size})
    recipe = described["fit at all" if size == ALL else "fit"]
    options = dict(_SHAPES[data])
    if described["model"] == "vit" and data in _PATCHES:
        options["patch"] = _PATCHES[data]
    content = {
        "name": f"{data}-{size}-{architecture}",
        "seeds": own["seeds"],
        "data": {
            "source": data,
            "private": {"split": "train", **counts[0]},
            "holdout": {"split": "train", **counts[1]},
            "public": {"split": "test", "count": 3000},
        },
        "target": {"model": described["model"], "options": options, "fit": recipe},
        "threats": [{"name": "released_model"}],
        "attacks": [
            {"label": label, **attack, **own["options"].get(label, {})}
            for label, attack in paper["attacks"].items()
            if label in own.get("attacks", [label])
        ],
    }
    return parse_plan(content, f"the reproduction of {architecture}, {data}, {size}")


def _attack(paper: Mapping[str, Any], finding: ExtractionFinding) -> str:
    """Name the attack of a finding: of those that fit, the one described most closely."""
    fitting = [
        (len(one), label)
        for label, one in paper["attacks"].items()
        if one["name"] == finding.attack
        and all(finding.attack_options[key] == one[key] for key in one if key != "name")
    ]
    return str(max(fitting)[1])


def _scores(
    paper: Mapping[str, Any],
    records: Mapping[str, ExtractionRecord],
    setting: str,
    side: Mapping[str, str],
) -> tuple[Array, Array] | None:
    """Return likeness of members and of others, the mean over seeds; None where it was not run."""
    record = records.get(f"{setting}-{side['architecture']}")
    if record is None:
        return None
    own = [one.id for one in record.findings if _attack(paper, one) == side["attack"]]
    cells = [one for one in record.cells if one.finding in own and one.status == "ok"]
    if not cells:
        return None
    return _mean(cells, "members"), _mean(cells, "others")


def _mean(cells: list[ExtractionCell], side: str) -> Array:
    values = [getattr(cell, side).likeness for cell in cells]
    return np.asarray(np.mean(values, axis=0), dtype=np.float64)
