from safelight.attacks.membership.threshold import Threshold
from safelight.testing.membership import MembershipContract


class TestThreshold(MembershipContract):
    attack = Threshold()


class TestPerClass(MembershipContract):
    attack = Threshold(per_class=True, shadows=8)
