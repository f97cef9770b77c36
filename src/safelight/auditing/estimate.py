"""What a plan resolves to and about what it will cost, without running it."""

import time

import torch
from torch import nn

from safelight.auditing.pair import label, mismatch
from safelight.auditing.question import asks_for_messages, begin
from safelight.auditing.scoring import EASED
from safelight.auditing.setting import Setting, prepare
from safelight.plan.plan import Plan, to_toml


def estimate(plan: Plan) -> str:
    """Return the resolved plan as TOML, then every cell's cost in comments.

    Costs are counted floating-point operations over the speed of a training step of a small
    convolution, measured here and now: right within a factor of about three.

    Raises:
        PlanError, DataError, LoadError: the plan cannot be run.
    """
    if not asks_for_messages(plan):
        begin(plan)
        return f"{to_toml(plan)}\n# it can be run; what it costs is not estimated for this threat"
    setting = prepare(plan)
    speed = _flops_per_second(setting.device)
    seeds = len(plan.seeds)
    lines = [to_toml(plan).rstrip(), ""]
    total, cells = 0.0, 0
    for threat, attack in setting.pairs:
        name = label(threat, attack)
        reason = mismatch(threat, attack)
        if reason:
            lines.append(f"# {name}: skipped, {reason}")
            continue
        seen, _ = threat.meet(setting.target, setting.roles, setting.device, setting.cache)
        # The positive control makes a fraction of the steps, unless that is too few to succeed.
        seconds = attack.flops(seen.restricted(attack.needs)) * (seeds + 1 / EASED) / speed
        lines.append(f"# {name}: {seeds} cells and a control, about {_spelled(seconds)}")
        total, cells = total + seconds, cells + seeds
    lines.append(f"# {_size(setting)}")
    lines.append(f"# in all {cells} cells, at most about {_spelled(total)} on {setting.device}")
    lines.append("# (an inverse network that two attacks use is trained once, and kept)")
    return "\n".join(lines)


def _size(setting: Setting) -> str:
    told = [f"{len(images)} {name}" for name, images in setting.roles.items()]
    return f"{setting.target.name}, {', '.join(told)} pictures"


def _spelled(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _flops_per_second(device: torch.device) -> float:
    layer = nn.Conv2d(32, 32, 3, padding=1, device=device)
    batch = torch.zeros(64, 32, 14, 14, device=device)
    layer(batch).sum().backward()  # the first pass allocates
    began, passes = time.monotonic(), 20
    for _ in range(passes):
        float(layer(batch).sum().detach())
        layer(batch).sum().backward()
    forward = 2 * batch.numel() * 32 * 9
    return passes * 4 * forward / (time.monotonic() - began)
