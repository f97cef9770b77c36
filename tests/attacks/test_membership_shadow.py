from safelight.attacks.membership.shadow import Shadow
from safelight.testing.membership import MembershipContract


class TestShadow(MembershipContract):
    attack = Shadow(shadows=8)


class TestOnOwnPictures(MembershipContract):
    attack = Shadow(shadows=8, online=False)
