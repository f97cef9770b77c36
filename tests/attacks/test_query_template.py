import torch

from safelight.attacks.inversion.query_template import QueryTemplate
from safelight.cache import Cache
from safelight.defenses.label_only import LabelOnly
from safelight.stats.seeds import Seeds
from safelight.testing import answers, worlds
from safelight.testing.answers import AnswersContract
from safelight.threats.prediction_api import PredictionApi


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
