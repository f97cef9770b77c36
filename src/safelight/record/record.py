"""The record of an audit: the product. Reports, gate and comparisons read nothing else."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Raised whenever a reader of an older version would misread a newer record.
SCHEMA_VERSION = 1

Outcome = Literal["LEAK", "NO EVIDENCE", "INCONCLUSIVE"]
Severity = Literal["none", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("none", "low", "medium", "high", "critical")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(_Frozen):
    """One number with what is needed to believe it.

    ``value`` is None where it could not be measured; ``low`` and ``high`` bound it with coverage
    ``level`` over ``n`` victims and ``seeds`` repetitions; ``chance`` is what no information
    scores; ``worse`` says which direction means more leakage.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    seeds: int
    chance: float | None
    worse: Literal["higher", "lower"]
    unit: str


class Control(_Frozen):
    """A check of the audit itself: an attack that must succeed, or a score that must not."""

    name: str
    question: str
    passed: bool
    detail: str


class Bound(_Frozen):
    """A limit on any attack, and whether its assumptions hold here."""

    name: str
    value: float | None
    holds: Literal["yes", "no", "unknown"]
    assumptions: list[str]
    detail: str


class Component(_Frozen):
    """A component that the run used, with every option as resolved."""

    kind: str
    name: str
    options: dict[str, Any]
    summary: str
    bibtex: str = ""


class Cell(_Frozen):
    """One target x threat x attack x seed: the unit of work, and of resuming.

    ``scores`` holds one value per victim, in the order of the record's victims.
    """

    id: str
    finding: str
    seed: int
    status: Literal["ok", "error", "skipped"]
    reason: str = ""
    scores: dict[str, list[float]] = Field(default_factory=dict)
    controls: list[Control] = Field(default_factory=list)
    bound: Bound | None = None
    queries: int = 0
    seconds: float = 0.0
    artifact: str = ""


class Verdict(_Frozen):
    """A judgment, its severity, how sure, and the reason in one sentence."""

    outcome: Outcome
    severity: Severity
    confidence: Literal["low", "medium", "high"]
    reason: str


class Finding(_Frozen):
    """The cells that differ only in their seed, pooled and judged.

    ``threat`` and ``attack`` are component names; ``where`` is the place in the model that was
    watched (the cut), ``access`` what the attack used of the model, as people call them. The id
    depends on threat, attack and their options alone, so that two records can be compared, such
    as one without and one with a ``defense``, which is what the target is protected by, in words.
    ``skipped`` says why the pair was never run: the attack needs what the threat hides.
    ``assumptions`` are what the threat takes for granted: the verdict holds if they do.
    """

    id: str
    threat: str
    threat_options: dict[str, Any]
    attack: str
    attack_options: dict[str, Any]
    where: str
    access: str
    defense: str = ""
    skipped: str = ""
    assumptions: list[str] = Field(default_factory=list)
    verdict: Verdict
    measurements: dict[str, Measurement] = Field(default_factory=dict)
    nulls: dict[str, Measurement] = Field(default_factory=dict)
    best_null: str = ""
    controls: list[Control] = Field(default_factory=list)
    bound: Bound | None = None
    queries: int = 0
    seconds: float = 0.0


class Baseline(_Frozen):
    """What anyone could claim without the model, scored on the same victims.

    ``oracle`` marks a baseline that looks at the victim: shown for scale, never the bar.
    """

    name: str
    summary: str
    oracle: bool
    scores: dict[str, list[float]]
    artifact: str


class Role(_Frozen):
    """A set of pictures in one role; ``sha256`` is over its sorted content hashes."""

    name: str
    source: str
    count: int
    classes: dict[str, int]
    sha256: str


class Deployment(_Frozen):
    """What it costs to use the target as it is watched, with its defense.

    ``right`` has a character for each picture of the victims and then of the holdout: 1 where its
    class is predicted from what was sent, else 0. ``sent_bytes`` is the mean size of a message,
    float32, deflated, and ``raw_bytes`` the same of one without defense before it is deflated;
    ``milliseconds`` is what the device takes for one picture.
    """

    where: str
    accuracy: Measurement
    right: str
    raw_bytes: int
    sent_bytes: float
    milliseconds: float


class Dependence(_Frozen):
    """Whether something that is seen beside messages depends on the picture; no attack is judged.

    ``typical``, ``low`` and ``high``, in ``unit``, are the median, least and largest over pictures,
    each the median of ``rounds`` measurements. ``by_picture`` is the concordance of rounds, from
    0 to 1 (Kendall's W), ``by_class`` the share of the variance between pictures that lies between
    their classes, each with the p-value of a permutation test.
    """

    where: str
    what: str
    unit: str
    pictures: int
    rounds: int
    typical: float
    low: float
    high: float
    by_picture: float
    by_picture_p: float
    by_class: float
    by_class_p: float


class TargetFacts(_Frozen):
    """What was audited. ``cut_points`` maps each layer that could be watched to its shape."""

    name: str
    parameters: int
    weights_sha256: str
    trained_on: str
    accuracy: Measurement | None
    cut_points: dict[str, list[int]]
    facts: dict[str, Any]


class Provenance(_Frozen):
    """Where, when and with what the record was made."""

    safelight: str
    commit: str
    python: str
    packages: dict[str, str]
    machine: str
    device: str
    started: str


class Record(_Frozen):
    """Everything one audit found. The field order is the file's order.

    ``victims_shape`` is (channels, height, width); artifacts are PNG sheets of all victims, in
    order, ``sheet_columns`` a row, addressed by the sha256 of the file.
    """

    schema_version: int = SCHEMA_VERSION
    status: Literal["running", "complete"]
    name: str
    verdict: Verdict | None
    target: TargetFacts
    roles: list[Role]
    classes: list[str]
    victim_labels: list[int]
    victims_shape: list[int]
    victims_artifact: str
    sheet_columns: int
    baselines: list[Baseline]
    deployments: list[Deployment] = Field(default_factory=list)
    dependences: list[Dependence] = Field(default_factory=list)
    findings: list[Finding]
    cells: list[Cell]
    components: list[Component]
    not_tried: list[str]
    plan: dict[str, Any]
    provenance: Provenance
    seconds: float

    def measurements_sha256(self) -> str:
        """Hash of what was measured: equal for the same plan and seeds, whatever the clock."""
        scores = {
            "baselines": {one.name: one.scores for one in self.baselines},
            "cells": {one.id: [one.status, one.scores] for one in self.cells},
            "verdicts": {one.id: one.verdict.outcome for one in self.findings},
        }
        return hashlib.sha256(json.dumps(scores, sort_keys=True).encode()).hexdigest()
