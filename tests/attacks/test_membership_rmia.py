from safelight.attacks.membership.rmia import Rmia
from safelight.testing.membership import MembershipContract


class TestOnline(MembershipContract):
    attack = Rmia(shadows=8)


class TestOffline(MembershipContract):
    attack = Rmia(shadows=8, online=False)
