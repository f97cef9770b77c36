import torch

from safelight.cache import Cache
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.testing.threats import ThreatContract
from safelight.threats.observation import Needs
from safelight.threats.prediction_api import PredictionApi

EVERYTHING = Needs(messages=True, queries=True, weights=True, cloud=True, public=True, labels=True)


class TestProbabilities(ThreatContract):
    threat = PredictionApi()


class TestLogits(ThreatContract):
    threat = PredictionApi(returns="logits", knows="weights")


class TestQueryFree(ThreatContract):
    threat = PredictionApi(knows="nothing")


def test_the_answers_are_the_models_and_their_classes_can_be_read(tmp_path):
    roles, target = worlds.digits(), worlds.lenet()
    for returns in ("logits", "probabilities"):
        threat = PredictionApi(returns=returns, knows="weights")
        seen, _ = threat.meet(target, roles, torch.device("cpu"), Cache(tmp_path))
        view = seen.restricted(EVERYTHING)
        logits = target.model(roles.victims.images)
        wanted = logits.softmax(1) if returns == "probabilities" else logits
        assert torch.allclose(view.messages, wanted, atol=1e-5)
        read = view.cloud(view.messages)
        assert torch.equal(read.argmax(1), logits.argmax(1))
        assert torch.allclose(read.softmax(1), logits.softmax(1), atol=1e-5)


def test_an_imitation_of_known_structure_answers_probabilities_too(tmp_path):
    threat = PredictionApi(knows="nothing")
    seen, _ = threat.meet(worlds.lenet(), worlds.digits(), torch.device("cpu"), Cache(tmp_path))
    edge = seen.untrained_edge(Seeds(0))
    answers = edge(worlds.digits().public.images[:20])
    assert torch.allclose(answers.sum(1), torch.ones(20), atol=1e-5)
    assert any(one.requires_grad for one in edge.parameters())
