import dataclasses

import pytest
import torch

from safelight.attacks.extraction.latent_search import LatentSearch, descend
from safelight.stats.seeds import Seeds
from safelight.targets.generators.stylegan2 import stylegan2
from safelight.testing.generators import GeneratorContract, attacked, watch
from safelight.threats.released_generator import Painter

BRIEF = LatentSearch(searches=200, steps=5, samples=300)


class TestMembership(GeneratorContract):
    attack = BRIEF


class TestConfidence(GeneratorContract):
    attack = dataclasses.replace(BRIEF, guide="confidence", space="w")


class TestClassifier(GeneratorContract):
    attack = dataclasses.replace(BRIEF, guide="classifier", space="w+")


class TestSimilar(GeneratorContract):
    attack = dataclasses.replace(BRIEF, guide="similar")


class TestEvolution(GeneratorContract):
    attack = dataclasses.replace(BRIEF, guide="membership", by="evolution", steps=2)


class TestEvolutionByConfidence(GeneratorContract):
    attack = dataclasses.replace(BRIEF, guide="confidence", by="evolution", steps=2)


class TestEvolutionByClassifier(GeneratorContract):
    attack = dataclasses.replace(BRIEF, guide="classifier", by="evolution", steps=2)


class TestEvolutionBySimilar(GeneratorContract):
    attack = dataclasses.replace(BRIEF, guide="similar", by="evolution", steps=2)


def test_evolution_outside_z_is_refused_with_the_remedy():
    attack = LatentSearch(by="evolution", space="w+")
    assert "set space = 'z'" in attack.unfit(watch("nothing")[0])


def test_a_wider_space_reconstructs_better_whatever_the_picture():
    """w+ of an untrained StyleGAN2 comes nearer to real digits than w, and w than z."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = stylegan2(
            16, z_dim=8, w_dim=8, img_channels=1, channel_base=128, channel_max=16, mapping_layers=2
        )
    painter = Painter(generator.eval().requires_grad_(False))
    wanted = watch("nothing")[0].candidates.images[:12]
    z = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))

    def error(pictures, rows):
        return (pictures - wanted[rows]).square().flatten(1).mean(1)

    rows = torch.arange(12)
    found = {
        space: float(error(descend(painter, error, z, None, space, 40), rows).mean())
        for space in ("z", "w", "w+")
    }
    start = float(error(painter.of_z(z).clamp(0, 1), rows).mean())
    assert found["w+"] < found["w"] < start
    assert found["z"] < start


@pytest.mark.parametrize("guide", ["membership", "confidence"])
def test_what_is_claimed_does_not_depend_on_candidates(guide):
    outcome, _ = attacked(dataclasses.replace(BRIEF, guide=guide), "everything")
    seen, _ = watch("everything")
    attack = dataclasses.replace(BRIEF, guide=guide)
    assert not attack.needs.candidates
    claim = attack.run(seen.restricted(attack.needs), Seeds(0))
    assert len(claim.images) == outcome.claims == 200
