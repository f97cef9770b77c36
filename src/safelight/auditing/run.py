"""The loop: every threat x attack x seed is a cell, scored beside its nulls and controls."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from safelight import catalog
from safelight.attacks.attack import InversionAttack
from safelight.auditing import setting as describe
from safelight.auditing.certificates import certify
from safelight.auditing.deployment import deployments
from safelight.auditing.not_tried import not_tried
from safelight.auditing.pair import label, mismatch
from safelight.auditing.scoring import checked, compare, planted, rounded, swapped
from safelight.auditing.setting import Setting
from safelight.auditing.sheets import COLUMNS, sheet
from safelight.cache import source_of
from safelight.controls.nulls import NULLS
from safelight.data.images import ImageSet
from safelight.errors import RecordError
from safelight.metrics.identity import rank
from safelight.metrics.image import ssim
from safelight.plan.plan import to_toml
from safelight.record.record import (
    Baseline,
    Cell,
    Dependence,
    Finding,
    Record,
    TargetFacts,
    Verdict,
)
from safelight.record.store import Run
from safelight.record.verdict import (
    PLANTED,
    judge,
    measure,
    negative_control,
    overall,
    skip,
)
from safelight.stats.seeds import Seeds
from safelight.threats.messages import MessageThreat
from safelight.threats.observation import SplitObservation
from safelight.threats.trusted_execution import TrustedExecution

#: Tells a watcher (what is being done, how many cells are done, how many there are).
Progress = Callable[[str, int, int], None]

_ATTACKS = "safelight.attacks."

_OPEN = Verdict(outcome="INCONCLUSIVE", severity="none", confidence="low", reason="not run yet")


@dataclass(frozen=True)
class _Pair:
    """A threat and an attack, with the finding that their cells will make."""

    threat: MessageThreat
    attack: InversionAttack
    finding: Finding


@dataclass(frozen=True)
class _Bench:
    """What every cell is run with, and scored against."""

    setting: Setting
    run: Run
    identity: dict[str, Any]
    truth: ImageSet
    bars: dict[str, Tensor]
    finished: dict[str, Cell]


def audit(setting: Setting, run: Run, progress: Progress, resume: bool = False) -> Record:
    """Run every cell, judge, and keep the record whole on disk after each.

    Args:
        setting: from ``prepare``.
        run: the folder; made here, or continued when ``resume`` is set.
        progress: told before each cell.
        resume: take finished cells from the folder's record where they are the same work.

    Raises:
        RecordError: the folder cannot be written, or holds a run and ``resume`` is not set.
    """
    began = time.monotonic()
    pairs = _pairs(setting)
    target = describe.describe_target(setting)
    identity = _identity(setting, target)
    cells: dict[str, Cell] = {}
    spent = 0.0
    if resume:
        old = run.load()
        cells = _still_valid(old, pairs, setting, identity)
        spent = old.seconds
    else:
        run.create()
        run.write("plan.toml", to_toml(setting.plan).encode())
    total = sum(len(setting.plan.seeds) for pair in pairs if not pair.finding.skipped)
    progress("nulls", 0, total)
    record = _opening(setting, run, pairs, target)
    record = record.model_copy(update={"cells": list(cells.values())})
    run.save(record)
    bench = _Bench(
        setting=setting,
        run=run,
        identity=identity,
        truth=setting.roles.victims.to(setting.device),
        bars={name: torch.tensor(_scores(record, name)) for name in ("best", "nearest public")},
        finished=dict(cells),
    )
    done: list[Cell] = []
    for seed in setting.plan.seeds:  # the whole table once, then repetitions of it
        for pair in pairs:
            if pair.finding.skipped:
                continue
            progress(f"{label(pair.threat, pair.attack)}, seed {seed}", len(done), total)
            cell = _cell(bench, pair, seed)
            cells[cell.id] = cell
            done.append(cell)
            seconds = round(spent + time.monotonic() - began, 1)
            record = record.model_copy(update={"cells": list(cells.values()), "seconds": seconds})
            run.save(record)
    order = [_cell_id(identity, pair, seed) for pair in pairs for seed in setting.plan.seeds]
    record = record.model_copy(update={"cells": [cells[one] for one in order if one in cells]})
    record = _judged(record, pairs)
    run.save(record)
    progress("done", total, total)
    return record


def _still_valid(
    old: Record, pairs: list[_Pair], setting: Setting, identity: dict[str, Any]
) -> dict[str, Cell]:
    """Return the finished cells of an earlier run that are the same work, by id."""
    wanted = {_cell_id(identity, pair, seed) for pair in pairs for seed in setting.plan.seeds}
    finished = {cell.id: cell for cell in old.cells if cell.status == "ok"}
    kept = {one: cell for one, cell in finished.items() if one in wanted}
    if finished and not kept:
        raise RecordError(
            "the model, the pictures or safelight changed since this run was begun, so none of "
            "its cells can be used; begin a new run with another --out"
        )
    return kept


def _cell_id(identity: dict[str, Any], pair: _Pair, seed: int) -> str:
    code = source_of(*_kinds(pair.attack))
    return _sha(identity | {"finding": pair.finding.id, "seed": seed, "attack": code})


def _kinds(attack: InversionAttack) -> list[object]:
    """Return what an attack is made of: its module, and the modules of attacks that it imports."""
    found: dict[str, object] = {}
    todo = [sys.modules[type(attack).__module__]]
    for one in (getattr(attack, field.name) for field in fields(attack)):
        if isinstance(one, InversionAttack):
            todo.append(sys.modules[type(one).__module__])
    while todo:
        module = todo.pop()
        if module.__name__ in found:
            continue
        found[module.__name__] = module
        homes = {getattr(value, "__module__", None) for value in vars(module).values()}
        todo += [sys.modules[name] for name in homes if name and name.startswith(_ATTACKS)]
    return [found[name] for name in sorted(found)]


def _cell(bench: _Bench, pair: _Pair, seed: int) -> Cell:
    """Run one cell, or take it from an earlier run.

    The positive control runs once a finding: with its first seed, or the first that did not fail.
    """
    setting = bench.setting
    own = _cell_id(bench.identity, pair, seed)
    ids = [_cell_id(bench.identity, pair, other) for other in setting.plan.seeds]
    controlled = any(
        control.name == PLANTED
        for one in ids
        if one in bench.finished
        for control in bench.finished[one].controls
    )
    if own in bench.finished and (controlled or seed != setting.plan.seeds[0]):
        return bench.finished[own]
    seen, _ = pair.threat.meet(setting.target, setting.roles, setting.device, setting.cache)
    cell = Cell(id=own, finding=pair.finding.id, seed=seed, status="ok")
    cell = _attack(bench, pair, seen, cell, not controlled)
    if cell.status == "ok":
        bench.finished[own] = cell
    return cell


def _pairs(setting: Setting) -> list[_Pair]:
    pairs = []
    for threat, attack in setting.pairs:
        options = asdict(threat), asdict(attack)
        names = catalog.name_of(threat), catalog.name_of(attack)
        finding = Finding(
            id=_sha({"threat": [names[0], options[0]], "attack": [names[1], options[1]]}),
            threat=names[0],
            threat_options=options[0],
            attack=names[1],
            attack_options=options[1],
            where=threat.where,
            access=attack.access,
            defense=describe.name_defense(setting.plan),
            skipped=mismatch(threat, attack),
            assumptions=list(threat.assumptions),
            verdict=_OPEN,
        )
        pairs.append(_Pair(threat, attack, skip(finding) if finding.skipped else finding))
    return pairs


def _opening(setting: Setting, run: Run, pairs: list[_Pair], target: TargetFacts) -> Record:
    """Return the record before its first cell: facts and nulls."""
    victims = setting.roles.victims.to(setting.device)
    components = [describe.describe_component("threat", one) for one in setting.threats]
    if (plan := setting.plan.defense) is not None:
        defense = catalog.build("defense", plan.name, plan.options)
        components.append(describe.describe_component("defense", defense))
    components += [describe.describe_component("attack", one) for one in setting.attacks]
    return Record(
        status="running",
        name=setting.plan.name,
        verdict=None,
        target=target,
        roles=describe.describe_roles(setting.roles),
        classes=list(victims.classes),
        victim_labels=victims.labels.tolist(),
        victims_shape=list(victims.shape),
        victims_artifact=run.keep(sheet(victims.images), ".png"),
        sheet_columns=COLUMNS,
        baselines=_baselines(setting, run, victims),
        deployments=deployments(setting),
        dependences=_dependences(setting),
        findings=[pair.finding for pair in pairs],
        cells=[],
        components=components,
        not_tried=not_tried(setting),
        plan=setting.plan.model_dump(mode="json", exclude_none=True),
        provenance=describe.describe_provenance(setting.device),
        seconds=0.0,
    )


def _dependences(setting: Setting) -> list[Dependence]:
    """Test what operators of enclaves see beside messages, which no attack is given."""
    return [
        Dependence(where=threat.where, **asdict(one))
        for threat in setting.threats
        if isinstance(threat, TrustedExecution)
        for one in threat.dependences(setting.target, setting.roles, setting.device)
    ]


def _baselines(setting: Setting, run: Run, victims: ImageSet) -> list[Baseline]:
    public = setting.roles.public.to(setting.device)
    baselines = []
    for name, null in NULLS.items():
        claim = null.claim(public, victims)
        baselines.append(
            Baseline(
                name=name,
                summary=null.summary,
                oracle=null.oracle,
                scores=compare(claim, victims, setting.suspects),
                artifact=run.keep(sheet(claim), ".png"),
            )
        )
    return baselines


def best_null(record: Record) -> Baseline:
    """Return the null with the highest mean SSIM on the victims; an oracle is not one."""
    fair = [one for one in record.baselines if not one.oracle]
    return max(fair, key=lambda one: sum(one.scores["ssim"]))


def _scores(record: Record, name: str) -> list[float]:
    if name == "best":
        return best_null(record).scores["ssim"]
    return next(one.scores["ssim"] for one in record.baselines if one.name == name)


def _attack(bench: _Bench, pair: _Pair, seen: SplitObservation, cell: Cell, control: bool) -> Cell:
    """Run one cell; whatever the attack raises is recorded, never swallowed into a clean result."""
    began = time.monotonic()
    setting, truth = bench.setting, bench.truth
    try:
        view = seen.restricted(pair.attack.needs)
        claim = checked(pair.attack.run(view, Seeds(cell.seed)).images, truth)
        if setting.target.weights_sha256() != bench.identity["weights"]:
            raise RuntimeError("the attack changed the target; every later cell is void")
        scores = compare(claim, truth, setting.suspects)
        own = torch.tensor(scores["ssim"])
        scores["gain"] = rounded(own - bench.bars["best"])
        scores["gain over nearest"] = rounded(own - bench.bars["nearest public"])
        scores["named swapped"] = swapped(claim, truth, setting.suspects)
        controls = [planted(setting, pair.threat, pair.attack, seen, cell.seed)] if control else []
        controls.append(negative_control(scores["named swapped"]))
        done = {
            "scores": scores,
            "controls": controls,
            "bound": certify(setting, pair.threat, seen),
            "queries": view.queries,
            "artifact": bench.run.keep(sheet(claim), ".png"),
        }
    except RecordError:  # the folder cannot be written: the run ends, the cell is done again
        raise
    except Exception as error:  # an attack may raise anything; none of it may pass as clean
        reason = f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
        done = {"status": "error", "reason": reason}
    return cell.model_copy(update=done | {"seconds": round(time.monotonic() - began, 2)})


def _judged(record: Record, pairs: list[_Pair]) -> Record:
    """Return the record complete: every finding pooled and judged, and the whole."""
    null = best_null(record)
    tests = sum(not pair.finding.skipped for pair in pairs)
    nulls = {one.name: measure("ssim", [one.scores["ssim"]]) for one in record.baselines}
    fair = [one for one in record.baselines if not one.oracle]
    luck = max(sum(one.scores["named"]) / len(one.scores["named"]) for one in fair)
    findings = []
    for pair in pairs:
        finding = pair.finding
        if not finding.skipped:
            own = [cell for cell in record.cells if cell.finding == finding.id]
            finding = finding.model_copy(update={"nulls": nulls, "best_null": null.name})
            finding = judge(finding, own, tests, luck)
        findings.append(finding)
    verdict = overall(findings)
    return record.model_copy(
        update={"status": "complete", "findings": findings, "verdict": verdict}
    )


def _identity(setting: Setting, target: TargetFacts) -> dict[str, Any]:
    """Return what every cell depends on, whatever its attack: target, pictures, code."""
    layers = [type(one) for one in setting.target.network.modules()]
    return {
        "weights": target.weights_sha256,
        "network": repr(setting.target.model),
        "source": source_of(*layers, rank, ssim),
        "roles": [images.labeled_sha256() for _, images in setting.roles.items()],
        "release": repr(setting.target.release),
        "versions": [metadata.version("safelight"), torch.__version__, str(setting.device)],
    }


def _sha(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
