"""Render a run, whatever it asked, in one of the formats."""

from safelight.errors import RecordError
from safelight.record.extraction import ExtractionRecord
from safelight.record.generator import GeneratorRecord
from safelight.record.kinds import load_any
from safelight.record.membership_audit import MembershipRecord
from safelight.record.privacy_sweep import load_sweep
from safelight.record.scorecard import load_scorecard
from safelight.record.store import Run
from safelight.reports import (
    extraction,
    generator,
    html,
    markdown,
    membership,
    privacy_sweep,
    sarif,
    scorecard,
    terminal,
)
from safelight.reports.evidence import Evidence

_OF_MESSAGES = {
    "html": html.render,
    "markdown": markdown.render,
    "sarif": sarif.render,
    "terminal": terminal.render,
}


def render(run: Run, form: str, evidence: Evidence) -> str:
    """Return the run as text of that format.

    Raises:
        RecordError: the record cannot be read, or there is no such rendering of it.
    """
    if (run.folder / "privacy.json").is_file():
        sweep = load_sweep(run.folder)
        if form == "html":
            return privacy_sweep.page(sweep)
        if form == "terminal":
            return privacy_sweep.text(sweep)
        raise RecordError(f"a sweep has no {form}; give --format html or terminal")
    if (run.folder / "scorecard.json").is_file():
        card = load_scorecard(run.folder)
        if form == "html":
            return scorecard.page(run, card, evidence)
        if form == "terminal":
            return scorecard.text(card)
        raise RecordError(f"a scorecard has no {form}; give --format html or terminal")
    record = load_any(run.folder)
    if not isinstance(record, MembershipRecord | ExtractionRecord | GeneratorRecord):
        return _OF_MESSAGES[form](run, evidence)
    if form not in ("html", "terminal"):
        raise RecordError(
            f"{form} is made of audits of split inference alone; give --format html or terminal"
        )
    if isinstance(record, MembershipRecord):
        page = form == "html"
        return membership.page(run, evidence) if page else membership.text(record)
    if isinstance(record, GeneratorRecord):
        return generator.page(run, evidence) if form == "html" else generator.text(record)
    return extraction.page(run, evidence) if form == "html" else extraction.text(run)
