"""What a plan leaves out, and the setting that would try it."""

from safelight import catalog
from safelight.auditing.setting import Setting
from safelight.targets.cut import cut_points
from safelight.threats.split_inference import SplitInference


def not_tried(setting: Setting) -> list[str]:
    """Return one line per gap: what, then after a colon the settings that close it.

    The settings replace the plan's whole list of threats or attacks, so that they fit any plan.
    """
    gaps = _splits(setting)
    used = {catalog.name_of(attack) for attack in setting.attacks}
    for name in catalog.names("attack"):
        # What shows a class can name nobody within one: benchmarks/mi_face.py judges it.
        if name.startswith("inversion/") and name not in {*used, "inversion/class_confidence"}:
            gaps.append(f"The attack {name}: --set 'attacks=[{{name=\"{name}\"}}]'")
    if len(setting.plan.seeds) < 3:
        gaps.append("Repetition (one seed tells nothing of the spread): --seeds 0,1,2")
    return gaps


def _splits(setting: Setting) -> list[str]:
    """Return the gaps of a plan that asks what a split model's messages give away."""
    threats = [one for one in setting.threats if isinstance(one, SplitInference)]
    if not threats:
        return []
    gaps = []
    knowledge = {threat.knows for threat in threats}
    strongest = next(one for one in ("weights", "queries", "cloud", "nothing") if one in knowledge)
    watched = [threat.cut for threat in threats]
    points = cut_points(setting.target.model, setting.roles.victims.shape)
    unwatched = [name for name in points if name not in watched]
    if unwatched:
        gaps.append(f"Other cuts ({', '.join(unwatched)}): {_threat(unwatched, strongest)}")
    if "queries" not in knowledge:
        told = "An adversary that may use the edge but not look inside"
        gaps.append(f"{told}: {_threat(list(dict.fromkeys(watched)), 'queries')}")
    if "cloud" not in knowledge:
        told = "An adversary that cannot even use the edge, but runs the cloud"
        gaps.append(f"{told}: {_threat(list(dict.fromkeys(watched)), 'cloud')}")
    return gaps


def _threat(cuts: list[str], knows: str) -> str:
    listed = ", ".join(f'"{cut}"' for cut in cuts)
    options = f'name="split_inference", cut=[{listed}], knows="{knows}"'
    return f"--set 'threats=[{{{options}}}]'"
