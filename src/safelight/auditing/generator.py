"""The audit of a generator: run every attack, measure, control, have it judged."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from safelight import catalog
from safelight.attacks.generator_attack import GeneratorAttack, MemoryAttack
from safelight.auditing import setting as describe
from safelight.auditing.generator_measures import Bench, blind, measured, state
from safelight.auditing.generator_setting import GeneratorSetting, mismatch, prepare
from safelight.auditing.sheets import COLUMNS, sheet
from safelight.errors import RecordError
from safelight.plan.plan import to_toml
from safelight.record.generator import (
    GeneratorFinding,
    GeneratorRecord,
    judge_generator,
    load_generator_record,
)
from safelight.record.membership_finding import overall
from safelight.record.record import Control, Role, TargetFacts, Verdict
from safelight.record.store import Run
from safelight.stats.seeds import Seeds
from safelight.threats.released_generator import ReleasedGenerator

__all__ = ["audit", "prepare"]

#: Tells a watcher (what is being done, how much of it is done, how much there is).
Progress = Callable[[str, int, int], None]

#: Pictures of the generator that the record keeps, to see what it makes.
MADE = 100


def audit(
    setting: GeneratorSetting, run: Run, progress: Progress, resume: bool = False
) -> GeneratorRecord:
    """Run every attack, judge, and keep the record whole on disk after each.

    Args:
        setting: from ``prepare``.
        run: the folder; made here, or continued when ``resume`` is set.
        progress: told before each attack.
        resume: take finished findings from the folder's record where they are the same work.

    Raises:
        RecordError: the folder cannot be written, holds a run and ``resume`` is not set, or holds
            one of another generator, of other pictures or of other attacks.
    """
    began, spent = time.monotonic(), 0.0
    finished: dict[str, GeneratorFinding] = {}
    record = None
    if resume:
        old = load_generator_record(run.folder)
        spent = old.seconds
        record = _opening(setting, run)
        finished = _still_valid(old, record)
    else:
        run.create()
        run.write("plan.toml", to_toml(setting.plan).encode())
    record = record or _opening(setting, run)
    for number, (threat, attack) in enumerate(setting.pairs):
        name = catalog.name_of(attack)
        progress(name, number, len(setting.pairs))
        finding = _opened(threat, attack)
        finding = finished.get(finding.id) or _try(setting, threat, attack, record, run)
        seconds = round(spent + time.monotonic() - began, 1)
        findings = [*record.findings, finding]
        record = record.model_copy(update={"findings": findings, "seconds": seconds})
        _save(run, record)
    done = {"status": "complete", "verdict": overall(record.findings)}
    record = record.model_copy(update=done)
    _save(run, record)
    progress("done", len(setting.pairs), len(setting.pairs))
    return record


def _still_valid(old: GeneratorRecord, new: GeneratorRecord) -> dict[str, GeneratorFinding]:
    """Return the finished findings of an earlier run that are the same work, by id."""
    finished = {one.id: one for one in old.findings if not one.failed}
    same = (old.target, old.roles, old.tests) == (new.target, new.roles, new.tests)
    if finished and not same:
        raise RecordError(
            "the generator, the pictures or the number of tests changed since this run was begun, "
            "so none of its findings can be used; begin a new run with another --out"
        )
    return finished


def number_of_tests(setting: GeneratorSetting) -> int:
    """Return how many tests may each end as LEAK: one an attack, and two where pictures are had."""
    ran = [attack for threat, attack in setting.pairs if not mismatch(threat, attack)]
    return max(sum(2 if isinstance(one, MemoryAttack) else 1 for one in ran), 1)


def _meet(setting: GeneratorSetting, threat: ReleasedGenerator) -> Bench:
    seen, secret = threat.meet(
        setting.networks, setting.members, setting.others, setting.reference, setting.twin
    )
    return Bench(seen, secret, setting.networks, setting.reference, Seeds(setting.plan.seeds[0]))


def _opened(threat: ReleasedGenerator, attack: GeneratorAttack) -> GeneratorFinding:
    return GeneratorFinding(
        threat=catalog.name_of(threat),
        threat_options=asdict(threat),
        attack=catalog.name_of(attack),
        options=asdict(attack),
        access=attack.access,
        asks="extraction" if isinstance(attack, MemoryAttack) else "membership",
        skipped=mismatch(threat, attack),
        verdict=Verdict(
            outcome="INCONCLUSIVE", severity="none", confidence="low", reason="not run yet"
        ),
    )


def _try(
    setting: GeneratorSetting,
    threat: ReleasedGenerator,
    attack: GeneratorAttack,
    record: GeneratorRecord,
    run: Run,
) -> GeneratorFinding:
    """Run one attack and its controls; what it raises is recorded, never a clean result."""
    began = time.monotonic()
    finding = _opened(threat, attack)
    if not finding.skipped:
        done: dict[str, Any]
        try:
            bench = _meet(setting, threat)
            unfit = attack.unfit(bench.seen)
            done = {"skipped": unfit} if unfit else measured(bench, attack, record.tests, run)
        except RecordError:  # the folder cannot be written: the run ends
            raise
        except Exception as error:  # an attack may raise anything; none of it may pass as clean
            reason = f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
            done = {"failed": reason}
        finding = finding.model_copy(update=done)
    verdict = judge_generator(finding, record.controls[0])
    if not setting.vouched and verdict.confidence == "high":
        verdict = verdict.model_copy(update={"confidence": "medium"})
    seconds = round(time.monotonic() - began, 1)
    return finding.model_copy(update={"verdict": verdict, "seconds": seconds})


def _opening(setting: GeneratorSetting, run: Run) -> GeneratorRecord:
    """Return the record before its first attack."""
    threats = list(dict.fromkeys(threat for threat, _ in setting.pairs))
    attacks = list(dict.fromkeys(attack for _, attack in setting.pairs))
    components = [describe.describe_component("threat", one) for one in threats]
    components += [describe.describe_component("attack", one) for one in attacks]
    bench = _meet(setting, ReleasedGenerator(access="samples"))
    members, others = setting.members, setting.others
    return GeneratorRecord(
        status="running",
        name=setting.plan.name,
        verdict=None,
        target=_target(setting),
        roles=_roles(setting),
        classes=list(members.classes),
        picture_shape=list(members.shape),
        member_labels=members.labels.tolist(),
        other_labels=others.labels.tolist(),
        members_artifact=run.keep(sheet(members.images), ".png"),
        others_artifact=run.keep(sheet(others.images), ".png"),
        made_artifact=run.keep(sheet(bench.seen.samples(MADE, bench.seeds.child("shown"))), ".png"),
        made=MADE,
        sheet_columns=COLUMNS,
        tests=number_of_tests(setting),
        controls=[blind(bench), *_caveat(setting)],
        findings=[],
        components=components,
        plan=setting.plan.model_dump(mode="json", exclude_none=True),
        provenance=describe.describe_provenance(setting.device),
        seconds=0.0,
    )


def _target(setting: GeneratorSetting) -> TargetFacts:
    networks = setting.networks
    recipe = networks.facts.get("recipe")
    kind = recipe.get("architecture", "generator") if isinstance(recipe, dict) else "generator"
    told = networks.facts.get("trained_on", setting.plan.target.weights)
    return TargetFacts(
        name=str(kind),
        parameters=sum(one.numel() for one in networks.generator.parameters()),
        weights_sha256=state(networks),
        trained_on=str(told),
        accuracy=None,
        cut_points={},
        facts=networks.facts,
    )


def _caveat(setting: GeneratorSetting) -> list[Control]:
    """Say so where nothing but the plan tells what the generator was trained on."""
    if setting.vouched:
        return []
    return [
        Control(
            name="the training set's hash",
            question="Is data.private what the generator was trained on?",
            passed=False,
            detail=f"{setting.plan.target.weights} holds no hash of its training set, so that the "
            "plan's word stands for it; no verdict is surer than medium",
        )
    ]


def _roles(setting: GeneratorSetting) -> list[Role]:
    sides = (
        ("members", setting.members),
        ("others", setting.others),
        ("reference", setting.reference),
    )
    return [
        Role(
            name=name,
            source=one.source,
            count=len(one),
            classes=one.class_counts(),
            sha256=one.sha256(),
        )
        for name, one in sides
    ]


def _save(run: Run, record: GeneratorRecord) -> None:
    run.write("record.json", record.model_dump_json(indent=1).encode())
