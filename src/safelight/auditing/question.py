"""Which question a plan asks, by its threats, and the audit that answers it."""

from collections.abc import Callable

from safelight import catalog
from safelight.auditing import extraction, generator, membership, run, setting
from safelight.auditing.run import Progress
from safelight.errors import PlanError
from safelight.plan.plan import Plan
from safelight.record.kinds import AnyRecord
from safelight.record.store import Run

#: Runs a prepared audit in a folder; the flag says whether it goes on with what is there.
Audit = Callable[[Run, Progress, bool], AnyRecord]

#: What can be asked, by the threat that poses it. Any other threat exposes messages.
_MEMBERSHIP, _EXTRACTION = "membership_game", "released_model"
_GENERATOR = "released_generator"
_OTHERS = (_MEMBERSHIP, _EXTRACTION, _GENERATOR)


def asks_for_messages(plan: Plan) -> bool:
    """Whether the plan's threats let somebody see messages that depend on victims' pictures.

    Raises:
        PlanError: the threats pose different questions, which one record cannot answer.
    """
    return _question(plan) not in _OTHERS


def begin(plan: Plan) -> Audit:
    """Resolve a plan and return its audit, ready to be run.

    Raises:
        PlanError, DataError, LoadError: it cannot be run as it is written.
    """
    if plan.defenses:
        raise PlanError(
            "a plan with defenses is several audits; run safelight audit, or give one [defense]"
        )
    question = _question(plan)
    if question == _MEMBERSHIP:
        members = membership.prepare(plan)
        return lambda folder, tell, resume: membership.audit(members, folder, tell, resume)
    if question == _EXTRACTION:
        release = extraction.prepare(plan)
        return lambda folder, tell, resume: extraction.audit(release, folder, tell, resume)
    if question == _GENERATOR:
        made = generator.prepare(plan)
        return lambda folder, tell, resume: generator.audit(made, folder, tell, resume)
    messages = setting.prepare(plan)
    return lambda folder, tell, resume: run.audit(messages, folder, tell, resume)


def _question(plan: Plan) -> str:
    asked = {one.name if one.name in _OTHERS else "" for one in plan.threats}
    if len(asked) > 1:
        names = ", ".join(dict.fromkeys(one.name for one in plan.threats))
        raise PlanError(f"the threats {names} ask different questions; write a plan for each")
    for one in plan.threats:
        catalog.load("threat", one.name)  # a misspelled one is told as that
    return asked.pop()
