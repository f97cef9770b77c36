from safelight.attacks.membership.discriminator_score import DiscriminatorScore
from safelight.testing.generators import GeneratorContract


class TestPlain(GeneratorContract):
    attack = DiscriminatorScore()


class TestCalibrated(GeneratorContract):
    attack = DiscriminatorScore(calibrate=True)
