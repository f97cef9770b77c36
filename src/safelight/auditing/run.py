"""The loop: every threat x attack x seed is a cell, scored beside its nulls and controls."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from safelight import catalog
from safelight.attacks.attack import InversionAttack
from safelight.auditing import setting as describe
from safelight.auditing.not_tried import not_tried
from safelight.auditing.pair import mismatch
from safelight.auditing.setting import Setting
from safelight.auditing.sheets import COLUMNS, sheet
from safelight.bounds.deterministic import certificate
from safelight.controls.nulls import NULLS
from safelight.controls.planted import PlantedLeak
from safelight.data.images import ImageSet
from safelight.errors import RecordError
from safelight.metrics.identity import rank
from safelight.metrics.image import mse, psnr, ssim
from safelight.plan.plan import to_toml
from safelight.record.record import Baseline, Cell, Control, Finding, Record, Verdict
from safelight.record.store import Run
from safelight.record.verdict import (
    PLANTED,
    judge,
    measure,
    negative_control,
    overall,
    positive_control,
    skip,
)
from safelight.stats.seeds import Seeds
from safelight.threats.observation import SplitObservation
from safelight.threats.split_inference import SplitInference

#: Victims of the positive control: 50 named out of 50 put the lower limit at 0.93.
CONTROL_VICTIMS = 50

#: Tells a watcher (what is being done, how many cells are done, how many there are).
Progress = Callable[[str, int, int], None]

_OPEN = Verdict(outcome="INCONCLUSIVE", severity="none", confidence="low", reason="not run yet")


@dataclass(frozen=True)
class _Pair:
    """A threat and an attack, with the finding that their cells will make."""

    threat: SplitInference
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
    finished: dict[str, Cell] = {}
    spent = 0.0
    if resume:
        old = run.load()
        finished = {cell.id: cell for cell in old.cells if cell.status == "ok"}
        spent = old.seconds
    else:
        run.create()
        run.write("plan.toml", to_toml(setting.plan).encode())
    pairs = _pairs(setting)
    total = sum(len(setting.plan.seeds) for pair in pairs if not pair.finding.skipped)
    progress("nulls", 0, total)
    record = _opening(setting, run, pairs)
    run.save(record)
    bench = _Bench(
        setting=setting,
        run=run,
        identity=_identity(setting, record),
        truth=setting.roles.victims.to(setting.device),
        bars={name: torch.tensor(_scores(record, name)) for name in ("best", "nearest public")},
        finished=finished,
    )
    cells: list[Cell] = []
    for pair in pairs:
        for cell in _cells(bench, pair, lambda doing: progress(doing, len(cells), total)):
            cells.append(cell)
            seconds = round(spent + time.monotonic() - began, 1)
            record = record.model_copy(update={"cells": list(cells), "seconds": seconds})
            run.save(record)
    record = _judged(record, pairs)
    run.save(record)
    progress("done", total, total)
    return record


def _cells(bench: _Bench, pair: _Pair, tell: Callable[[str], None]) -> Iterator[Cell]:
    """Run the cells of one finding, one per seed, or take them from an earlier run."""
    if pair.finding.skipped:
        return
    setting, seeds = bench.setting, bench.setting.plan.seeds
    seen, _ = pair.threat.meet(setting.target, setting.roles, setting.device, setting.cache)
    ids = {
        seed: _sha(bench.identity | {"finding": pair.finding.id, "seed": seed}) for seed in seeds
    }
    # The positive control runs once a finding; a cell that is reused may have brought it.
    reused = [bench.finished[one] for one in ids.values() if one in bench.finished]
    controlled = any(one.name == PLANTED for cell in reused for one in cell.controls)
    for seed in seeds:
        tell(f"{pair.finding.where} / {pair.finding.attack}, seed {seed}")
        if ids[seed] in bench.finished and (controlled or seed != seeds[0]):
            yield bench.finished[ids[seed]]
            continue
        cell = Cell(id=ids[seed], finding=pair.finding.id, seed=seed, status="ok")
        cell = _cell(bench, pair, seen, cell, not controlled)
        controlled = controlled or cell.status == "ok"
        yield cell


def _pairs(setting: Setting) -> list[_Pair]:
    pairs = []
    for threat in setting.threats:
        for attack in setting.attacks:
            options = asdict(threat), asdict(attack)
            names = catalog.name_of(threat), catalog.name_of(attack)
            finding = Finding(
                id=_sha({"threat": [names[0], options[0]], "attack": [names[1], options[1]]}),
                threat=names[0],
                threat_options=options[0],
                attack=names[1],
                attack_options=options[1],
                where=threat.cut,
                access=attack.access,
                skipped=mismatch(threat, attack),
                verdict=_OPEN,
            )
            pairs.append(_Pair(threat, attack, skip(finding) if finding.skipped else finding))
    return pairs


def _opening(setting: Setting, run: Run, pairs: list[_Pair]) -> Record:
    """Return the record before its first cell: facts and nulls."""
    victims = setting.roles.victims.to(setting.device)
    components = [describe.describe_component("threat", one) for one in setting.threats]
    components += [describe.describe_component("attack", one) for one in setting.attacks]
    return Record(
        status="running",
        name=setting.plan.name,
        verdict=None,
        target=describe.describe_target(setting),
        roles=describe.describe_roles(setting.roles),
        classes=list(victims.classes),
        victim_labels=victims.labels.tolist(),
        victims_shape=list(victims.shape),
        victims_artifact=run.keep(sheet(victims.images), ".png"),
        sheet_columns=COLUMNS,
        baselines=_baselines(setting, run, victims),
        findings=[pair.finding for pair in pairs],
        cells=[],
        components=components,
        not_tried=not_tried(setting),
        plan=setting.plan.model_dump(mode="json", exclude_none=True),
        provenance=describe.describe_provenance(setting),
        seconds=0.0,
    )


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
                scores=_compare(claim, victims, setting.suspects),
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


def _compare(claim: Tensor, truth: ImageSet, suspects: Tensor) -> dict[str, list[float]]:
    """Score one picture per victim; six digits are more than the intervals resolve."""
    ranks = rank(claim, truth.images, truth.labels, suspects)
    scores = {
        "mse": mse(claim, truth.images),
        "psnr": psnr(claim, truth.images),
        "ssim": ssim(claim, truth.images),
        "rank": ranks.float(),
        "named": (ranks == 1).float(),
    }
    return {name: _rounded(values) for name, values in scores.items()}


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def _cell(bench: _Bench, pair: _Pair, seen: SplitObservation, cell: Cell, control: bool) -> Cell:
    """Run one cell; whatever the attack raises is recorded, never swallowed into a clean result."""
    began = time.monotonic()
    setting, truth = bench.setting, bench.truth
    try:
        view = seen.restricted(pair.attack.needs)
        claim = _checked(pair.attack.run(view, Seeds(cell.seed)).images, truth)
        scores = _compare(claim, truth, setting.suspects)
        own = torch.tensor(scores["ssim"])
        scores["gain"] = _rounded(own - bench.bars["best"])
        scores["gain over nearest"] = _rounded(own - bench.bars["nearest public"])
        controls = [_planted(setting, pair, seen, cell.seed)] if control else []
        controls.append(_swapped(claim, truth, setting.suspects))
        sends = [seen.restricted(pair.threat.offers).resend() for _ in range(2)]
        done = {
            "scores": scores,
            "controls": controls,
            "bound": certificate(*sends),
            "queries": view.queries,
            "artifact": bench.run.keep(sheet(claim), ".png"),
        }
    except RecordError:  # the folder cannot be written: the run ends, the cell is done again
        raise
    except Exception as error:  # an attack may raise anything; none of it may pass as clean
        reason = f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
        done = {"status": "error", "reason": reason}
    return cell.model_copy(update=done | {"seconds": round(time.monotonic() - began, 2)})


def _checked(claim: Tensor, truth: ImageSet) -> Tensor:
    """Return a claim that is one picture per victim; anything else is an error of the attack."""
    if claim.shape != truth.images.shape:
        raise ValueError(f"the attack claimed {list(claim.shape)}, not {list(truth.images.shape)}")
    if not bool(((claim >= 0) & (claim <= 1)).all()):
        raise ValueError("the attack claimed pixels that are no numbers in [0, 1]")
    return claim


def _planted(setting: Setting, pair: _Pair, seen: SplitObservation, seed: int) -> Control:
    """Run the same attack, with the same options, on a message that holds the picture."""
    some = torch.arange(min(CONTROL_VICTIMS, len(setting.roles.victims)))
    roles = replace(setting.roles, victims=setting.roles.victims.rows(some))
    edge = PlantedLeak(seen.message_shape, seen.image_shape[0])
    planted, secret = pair.threat.expose(edge, roles, setting.device, setting.cache)
    claim = pair.attack.run(planted.restricted(pair.attack.needs), Seeds(seed)).images
    claim = _checked(claim, secret.victims)
    ranks = rank(claim, secret.victims.images, secret.victims.labels, setting.suspects)
    return positive_control((ranks == 1).float().tolist())


def _swapped(claim: Tensor, truth: ImageSet, suspects: Tensor) -> Control:
    """Hand every claim to the next victim of the same class and score again."""
    order = torch.argsort(truth.labels, stable=True)
    labels = truth.labels[order]
    start = torch.searchsorted(labels, labels)
    size = torch.searchsorted(labels, labels, right=True) - start
    place = torch.arange(len(order), device=order.device)
    other = order[start + (place - start + 1) % size]
    alone = size == 1
    ranks = rank(claim[other], truth.images[order], labels, suspects)
    return negative_control((ranks[~alone] == 1).float().tolist())


def _judged(record: Record, pairs: list[_Pair]) -> Record:
    """Return the record complete: every finding pooled and judged, and the whole."""
    null = best_null(record)
    tests = sum(not pair.finding.skipped for pair in pairs)
    nulls = {one.name: measure("ssim", [one.scores["ssim"]]) for one in record.baselines}
    findings = []
    for pair in pairs:
        finding = pair.finding
        if not finding.skipped:
            own = [cell for cell in record.cells if cell.finding == finding.id]
            finding = finding.model_copy(update={"nulls": nulls, "best_null": null.name})
            finding = judge(finding, own, tests)
        findings.append(finding)
    verdict = overall(findings)
    return record.model_copy(
        update={"status": "complete", "findings": findings, "verdict": verdict}
    )


def _identity(setting: Setting, record: Record) -> dict[str, Any]:
    """Return what a cell depends on besides its finding and seed: target and pictures."""
    with torch.no_grad():
        probe = setting.target.model(setting.roles.public.images[:8].to(setting.device))
    return {
        "weights": record.target.weights_sha256,
        "target": setting.plan.target.model_dump(mode="json"),
        "deed": [f"{value:.6g}" for value in probe.double().flatten().tolist()],
        "roles": [role.sha256 for role in record.roles],
    }


def _sha(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
