from safelight.attacks.membership.density_ratio import DensityRatio
from safelight.testing.generators import GeneratorContract


class TestNeighbors(GeneratorContract):
    attack = DensityRatio(samples=1000, components=20)


class TestKernel(GeneratorContract):
    attack = DensityRatio(samples=1000, components=10, estimate="kernel")
