"""What a target costs to use as it is watched: accuracy, bytes and time, with its defense."""

import time
import zlib

import torch
from torch import Tensor

from safelight.auditing.setting import Setting, share_right
from safelight.record.record import Deployment
from safelight.stats.seeds import Seeds
from safelight.targets.release import UNIT, Scale
from safelight.threats.messages import MessageThreat
from safelight.threats.observation import Link

#: Messages whose size is measured; their mean varies by a few percent.
SIZED = 100

#: Single pictures that the device's time is the median of.
TIMED = 20


def deployments(setting: Setting) -> list[Deployment]:
    """Measure every place that is watched, once, where the target is a classifier."""
    by_place = {(type(one), one.where): one for one in setting.threats}
    found = [_deployed(setting, one) for one in by_place.values()]
    return [one for one in found if one is not None]


@torch.no_grad()
def _deployed(setting: Setting, threat: MessageThreat) -> Deployment | None:
    roles, device, target = setting.roles, setting.device, setting.target
    edge, cloud = (one.to(device) for one in threat.parts(target, roles.victims.shape))
    few = edge(roles.public.images[:500].to(device))
    link = Link(edge, cloud, release=target.release, scale=Scale.of(few) if len(few) else UNIT)
    images = torch.cat([roles.victims.images, roles.holdout.images]).to(device)
    labels = torch.cat([roles.victims.labels, roles.holdout.labels]).to(device)
    sent = link.leaving(images[:SIZED], Seeds(0, ("size",)))
    answer = cloud(sent[:2])
    if not isinstance(answer, Tensor) or answer.ndim != 2:  # no classifier
        return None
    right = []
    for number, part in enumerate(images.split(500)):
        own = labels[500 * number : 500 * number + len(part)]
        right.append(cloud(link.leaving(part, Seeds(0, ("use", str(number))))).argmax(1) == own)
    hits = torch.cat(right)
    return Deployment(
        where=threat.where,
        accuracy=share_right(int(hits.sum()), len(hits), len(roles.victims.classes)),
        right="".join("1" if one else "0" for one in hits.tolist()),
        raw_bytes=4 * sent[0].numel(),
        sent_bytes=round(sum(_deflated(one) for one in sent.cpu()) / len(sent), 1),
        milliseconds=_milliseconds(link, images),
    )


def _deflated(message: Tensor) -> int:
    return len(zlib.compress(message.float().contiguous().numpy().tobytes()))


def _milliseconds(link: Link, images: Tensor) -> float:
    """Return the median time of one picture through the edge and the defense."""
    taken = []
    for one in images[: TIMED + 1].split(1):
        began = time.perf_counter()
        link.leaving(one, Seeds(0, ("time",)))
        taken.append(time.perf_counter() - began)
    middle = sorted(taken[1:])[len(taken[1:]) // 2]  # the first allocates
    return round(1000 * middle, 3)
