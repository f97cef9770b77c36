"""The findings for code scanning: SARIF 2.1.0 (OASIS Standard, 27 March 2020).

Which finding becomes what, and why:

* LEAK: a result of kind ``fail``, whose level follows the severity.
* INCONCLUSIVE: a result of kind ``open``, the kind for a rule that was evaluated with too little
  information to decide (section 3.27.9); its level must then be ``none`` (section 3.27.10). A
  scanner that reads only failures stays quiet, one that reads kinds sees what was not cleared.
* A crash, in addition: a notification of level ``error`` about the tool's execution (section
  3.20.21), which then was not successful (section 3.20.14).
* A skipped finding: a notification of level ``note`` about the tool's configuration (section
  3.20.22): the plan pairs an attack with a threat that hides what it needs.
* NO EVIDENCE: a count in the run's properties. Kind ``pass`` means that the rule was evaluated and
  no problem found; to those who read it later it would say more than an absence of evidence can.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from safelight.record.record import Finding, Record, Severity
from safelight.record.store import Run
from safelight.reports.evidence import Evidence
from safelight.reports.sentences import headline, labels, plain

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

_LEVELS: Mapping[Severity, str] = {
    "critical": "error",
    "high": "error",
    "medium": "warning",
    "low": "note",
    "none": "none",
}

#: GitHub sorts by this property of a rule, on the scale of CVSS: above 9 critical, above 7 high,
#: 4 and above medium. It takes the middle of each band, since no CVSS vector was scored.
_SECURITY_SEVERITY: Mapping[Severity, str] = {
    "critical": "9.5",
    "high": "8.0",
    "medium": "5.5",
    "low": "2.0",
    "none": "0.0",
}


def render(run: Run, evidence: Evidence) -> str:
    """Render a run as SARIF; there are no pictures in it, whatever the evidence.

    Raises:
        RecordError: the record cannot be read.
    """
    del evidence
    record = run.load()
    rules = list(dict.fromkeys(one.attack for one in record.findings))
    content = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "Safelight",
                        "version": record.provenance.safelight,
                        "rules": [_rule(record, name) for name in rules],
                    }
                },
                "automationDetails": {"id": f"safelight/{record.name}/"},
                "columnKind": "unicodeCodePoints",
                "invocations": [_invocation(record, rules)],
                "artifacts": [{"location": {"uri": run.record_file.name}}],
                "results": _results(record, rules, run.record_file.name),
                "properties": _summary(record),
            }
        ],
    }
    return json.dumps(content, indent=1) + "\n"


def _rule(record: Record, attack: str) -> dict[str, Any]:
    summary = next(
        (one.summary for one in record.components if one.kind == "attack" and one.name == attack),
        attack,
    )
    worst = max(
        (float(_SECURITY_SEVERITY[one.verdict.severity]), one.verdict.severity)
        for one in record.findings
        if one.attack == attack
    )[1]
    return {
        "id": attack,
        "name": "".join(part.capitalize() for part in attack.replace("/", "_").split("_")),
        "shortDescription": {"text": plain(f"Private pictures can be rebuilt by {attack}.")},
        "fullDescription": {"text": plain(summary)},
        "help": {
            "text": "Change what the adversary sees (a deeper layer, noise, less of it), then run "
            "the audit again. The HTML report of the same run shows what was measured."
        },
        "defaultConfiguration": {"level": "error"},
        "properties": {
            "tags": ["security", "privacy"],
            "security-severity": _SECURITY_SEVERITY[worst],
        },
    }


def _results(record: Record, rules: list[str], file: str) -> list[dict[str, Any]]:
    names = labels(record.findings)
    results = []
    for one in record.findings:
        if one.skipped or one.verdict.outcome == "NO EVIDENCE":
            continue
        leak = one.verdict.outcome == "LEAK"
        results.append(
            {
                "ruleId": one.attack,
                "ruleIndex": rules.index(one.attack),
                "kind": "fail" if leak else "open",
                "level": _LEVELS[one.verdict.severity] if leak else "none",
                "message": {"text": f"{names[one.id]}: {plain(one.verdict.reason)}."},
                "locations": [_location(record, one, file)],
                "partialFingerprints": {"safelightFinding/v1": one.id},
                "properties": _properties(one),
            }
        )
    return results


def _location(record: Record, finding: Finding, file: str) -> dict[str, Any]:
    """Point into the record: a model has layers rather than lines, but viewers want a file."""
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": file, "index": 0},
            "region": {"startLine": 1},
        },
        "logicalLocations": [
            {
                "name": finding.where,
                "fullyQualifiedName": f"{record.target.name}/{finding.where}",
                "kind": "module",
            }
        ],
    }


def _properties(finding: Finding) -> dict[str, Any]:
    shown = {"value", "low", "high", "level", "n", "seeds", "chance", "unit"}
    best = finding.nulls.get(finding.best_null)
    return {
        "outcome": finding.verdict.outcome,
        "severity": finding.verdict.severity,
        "confidence": finding.verdict.confidence,
        "threat": finding.threat,
        "threatOptions": finding.threat_options,
        "attackOptions": finding.attack_options,
        "access": finding.access,
        "assumptions": finding.assumptions,
        "measurements": {
            name: one.model_dump(include=shown) for name, one in finding.measurements.items()
        },
        "bestNull": {
            "name": finding.best_null,
            "ssim": best.model_dump(include=shown) if best else None,
        },
        "queries": finding.queries,
        "seconds": finding.seconds,
    }


def _invocation(record: Record, rules: list[str]) -> dict[str, Any]:
    attacks = {one.id: one.attack for one in record.findings}
    crashes = [cell for cell in record.cells if cell.status == "error"]
    invocation: dict[str, Any] = {
        "executionSuccessful": record.status == "complete" and not crashes,
        "toolExecutionNotifications": [
            _notification(rules, attacks[one.finding], "error", f"seed {one.seed}: {one.reason}")
            for one in crashes
            if one.finding in attacks
        ],
        "toolConfigurationNotifications": [
            _notification(rules, one.attack, "note", f"not run at {one.where}: {one.skipped}")
            for one in record.findings
            if one.skipped
        ],
    }
    started = _utc(record.provenance.started)
    return invocation | ({"startTimeUtc": started} if started else {})


def _notification(rules: list[str], attack: str, level: str, text: str) -> dict[str, Any]:
    return {
        "level": level,
        "message": {"text": plain(f"{attack}, {text}")},
        "associatedRule": {"id": attack, "index": rules.index(attack)},
    }


def _utc(moment: str) -> str:
    """Write a moment as SARIF wants it, in UTC with a Z (section 3.9); empty if it is none."""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return ""
    return parsed.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _summary(record: Record) -> dict[str, Any]:
    head = headline(record)
    outcomes = [one.verdict.outcome for one in record.findings if not one.skipped]
    return {
        "outcome": head.outcome,
        "severity": head.severity,
        "statement": head.title,
        "findings": {
            "leak": outcomes.count("LEAK"),
            "noEvidence": outcomes.count("NO EVIDENCE"),
            "inconclusive": outcomes.count("INCONCLUSIVE"),
            "skipped": len(record.findings) - len(outcomes),
        },
        "measurementsSha256": record.measurements_sha256(),
        "weightsSha256": record.target.weights_sha256,
    }
