from safelight.attacks.membership.label_only import LabelOnly
from safelight.testing.membership import MembershipContract


class TestLabelOnly(MembershipContract):
    attack = LabelOnly(views=1)
