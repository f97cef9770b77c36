"""Which attack fits which threat, and what the two together are called."""

from dataclasses import fields

from safelight import catalog
from safelight.attacks.attack import InversionAttack
from safelight.threats.split_inference import SplitInference


def mismatch(threat: SplitInference, attack: InversionAttack) -> str:
    """Return why an attack cannot be run under a threat, or an empty string."""
    missing = attack.needs.missing_from(threat.offers)
    if not missing:
        return ""
    return (
        f"{catalog.name_of(attack)} needs {' and '.join(missing)}, which an adversary that knows "
        f"{threat.knows} and has {threat.pictures} pictures does not have"
    )


def label(threat: SplitInference, attack: InversionAttack) -> str:
    """Name a pair by cut and attack, and by every setting of the threat that is not as usual."""
    settings = [
        f"{one.name} {getattr(threat, one.name)}"
        for one in fields(threat)
        if one.name != "cut" and getattr(threat, one.name) != one.default
    ]
    unusual = f" ({', '.join(settings)})" if settings else ""
    return f"{threat.cut} / {catalog.name_of(attack)}{unusual}"
