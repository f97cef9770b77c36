"""What a plan leaves out, and the setting that would try it."""

from safelight import catalog
from safelight.auditing.setting import Setting
from safelight.targets.cut import cut_points


def not_tried(setting: Setting) -> list[str]:
    """Return one line per gap: what, then after a colon the settings that close it."""

    def each(option: str, value: str) -> str:
        """Set an option of every threat of the plan."""
        count = len(setting.plan.threats)
        return " ".join(f"--set 'threats.{number}.{option}={value}'" for number in range(count))

    gaps = []
    watched = [threat.cut for threat in setting.threats]
    points = cut_points(setting.target.model, setting.roles.victims.shape)
    unwatched = [name for name in points if name not in watched]
    if unwatched:
        listed = ", ".join(f'"{name}"' for name in unwatched)
        gaps.append(f"Other cuts ({', '.join(unwatched)}): {each('cut', f'[{listed}]')}")
    knowledge = {threat.knows for threat in setting.threats}
    for knows in ("queries", "nothing"):
        if knows not in knowledge:
            told = "may only query the edge" if knows == "queries" else "cannot even query the edge"
            gaps.append(f"An adversary that {told}: {each('knows', knows)}")
    used = {catalog.name_of(attack) for attack in setting.attacks}
    for name in catalog.names("attack"):
        if name not in used:
            gaps.append(f"The attack {name}: --set 'attacks.0.name={name}'")
    if len(setting.plan.seeds) < 3:
        gaps.append("Repetition (one seed tells nothing of the spread): --seeds 0,1,2")
    return gaps
