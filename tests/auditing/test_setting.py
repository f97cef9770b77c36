"""What a plan must not ask is refused before anything is written."""

import pytest

from safelight.auditing import extraction, membership, question, studies
from safelight.auditing.setting import prepare
from safelight.errors import PlanError
from safelight.plan.plan import load_plan

SMALL = [
    "data.victims.count=20",
    "data.public.count=200",
    "data.private={count=100}",
    "target={model='lenet', fit={epochs=1, batch_size=50}}",
]


def test_noise_stays_where_the_model_was_trained_for_it():
    trained = "defense={name='noise_aware', cut='relu1', noise=0.5}"
    with pytest.raises(PlanError, match="set the threat's cut to 'relu1'"):
        prepare(load_plan("demo", [*SMALL, trained]))
    prepare(load_plan("demo", [*SMALL, trained, "threats=[{name='split_inference', cut='relu1'}]"]))


@pytest.mark.parametrize(
    ("preset", "shape", "begin"),
    [
        ("membership", ["data.channels=3", "data.size=32"], membership.prepare),
        ("weights", [], extraction.prepare),
    ],
)
def test_a_defense_of_messages_is_refused_where_none_is_watched(preset, shape, begin):
    data = ["data.source=embedded", "data.private={count=200}", "data.holdout={count=200}", *shape]
    data += ["data.public={count=1000}", "target.fit.epochs=1", "defense.name=label_only"]
    with pytest.raises(PlanError, match="changes messages, which are not watched here"):
        begin(load_plan(preset, data))


def test_several_defenses_are_not_one_audit():
    with pytest.raises(PlanError, match="several audits"):
        question.begin(load_plan("defenses"))


@pytest.mark.parametrize("study", studies.STUDIES)
def test_studies_vary_split_inference(study):
    with pytest.raises(PlanError, match="studies vary split_inference"):
        studies.STUDIES[study](load_plan("demo", ["threats=[{name='prediction_api'}]"]))
