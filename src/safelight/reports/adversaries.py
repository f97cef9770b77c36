"""Who the adversary of a finding is, in the field's words, from the settings of its threat."""

from collections.abc import Sequence
from typing import Any

from safelight.record.record import Finding

#: The settings of a threat that make an adversary, and their values from most to least known.
ORDER: dict[str, tuple[str, ...]] = {
    "knows": ("weights", "queries", "cloud", "nothing"),
    "pictures": ("training set", "same distribution", "noise", "none"),
    "structure": ("known", "different"),
}

_KNOWS = {
    "weights": "white-box",
    "queries": "black-box",
    "cloud": "query-free",
    "nothing": "messages alone",
}

#: What an attack uses at most of the model, by what its adversary knows.
_ACCESS = {"weights": "white-box", "queries": "black-box queries", "cloud": "no queries"}

#: An attacker, by what the attack used of the model.
_USES = {
    "white-box": "an attacker who holds the model{s} weights",
    "black-box queries": "an attacker who may query the model but not look inside",
    "no queries": "an attacker who does not even query the model",
}

_WITHOUT_QUERIES = {
    "cloud": "an attacker who runs the cloud{s} part of the model but cannot query the device",
    "nothing": "an attacker who sees the messages and can use no part of the model",
}

_ANSWERS_ALONE = "an attacker who sees the model{s} answers and cannot query it"

_OWNS = {
    "training set": ", and who owns the pictures that the model was trained on,",
    "noise": ", and who owns no pictures but random noise,",
    "none": ", and who owns no pictures,",
}


def settings(finding: Finding) -> dict[str, Any]:
    """Return the settings of a finding's threat that say who the adversary is."""
    return {key: val for key, val in finding.threat_options.items() if key in ORDER}


def adversaries(findings: Sequence[Finding]) -> dict[str, str]:
    """Name the adversary of every finding, by id, empty where the threat says nothing of it.

    What no adversary with that knowledge of the model differs in goes unsaid, but for the
    pictures of one who lacks the weights and the structure for one who lacks queries: these
    decide what an attack can do.
    """
    named = {}
    for one in findings:
        own = settings(one)
        if "knows" not in own:
            named[one.id] = ""
            continue
        peers = [settings(other) for other in findings]
        peers = [other for other in peers if other.get("knows") == own["knows"]]
        words = [_KNOWS.get(own["knows"], str(own["knows"]))]
        pictures, structure = own.get("pictures"), own.get("structure")
        differ = {key: any(peer.get(key) != own.get(key) for peer in peers) for key in ORDER}
        if pictures and (own["knows"] != "weights" or differ["pictures"]):
            words.append({"none": "no pictures"}.get(pictures, str(pictures)))
        if structure and (own["knows"] == "cloud" or differ["structure"]):
            words.append(f"{structure} structure")
        if one.threat == "prediction_api" and own["knows"] == "nothing":
            words[0] = "query-free"
        if one.threat_options.get("aware") is False:
            words.append("unaware of the defense")
        named[one.id] = ", ".join(words)
    return named


def rank(finding: Finding) -> tuple[int, ...]:
    """Return where an adversary stands, those who know most first."""
    own = settings(finding)
    return tuple(
        values.index(own[key]) if own.get(key) in values else len(values)
        for key, values in ORDER.items()
    )


def holds_back(finding: Finding) -> bool:
    """Return whether the attack uses less of the model than its adversary could."""
    most = _ACCESS.get(finding.threat_options.get("knows", ""), finding.access)
    return most != finding.access


def attacker(finding: Finding) -> str:
    """Say who the attacker is, by what the attack used and what the adversary owns."""
    told = _USES.get(finding.access, finding.access)
    knows = finding.threat_options.get("knows")
    if finding.access == "no queries":
        told = _WITHOUT_QUERIES.get(str(knows), told)
    if finding.threat == "prediction_api" and knows == "nothing":
        told = _ANSWERS_ALONE
    told = told.replace("{s}", "\N{RIGHT SINGLE QUOTATION MARK}s")
    return told + _OWNS.get(str(finding.threat_options.get("pictures")), "")
