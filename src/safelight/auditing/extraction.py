"""Audit released weights: every threat x attack x seed, scored on members beside other pictures."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from safelight import catalog
from safelight.attacks.extraction.attack import ExtractionAttack
from safelight.auditing import setting as describe
from safelight.auditing.extraction_findings import describe_released, judged
from safelight.auditing.extraction_scoring import (
    by_chance,
    checked,
    compared,
    likeness_of,
    score,
    sides,
    unrelated,
)
from safelight.auditing.extraction_tuning import SearchPlan, check, taken_from, tune
from safelight.auditing.sheets import COLUMNS, sheet
from safelight.auditing.target import obtain
from safelight.cache import Cache, source_of
from safelight.controls.planted_training import Planted, fewest_public, planted
from safelight.data.images import ImageSet
from safelight.data.roles import deal
from safelight.errors import DataError, PlanError, RecordError
from safelight.metrics import matching
from safelight.plan.plan import Plan, TargetPlan, to_toml
from safelight.record.extraction import (
    SCORED,
    SHUFFLES,
    ExtractionCell,
    ExtractionFinding,
    ExtractionRecord,
    Searched,
    inconclusive,
    load_extraction,
    overall,
    planted_control,
)
from safelight.record.record import Control, Role
from safelight.record.store import Run
from safelight.stats.seeds import Seeds
from safelight.targets.target import Target
from safelight.threats.released_model import ReleasedModel, TrainingSecret

#: Tells a watcher (what is being done, how many cells are done, how many there are).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ReleaseSetting:
    """A resolved plan: the components built, the pictures dealt, the target loaded.

    ``training`` is the whole training set, ``secret`` what of it is scored. ``searches`` holds for
    each pair how options of its attack are to be chosen, if they are.
    """

    plan: Plan
    device: torch.device
    pairs: list[tuple[ReleasedModel, ExtractionAttack]]
    training: ImageSet
    secret: TrainingSecret
    public: ImageSet
    target: Target
    initial: Mapping[str, Tensor] = field(default_factory=dict)
    searches: list[SearchPlan | None] = field(default_factory=list)


def prepare(plan: Plan) -> ReleaseSetting:
    """Resolve a plan whose threats are ``released_model``.

    The training set is ``data.private``; as many of ``data.holdout`` are scored beside it. Where
    fewer are held out, as many of the training pictures are scored, drawn at random.

    Raises:
        PlanError, DataError, LoadError: it cannot be run as it is written.
    """
    device = describe.device_of(plan.device)
    paired = _paired(plan)
    pairs, searches = [one[:2] for one in paired], [one[2] for one in paired]
    roles = deal(plan.data)
    if roles.private is None:
        raise PlanError("to look for a training set, name it: set data.private")
    members, others = sides(roles.private, roles.holdout)
    if len(roles.public) < fewest_public():
        raise DataError(
            f"{len(roles.public)} public pictures are too few to plant a training set among; set "
            f"data.public.count to {fewest_public()} or more"
        )
    secret = TrainingSecret(members.to(device), others.to(device), len(roles.private))
    target, _ = obtain(plan, roles, device, Cache())
    describe.watches_no_message(plan, target)
    initial = _initial(plan.target) if plan.target.weights is None else {}
    public = roles.public.to(device)
    return ReleaseSetting(
        plan, device, pairs, roles.private, secret, public, target, initial, searches
    )


def audit(
    setting: ReleaseSetting, run: Run, progress: Progress, resume: bool = False
) -> ExtractionRecord:
    """Run every cell, judge, and keep the record whole on disk after each.

    Args:
        setting: from ``prepare``.
        run: the folder; made here, or continued when ``resume`` is set.
        progress: told before each cell.
        resume: take finished cells from the folder's record where they are the same work.

    Raises:
        RecordError: the folder cannot be written, or holds a run and ``resume`` is not set.
    """
    began, spent = time.monotonic(), 0.0
    finished: dict[str, ExtractionCell] = {}
    if resume:
        old = load_extraction(run.folder)
        finished = {one.id: one for one in old.cells if one.status == "ok"}
        spent = old.seconds
    else:
        run.create()
        run.write("plan.toml", to_toml(setting.plan).encode())
    setting, findings = _opened(setting, run, progress)
    record = _opening(setting, run, findings)
    wanted = sum(len(setting.plan.seeds) for one in findings if not one.skipped)
    cells: list[ExtractionCell] = []
    for seed in setting.plan.seeds:  # the whole table once, then repetitions of it
        for (threat, attack), finding in zip(setting.pairs, findings, strict=True):
            if finding.skipped:
                continue
            progress(f"{finding.attack}, seed {seed}", len(cells), wanted)
            own = _cell_id(record, finding, attack, seed)
            first = seed == setting.plan.seeds[0]
            cell = finished.get(own) or _cell(setting, run, threat, attack, own, seed, first)
            cells.append(cell.model_copy(update={"finding": finding.id}))
            seconds = round(spent + time.monotonic() - began, 1)
            record = record.model_copy(update={"cells": cells, "seconds": seconds})
            save(run, record)
    whole = len(setting.training)
    pooled = [one if one.skipped else judged(one, cells, whole) for one in findings]
    record = record.model_copy(
        update={"status": "complete", "findings": pooled, "verdict": overall(pooled)}
    )
    save(run, record)
    progress("done", wanted, wanted)
    return record


def save(run: Run, record: ExtractionRecord) -> None:
    """Replace the record, whole."""
    run.write("record.json", record.model_dump_json(indent=1).encode())


def _paired(plan: Plan) -> list[tuple[ReleasedModel, ExtractionAttack, SearchPlan | None]]:
    built = []
    for one in plan.attacks:
        options, search = taken_from(one.options)
        for attack in catalog.expand("attack", one.name, options):
            if not isinstance(attack, ExtractionAttack):
                raise PlanError(f"{one.name} finds no training pictures; remove it from the plan")
            if search is not None:
                check(attack, search.ranges)
            built.append((one.label or one.name, attack, search))
    pairs = []
    known = list(dict.fromkeys(name for name, _, _ in built))
    for wanted in plan.threats:
        tried = known if wanted.attacks is None else wanted.attacks
        for name in tried:
            if name not in known:
                raise PlanError(catalog.unknown(f"attack of threat {wanted.name}", name, known))
        for threat in catalog.expand("threat", wanted.name, wanted.options):
            if not isinstance(threat, ReleasedModel):
                raise PlanError(
                    f"{wanted.name} and released_model ask different questions; "
                    "write a plan for each"
                )
            pairs += [(threat, attack, search) for name, attack, search in built if name in tried]
    return pairs


def _initial(plan: TargetPlan) -> Mapping[str, Tensor]:
    """Return the state that training by the plan began with, where a seed of its own drew it."""
    if ":" in plan.model:
        return {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.fit.seed)
        network: nn.Module = catalog.load("classifier", plan.model)(**plan.options)
    return network.state_dict()


def _opened(
    setting: ReleaseSetting, run: Run, progress: Progress
) -> tuple[ReleaseSetting, list[ExtractionFinding]]:
    """Choose the options that the plan leaves to a search, and return the findings to be made."""
    findings, pairs = [], []
    searches = setting.searches or [None] * len(setting.pairs)
    for (threat, attack), search in zip(setting.pairs, searches, strict=True):
        skipped, searched, chosen = _unfit(setting, threat, attack), None, attack
        if search is not None and threat.pictures != "same distribution":
            raise PlanError(
                f"{catalog.name_of(attack)} is tuned on models of own pictures, and this adversary "
                "has none; leave tune out, or set the threat's pictures to same distribution"
            )
        if search is not None and not skipped:
            progress(f"options of {catalog.name_of(attack)}, on shadow models", 0, 1)
            found = tune(
                attack,
                search.ranges,
                setting.public,
                run.folder,
                trials=search.trials,
                shadows=search.shadows,
                threat=threat,
            )
            told = search.model_dump() | {"trials": found.trials}
            searched = Searched(**told, auc=found.auc, importance=found.importance)
            chosen = found.attack
        pairs.append((threat, chosen))
        findings.append(_finding(threat, chosen, skipped, searched))
    return replace(setting, pairs=pairs), findings


def _unfit(setting: ReleaseSetting, threat: ReleasedModel, attack: ExtractionAttack) -> str:
    """Say why an attack cannot be run under a threat on this model, if it cannot."""
    missing = attack.needs.missing_from(threat.offers)
    if missing:
        return f"{catalog.name_of(attack)} needs {' and '.join(missing)}"
    seen = threat.meet(
        setting.target, setting.secret, setting.public, setting.initial, setting.device
    )
    return attack.unfit(seen.restricted(attack.needs, attack.welcomes))


def _finding(
    threat: ReleasedModel, attack: ExtractionAttack, skipped: str, searched: Searched | None
) -> ExtractionFinding:
    names = catalog.name_of(threat), catalog.name_of(attack)
    options = asdict(threat), asdict(attack)
    return ExtractionFinding(
        id=_sha({"threat": [names[0], options[0]], "attack": [names[1], options[1]]}),
        threat=names[0],
        threat_options=options[0],
        attack=names[1],
        attack_options=options[1],
        access=attack.access,
        skipped=skipped,
        searched=searched,
        verdict=inconclusive(f"not run: {skipped}" if skipped else "not run yet"),
    )


def _opening(
    setting: ReleaseSetting, run: Run, findings: list[ExtractionFinding]
) -> ExtractionRecord:
    members, others = setting.secret.members, setting.secret.others
    alike = by_chance(members.images, others.images, setting.public.images.mean(0))
    threats = list(dict.fromkeys(threat for threat, _ in setting.pairs))
    attacks = list(dict.fromkeys(attack for _, attack in setting.pairs))
    components = [describe.describe_component("threat", one) for one in threats]
    components += [describe.describe_component("attack", one) for one in attacks]
    sets = [("training set", setting.training), ("held out", others), ("public", setting.public)]
    if len(members) < len(setting.training):
        sets.insert(1, (SCORED, members))
    return ExtractionRecord(
        status="running",
        name=setting.plan.name,
        verdict=None,
        target=describe_released(setting.target, setting.secret),
        roles=[
            Role(
                name=name,
                source=one.source,
                count=len(one),
                classes=one.class_counts(),
                sha256=one.sha256(),
            )
            for name, one in sets
        ],
        classes=list(members.classes),
        image_shape=list(members.shape),
        member_labels=members.labels.tolist(),
        members_artifact=run.keep(sheet(members.images), ".png"),
        others_artifact=run.keep(sheet(others.images), ".png"),
        nearest_others=alike.candidate.tolist(),
        nearest_others_likeness=[float(f"{one:.6g}") for one in alike.likeness],
        sheet_columns=COLUMNS,
        findings=findings,
        cells=[],
        components=components,
        shuffles=SHUFFLES,
        plan=setting.plan.model_dump(mode="json", exclude_none=True),
        provenance=describe.describe_provenance(setting.device),
        seconds=0.0,
    )


def _cell_id(
    record: ExtractionRecord, finding: ExtractionFinding, attack: ExtractionAttack, seed: int
) -> str:
    return _sha(
        {
            "weights": record.target.weights_sha256,
            "roles": [one.sha256 for one in record.roles],
            "versions": [metadata.version("safelight"), torch.__version__],
            "source": source_of(type(attack), score, matching.correlation),
            "finding": finding.id,
            "seed": seed,
        }
    )


def _cell(
    setting: ReleaseSetting,
    run: Run,
    threat: ReleasedModel,
    attack: ExtractionAttack,
    own: str,
    seed: int,
    control: bool,
) -> ExtractionCell:
    """Run one cell; whatever the attack raises is recorded, never swallowed into a clean result."""
    began = time.monotonic()
    target, secret, public = setting.target, setting.secret, setting.public
    center = public.images.mean(0)
    cell = ExtractionCell(id=own, finding="", seed=seed, status="ok")
    done: dict[str, Any]
    try:
        before = target.weights_sha256()
        seen = threat.meet(target, secret, public, setting.initial, setting.device)
        view = seen.restricted(attack.needs, attack.welcomes)
        claim = checked(attack.run(view, Seeds(seed)), secret.members.shape)
        if target.weights_sha256() != before:
            raise RuntimeError("the attack changed the target; every later cell is void")
        scored = score(claim, secret, center, run)
        controls = [unrelated(secret, public, len(claim.images), center, seed)]
        if control:  # once a finding, with its first seed
            controls.append(_on_planted(threat, attack, public, seed))
        done = vars(scored) | {
            "candidates": len(claim.images),
            "controls": controls,
            "provenance": claim.provenance,
        }
    except RecordError:  # the folder cannot be written: the run ends, the cell is done again
        raise
    except Exception as error:  # an attack may raise anything; none of it may pass as clean
        reason = f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
        done = {"status": "error", "reason": reason}
    return cell.model_copy(update=done | {"seconds": round(time.monotonic() - began, 2)})


def _on_planted(
    threat: ReleasedModel, attack: ExtractionAttack, public: ImageSet, seed: int
) -> Control:
    """Run the same attack, with all its options, on a model that was made to leak."""
    made: Planted = planted(public, seed)
    seen = threat.meet(made.target, made.secret, made.public, made.initial, public.images.device)
    claim = checked(
        attack.run(seen.restricted(attack.needs, attack.welcomes), Seeds(seed)),
        made.secret.members.shape,
    )
    center = made.public.images.mean(0)
    members, others = (
        likeness_of(one.images, claim.images, center).max(1)
        for one in (made.secret.members, made.secret.others)
    )
    return planted_control(*compared(members, others, 1))


def _sha(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
