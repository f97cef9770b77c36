"""The audit of membership: train shadows, run every attack, measure, control, have it judged."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from safelight import catalog
from safelight.attacks.membership.attack import MembershipAttack
from safelight.auditing import setting as describe
from safelight.auditing.membership_measures import (
    Bench,
    accuracy,
    blind,
    measured,
    promised,
)
from safelight.auditing.setting import Setting
from safelight.auditing.sheets import COLUMNS, sheet
from safelight.auditing.target import obtain
from safelight.cache import Cache
from safelight.data.images import ImageSet
from safelight.data.roles import deal
from safelight.errors import DataError, PlanError, RecordError
from safelight.plan.plan import Plan, to_toml
from safelight.record.membership import FEWEST_SCORES
from safelight.record.membership_audit import (
    AttackFinding,
    MembershipRecord,
    Privacy,
    judge_attack,
)
from safelight.record.membership_finding import overall
from safelight.record.record import Control, Verdict
from safelight.record.store import Run
from safelight.stats.seeds import Seeds
from safelight.targets.shadows import Training
from safelight.threats.membership_game import MembershipGame

#: Tells a watcher (what is being done, how much of it is done, how much there is).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class MembershipSetting:
    """A resolved plan: ``pairs`` are the games with the attacks to try in each."""

    base: Setting
    private: ImageSet
    pairs: list[tuple[MembershipGame, MembershipAttack]]
    training: Training


def prepare(plan: Plan) -> MembershipSetting:
    """Resolve a plan whose threats are membership games.

    ``data.private`` are the members, ``data.holdout`` the non-members, ``data.public`` what the
    attacker owns; ``data.victims`` are not attacked. Shadows are trained as the target is, by the
    plan's defense too.

    Raises:
        PlanError, DataError, LoadError: it cannot be run as it is written.
    """
    if len(plan.seeds) > 1:
        raise PlanError(
            f"seeds = {plan.seeds}: an audit of membership trains one family of shadow models; "
            "give one seed, and raise the attacks' shadows for more certainty"
        )
    pairs = _pairs(plan)
    roles = deal(plan.data)
    if roles.private is None:
        raise PlanError(
            "an audit of membership needs data.private, the pictures that the target was trained "
            "on; name them, and as data.holdout others of the same source"
        )
    for name, images in (("private", roles.private), ("holdout", roles.holdout)):
        if len(images) < FEWEST_SCORES:
            raise DataError(
                f"data.{name} has {len(images)} pictures, too few to judge; set "
                f"data.{name}.count to {FEWEST_SCORES} or more"
            )
    device, cache = describe.device_of(plan.device), Cache()
    target, training = obtain(plan, roles, device, cache)
    describe.watches_no_message(plan, target)
    base = Setting(plan, device, [], [], [], roles, target, torch.empty(0), cache)
    return MembershipSetting(base, roles.private, pairs, training)


def audit(
    setting: MembershipSetting, run: Run, progress: Progress, resume: bool = False
) -> MembershipRecord:
    """Run every attack, judge, and keep the record whole on disk after each.

    Shadows are kept in the cache one by one, so that an audit that was stopped loses at most the
    shadow in flight.

    Args:
        setting: from ``prepare``.
        run: the folder; made here, or written anew when ``resume`` is set.
        progress: told before each attack, and after each shadow.
        resume: the folder holds an earlier, unfinished audit of the same plan.

    Raises:
        RecordError: the folder cannot be written, or holds a run and ``resume`` is not set.
    """
    began = time.monotonic()
    if not resume:
        run.create()
        run.write("plan.toml", to_toml(setting.base.plan).encode())
    record = _opening(setting)
    names = [catalog.name_of(attack) for _, attack in setting.pairs]
    tries = sum(not mismatch(game, attack) for game, attack in setting.pairs)
    for number, (game, attack) in enumerate(setting.pairs):
        progress(names[number], number, len(names))

        def tell(done: int, total: int) -> None:
            progress(f"shadow {done} of {total}", done, total)

        bench = _meet(setting, game)
        finding, unseen = _try(bench, game, attack, tries, record.privacy, tell)
        controls = list(dict.fromkeys([*record.controls, *([unseen] if unseen else [])]))
        findings = [*record.findings, finding]
        record = record.model_copy(update={"findings": findings, "controls": controls})
        _save(run, record)
    record = _with_exposed(record, setting, run)
    done = {"status": "complete", "verdict": overall(record.findings)}
    record = record.model_copy(update=done | {"seconds": round(time.monotonic() - began, 1)})
    _save(run, record)
    progress("done", len(names), len(names))
    return record


def _meet(setting: MembershipSetting, game: MembershipGame) -> Bench:
    base = setting.base
    recipe = base.plan.target.fit
    seen, secret = game.meet(base.target, base.roles, recipe, base.cache, setting.training)
    seeds = Seeds(base.plan.seeds[0])
    return Bench(seen, secret, setting.private, base.roles.holdout, base.target, seeds)


def _pairs(plan: Plan) -> list[tuple[MembershipGame, MembershipAttack]]:
    attacks = [
        (one.label or one.name, attack)
        for one in plan.attacks
        for attack in catalog.expand("attack", one.name, one.options)
    ]
    pairs = []
    for one in plan.threats:
        wanted = one.attacks or [label for label, _ in attacks]
        for label in wanted:
            if label not in [name for name, _ in attacks]:
                known = [name for name, _ in attacks]
                raise PlanError(catalog.unknown(f"attack of threat {one.name}", label, known))
        for game in catalog.expand("threat", one.name, one.options):
            for label, attack in attacks:
                fits = isinstance(game, MembershipGame) and isinstance(attack, MembershipAttack)
                if not fits:
                    raise PlanError(
                        f"{catalog.name_of(attack)} under {one.name}: an audit of membership has "
                        "threats membership_game and attacks membership/... alone; put others in "
                        "a plan of their own"
                    )
                if label in wanted:
                    pairs.append((game, attack))
    return pairs


def mismatch(game: MembershipGame, attack: MembershipAttack) -> str:
    """Return why an attack cannot be run in a game, or an empty string."""
    missing = attack.needs.missing_from(game.offers)
    if not missing:
        return ""
    return (
        f"{catalog.name_of(attack)} needs {' and '.join(missing)}, which this adversary does not "
        "have"
    )


def _try(
    bench: Bench,
    game: MembershipGame,
    attack: MembershipAttack,
    tries: int,
    privacy: Privacy | None,
    tell: Callable[[int, int], None],
) -> tuple[AttackFinding, Control | None]:
    """Run one attack and its controls; what it raises is recorded, never a clean result."""
    began = time.monotonic()
    finding = AttackFinding(
        threat=catalog.name_of(game),
        threat_options=asdict(game),
        attack=catalog.name_of(attack),
        options=asdict(attack),
        access=attack.access,
        skipped=mismatch(game, attack),
        verdict=Verdict(
            outcome="INCONCLUSIVE", severity="none", confidence="low", reason="not run yet"
        ),
    )
    unseen = None
    if not finding.skipped:
        try:
            if attack.trains:
                unseen = blind(bench, attack, tell)
            done = measured(bench, attack, tries, privacy)
        except RecordError:
            raise
        except Exception as error:  # an attack may raise anything; none of it may pass as clean
            reason = f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
            done = {"failed": reason}
        finding = finding.model_copy(update=done)
    verdict = judge_attack(finding, unseen)
    seconds = round(time.monotonic() - began, 1)
    return finding.model_copy(update={"verdict": verdict, "seconds": seconds}), unseen


def _opening(setting: MembershipSetting) -> MembershipRecord:
    """Return the record before its first attack."""
    base = setting.base
    target, roles = base.target, base.roles
    games = list(dict.fromkeys(game for game, _ in setting.pairs))
    attacks = list(dict.fromkeys(attack for _, attack in setting.pairs))
    components = [describe.describe_component("threat", one) for one in games]
    components += [describe.describe_component("attack", one) for one in attacks]
    return MembershipRecord(
        status="running",
        name=base.plan.name,
        verdict=None,
        target=describe.describe_target(base),
        train_accuracy=accuracy(target, setting.private),
        test_accuracy=accuracy(target, roles.holdout),
        privacy=promised(target.facts),
        roles=describe.describe_roles(roles),
        classes=list(setting.private.classes),
        controls=[],
        findings=[],
        exposed_members=[],
        exposed_labels=[],
        exposed_artifact="",
        picture_shape=list(setting.private.shape),
        sheet_columns=COLUMNS,
        components=components,
        plan=base.plan.model_dump(mode="json", exclude_none=True),
        provenance=describe.describe_provenance(base.device),
        seconds=0.0,
    )


def _with_exposed(
    record: MembershipRecord, setting: MembershipSetting, run: Run
) -> MembershipRecord:
    """Keep the pictures of all members that a finding lists, each once."""
    listed = list(dict.fromkeys(row for one in record.findings for row in one.exposed))
    if not listed:
        return record
    pictures = setting.private.rows(torch.tensor(listed))
    return record.model_copy(
        update={
            "exposed_members": listed,
            "exposed_labels": pictures.labels.tolist(),
            "exposed_artifact": run.keep(sheet(pictures.images), ".png"),
        }
    )


def _save(run: Run, record: MembershipRecord) -> None:
    run.write("record.json", record.model_dump_json(indent=1).encode())
