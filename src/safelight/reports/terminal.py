"""The findings on a console: the verdict, one table, and what to do next."""

import io
import shlex

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safelight.record.record import Finding, Record
from safelight.record.store import Run
from safelight.reports import numbers
from safelight.reports.curves import answers
from safelight.reports.evidence import Evidence
from safelight.reports.sentences import (
    ASSUMED,
    Headline,
    assumed,
    chip,
    dependences,
    failed_controls,
    headline,
    judged,
    labels,
    plain,
    untried,
)

#: Columns of a console that is not one, such as a log.
WIDTH = 100


def render(run: Run, evidence: Evidence, width: int = WIDTH) -> str:
    """Render a run as plain text; there are no pictures in it, whatever the evidence.

    Args:
        run: the run.
        evidence: taken like every renderer does.
        width: columns of the console.

    Raises:
        RecordError: the record cannot be read.
    """
    del evidence
    record = run.load()
    head = headline(record)
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(Text(judged(head)))
        console.print(Text(head.title))
        console.print(Text("\n" + f"{head.measured} {head.lead}".strip()))
        for who, lines in assumed(record):
            console.print(Text(f"\n{ASSUMED} ({who}):"))
            for line in lines:
                console.print(Text(f"  {line}"))
        if seen := dependences(record):
            console.print(Text("\nTested apart, judged by no attack:"))
            for line in seen:
                console.print(Text(f"  {line}"))
        for question, found in answers(record):
            console.print(Text(f"\n{question}"))
            for one in found:
                console.print(Text(f"  {one}"))
        console.print(_table(record))
        for one in failed_controls(record):
            console.print(Text(f"Control failed. {one}"))
        for what, command in _next(record, head, run):
            console.print(Text(f"{what}:"))
            # A command that is broken over lines cannot be copied.
            console.print(Text(f"    {command}"), soft_wrap=True)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _table(record: Record) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("Where", overflow="fold")
    table.add_column("Attack", overflow="fold")
    table.add_column("Verdict", min_width=12)
    table.add_column("Named among 100")
    table.add_column("SSIM (best null)")
    table.add_column("Time", justify="right")
    names = labels(record.findings)
    for one in record.findings:
        name, verdict = names[one.id], one.verdict
        attack = Text(name.attack).append(f"\n{name.detail}")
        told = Text(chip(verdict.outcome, verdict.severity))
        if one.assumptions and not one.skipped:
            told.append("\nunder assumptions")
        if not one.measurements:
            told.append(f"\n{plain(verdict.reason)}")
        time = "" if one.skipped else numbers.duration(one.seconds)
        table.add_row(Text(name.where), attack, told, *_measured(one), Text(time))
    return table


def _measured(finding: Finding) -> tuple[Text, Text]:
    named, ssim = finding.measurements.get("named"), finding.measurements.get("ssim")
    null = finding.nulls.get(finding.best_null)
    first, second = Text(), Text()
    if named is not None:
        first.append(numbers.count(named)).append(f"\n{numbers.percent_interval(named)}")
    if ssim is not None:
        beside = f" ({numbers.number(null.value, 2)})" if null is not None else ""
        second.append(numbers.number(ssim.value, 3) + beside)
        second.append(f"\n{numbers.interval(ssim, 3)}")
    return first, second


def _next(record: Record, head: Headline, run: Run) -> list[tuple[str, str]]:
    """Return what to do now, with its command: finish, read, guard, close the gaps."""
    folder = plain(shlex.quote(str(run.folder)))
    steps = [("See it", f"safelight report {folder}")]
    if record.status != "complete":
        steps.insert(0, ("Finish the run", f"safelight audit --resume {folder}"))
    if head.outcome == "LEAK":
        steps.append(("Fail a build on it", f"safelight gate {folder} --fail-on {head.severity}"))
    plan = plain(shlex.quote(str(run.folder / "plan.toml")))
    gaps = [one for one in untried(record, plan) if one[1]]
    if gaps:
        others = f", {len(gaps) - 1} more gaps in the report" if len(gaps) > 1 else ""
        steps.append((f"Not tried: {gaps[0][0]}{others}", gaps[0][1]))
    return steps
