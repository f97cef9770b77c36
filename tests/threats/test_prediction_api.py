import pytest
import torch

from safelight.cache import Cache
from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.errors import AccessError, PlanError
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


class TestLimited(ThreatContract):
    threat = PredictionApi(queries=12)


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


@pytest.mark.parametrize("sends", [1, 3])
def test_a_service_answers_so_many_queries_and_no_more(sends, tmp_path):
    threat = PredictionApi(returns="logits", queries=60, sends=sends)
    noisy = None if sends == 1 else GaussianNoise(deviation=0.1)
    target = worlds.lenet()
    edge, cloud = threat.parts(target, worlds.digits().victims.shape)
    seen, _ = threat.expose(
        edge, cloud, worlds.digits(), torch.device("cpu"), Cache(tmp_path), noisy
    )
    view = seen.restricted(threat.offers)
    own = view.public.images
    assert len(own) == 60 // sends
    view.query(own)
    with pytest.raises(AccessError, match="raise the threat's queries"):
        view.query(own[:1])
    imitation = view.imagine(edge)
    assert len(imitation.query(torch.cat([own] * 3))) == 3 * len(own)  # its own model's, and free


def test_only_who_must_ask_the_service_is_limited():
    assert PredictionApi(queries=5).most_queries == 5
    for knows in ("weights", "nothing"):
        assert PredictionApi(knows=knows, queries=5).most_queries == 0


def test_a_limit_holds_for_what_was_learned_without_one(tmp_path):
    """Work that is kept from an unlimited adversary costs the limited one as many queries."""
    work, cache = {"work": "the same"}, Cache(tmp_path)
    seen = {}
    for queries in (0, 40):
        threat = PredictionApi(returns="logits", queries=queries)
        roles = worlds.digits(public=40)
        seen[queries], _ = threat.meet(worlds.lenet(), roles, torch.device("cpu"), cache)
        seen[queries] = seen[queries].restricted(threat.offers)

    def learned(view):
        def make():
            return {"z": torch.cat([view.query(view.public.images) for _ in range(2)])}

        return view.remember(work, make)

    assert len(learned(seen[0])["z"]) == 80
    with pytest.raises(AccessError, match="this is number 80"):
        learned(seen[40])


def test_a_limit_that_teaches_nothing_is_refused(tmp_path):
    threat = PredictionApi(queries=5)
    with pytest.raises(PlanError, match="queries to 10 or more"):
        threat.meet(worlds.lenet(), worlds.digits(), torch.device("cpu"), Cache(tmp_path))
