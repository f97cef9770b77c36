import dataclasses

import torch

from safelight.auditing.target import defended
from safelight.cache import Cache
from safelight.data.roles import Roles
from safelight.defenses.nopeek import NoPeek
from safelight.plan.plan import load_plan
from safelight.testing import worlds


def test_a_target_defended_on_other_labels_is_another_one(tmp_path):
    public = worlds.digits().public
    few = public.rows(torch.arange(32))
    turned = dataclasses.replace(few, labels=(few.labels + 1) % 10)
    plan = load_plan("demo", ["target.fit.epochs=1"])
    plan = plan.model_copy(update={"target": plan.target.model_copy(update={"weights": None})})
    one, other, again = (
        defended(
            plan, Roles(private, public, public, public), torch.device("cpu"), Cache(tmp_path),
            NoPeek(cut="relu2"),
        ).weights_sha256()
        for private in (few, turned, few)
    )  # fmt: skip
    assert one == again != other
