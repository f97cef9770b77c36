import pytest
import torch

from safelight.attacks.extraction.kkt import KKT
from safelight.auditing.extraction_tuning import STUDY, tune
from safelight.errors import PlanError
from safelight.testing import worlds

PUBLIC = worlds.digits().public.rows(torch.arange(150))
ATTACK = KKT(steps=60, per_picture=1)


def test_the_search_finds_a_rate_that_works_and_goes_on_where_it_stopped(tmp_path):
    ranges = {"learning_rate": (1e-6, 0.1)}
    some = tune(ATTACK, ranges, PUBLIC, tmp_path, trials=3, shadows=1)
    assert some.trials == 3
    assert (tmp_path / STUDY).is_file()
    more = tune(ATTACK, ranges, PUBLIC, tmp_path, trials=6, shadows=1)
    assert more.trials == 6
    assert more.auc >= some.auc
    again = tune(ATTACK, ranges, PUBLIC, tmp_path, trials=6, shadows=1)
    assert again == more
    assert more.attack.learning_rate > 1e-4  # at 1e-6 nothing moves
    assert more.attack.steps == 60
    assert sum(more.importance.values()) == pytest.approx(1)


def test_an_option_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(PlanError, match=r"unknown option of KKT 'rate'"):
        tune(ATTACK, {"rate": (0.1, 1)}, PUBLIC, tmp_path, trials=1)
    with pytest.raises(PlanError, match="give 0 <= low < high"):
        tune(ATTACK, {"start": (2, 1)}, PUBLIC, tmp_path, trials=1)
