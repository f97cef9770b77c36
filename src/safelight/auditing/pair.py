"""Which attack fits which threat."""

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
