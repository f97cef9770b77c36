"""Which attack fits which threat, and what the two together are called."""

from dataclasses import fields

from safelight import catalog
from safelight.attacks.attack import InversionAttack
from safelight.threats.messages import MessageThreat


def mismatch(threat: MessageThreat, attack: InversionAttack) -> str:
    """Return why an attack cannot be run under a threat, or an empty string."""
    missing = attack.needs.missing_from(threat.offers)
    if not missing:
        return ""
    return (
        f"{catalog.name_of(attack)} needs {' and '.join(missing)}, which this adversary "
        f"({_settings(threat)}) does not have"
    )


def label(threat: MessageThreat, attack: InversionAttack) -> str:
    """Name a pair by cut and attack, and by every setting of the threat that is not as usual."""
    unusual = _settings(threat, usual=False)
    return f"{threat.where} / {catalog.name_of(attack)}{f' ({unusual})' if unusual else ''}"


def _settings(threat: MessageThreat, usual: bool = True) -> str:
    """Spell a threat's settings but its place, all of them or those that are not as usual."""
    return ", ".join(
        f"{one.name} {getattr(threat, one.name)}"
        for one in fields(threat)
        if getattr(threat, one.name) != threat.where
        and (usual or getattr(threat, one.name) != one.default)
    )
