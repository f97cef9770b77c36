import numpy as np
import pytest

from safelight.attacks.membership.attack import left_out_threshold
from safelight.attacks.membership.lira import Lira
from safelight.testing.membership import MembershipContract


class TestOnline(MembershipContract):
    attack = Lira(shadows=8)


class TestOffline(MembershipContract):
    attack = Lira(shadows=8, online=False, views=2)


def test_the_threshold_is_fitted_with_the_attacked_shadow_left_out():
    """Scores that read the attacked shadow's own row are told apart from those that do not."""
    inside = np.array([[True, False]] * 4 + [[False, True]] * 4)
    asked = []

    def score(one, others, rows):
        asked.append((one, others.tolist(), rows.tolist()))
        return inside[one, rows].astype(float)

    assert left_out_threshold(inside, score) == 1.0
    assert all(not others[one] and sum(others) == 7 for one, others, _ in asked)
    assert [one for one, _, _ in asked] == list(range(8))


@pytest.mark.parametrize("inside", [np.zeros((8, 3), dtype=bool), np.ones((8, 3), dtype=bool)])
def test_no_threshold_where_leaving_out_leaves_nobody(inside):
    assert left_out_threshold(inside, lambda one, others, rows: np.zeros(3)) is None
