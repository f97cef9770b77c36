import dataclasses

import torch
from torch import nn

from safelight.attacks.inversion.query_template import QueryTemplate
from safelight.cache import Cache
from safelight.defenses.label_only import LabelOnly
from safelight.defenses.rounding import Rounding
from safelight.stats.seeds import Seeds
from safelight.testing import answers, worlds
from safelight.testing.answers import AnswersContract
from safelight.threats.prediction_api import Answering, PredictionApi, Reading


class TestQueryTemplate(AnswersContract):
    attack = QueryTemplate(steps=120, width=16, learning_rate=5e-3)


def test_every_public_picture_is_one_query(tmp_path):
    seen, _ = answers.watch("lenet", Cache(tmp_path), victims=20)
    attack = QueryTemplate(steps=2, width=4)
    for _ in range(2):  # remembered work is counted again
        view = seen.restricted(attack.needs)
        attack.run(view, Seeds(0))
        assert view.queries == 1000


def test_the_class_alone_gives_one_picture_a_class(tmp_path):
    edge, cloud = answers.parts("lenet")
    threat = PredictionApi(returns="logits", knows="queries")
    roles, device = worlds.digits(), torch.device("cpu")
    seen, _ = threat.expose(edge, cloud, roles, device, Cache(tmp_path), LabelOnly())
    attack = QueryTemplate(steps=20, width=8)
    claim = attack.run(seen.restricted(attack.needs), Seeds(0)).images
    said = seen.messages.argmax(1)
    for label in said.unique():
        own = claim[said == label]
        assert (own - own[0]).abs().max() < 1e-3


class Unsure(nn.Module):
    """A classifier that is seldom sure: pictures [n, 1, 28, 28] -> logits [n, 10]."""

    def forward(self, x):
        return worlds.lenet().model(x) / 5


def test_no_victim_changes_the_claim_about_another(tmp_path):
    """Rounded probabilities sum to more than one for some pictures and not for others."""
    threat, roles, attack = PredictionApi(), worlds.digits(), QueryTemplate(steps=40, width=8)
    edge, cloud = Answering(Unsure()), Reading()

    def claimed(victims):
        some = dataclasses.replace(roles, victims=victims)
        release, cpu = Rounding(decimals=1), torch.device("cpu")
        seen, _ = threat.expose(edge, cloud, some, cpu, Cache(tmp_path), release)
        view = seen.restricted(attack.needs)
        return attack.run(view, Seeds(0)).images, view.messages.sum(1)

    together, sums = claimed(roles.victims)
    fair = sums <= 1.01
    assert 0 < fair.sum() < len(fair)
    alone, _ = claimed(roles.victims.rows(fair))
    assert torch.allclose(alone, together[fair], atol=1e-5)
