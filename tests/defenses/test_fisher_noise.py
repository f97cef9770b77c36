import dataclasses

import pytest
import torch
from torch import nn

from safelight.bounds.fisher import gram
from safelight.cache import Cache
from safelight.controls.planted import PlantedLeak
from safelight.defenses.fisher_noise import FisherNoise
from safelight.stats.seeds import Seeds
from safelight.targets.release import UNIT
from safelight.testing import worlds
from safelight.testing.releases import ReleaseDefenseContract
from safelight.threats.observation import Link, Needs
from safelight.threats.split_inference import SplitInference

SEEN = Needs(messages=True, queries=True, weights=True, public=True)


class TestFisherNoise(ReleaseDefenseContract):
    defense = FisherNoise(leakage=4.0, probes=8)


def lenet_edge():
    edge, _ = SplitInference(cut="relu2").parts(worlds.lenet(), (1, 28, 28))
    return edge


def exact_traces(edge, pictures):
    """tr(J'J) from the whole Jacobian, by the code of the bounds: not by random signs."""
    return torch.stack([gram(edge, one).trace() for one in pictures])


def test_every_picture_leaks_what_is_stated():
    edge, pictures = lenet_edge(), worlds.digits().victims.images[:4]
    traces = exact_traces(edge, pictures) / pictures[0].numel()
    found = FisherNoise(leakage=10.0, probes=64).deviations(edge, pictures).double()
    told = traces / found**2
    assert float(told.mean()) == pytest.approx(10.0, rel=0.06)
    assert float((told / 10 - 1).abs().max()) < 0.12
    # A single deviation for all of them leaks more of some than of others.
    single = traces / found.square().mean()
    assert float(single.std()) > 2 * float(told.std())


def test_the_deviation_is_exact_where_probes_do_not_matter():
    # J is diagonal, so that |J'u|^2 is the trace for every vector of signs.
    class Gains(nn.Module):
        def forward(self, x):
            return x.flatten(1).square() / 2  # J = diag(x)

    pictures = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    found = FisherNoise(leakage=0.7, probes=1).deviations(Gains(), pictures)
    stated = (pictures.flatten(1).square().mean(1) / 0.7).sqrt()
    assert torch.allclose(found, stated, rtol=1e-5)
    # Four times the leakage, half the noise.
    less = FisherNoise(leakage=2.8, probes=1).deviations(Gains(), pictures)
    assert torch.allclose(2 * less, found, rtol=1e-5)


def test_a_picture_gets_the_same_deviation_in_any_company_and_each_time():
    edge, pictures = lenet_edge(), worlds.digits().public.images[:120]
    defense = FisherNoise(probes=2)
    together = defense.deviations(edge, pictures)
    assert torch.equal(together, defense.deviations(edge, pictures))
    apart = torch.cat([defense.deviations(edge, part) for part in pictures.split(50)])
    assert torch.allclose(together, apart, rtol=1e-4)
    assert len(together.unique()) > 100  # and another picture another one


def test_an_edge_that_tells_nothing_gets_no_noise():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 3)

    assert FisherNoise().deviations(Constant(), torch.rand(2, 1, 4, 4)).tolist() == [0.0, 0.0]
    assert FisherNoise().deviations(Constant(), torch.rand(0, 1, 4, 4)).shape == (0,)


def test_what_leaves_carries_the_noise_of_its_own_picture():
    edge, pictures = lenet_edge(), worlds.digits().victims.images[:20]
    defense = FisherNoise(leakage=5.0, probes=4)
    link = Link(edge, nn.Identity(), release=defense)
    stated = defense.deviations(edge, pictures)
    sent = torch.stack([link.leaving(pictures, Seeds(one)) for one in range(4)])
    measured = (sent - link.computed(pictures)).transpose(0, 1).flatten(1).std(1)
    assert torch.allclose(measured, stated, rtol=0.08)
    assert not sent.requires_grad


def test_the_mean_of_several_sends_carries_less_of_the_same_noise():
    edge, pictures = lenet_edge(), worlds.digits().victims.images[:20]
    defense = FisherNoise(leakage=5.0, probes=4)
    link = Link(edge, nn.Identity(), release=defense, sends=9)
    assert link.random
    assert link.noisy
    left = (link.send(pictures, Seeds(0)) - link.computed(pictures)).flatten(1).std(1)
    assert torch.allclose(3 * left, defense.deviations(edge, pictures), rtol=0.15)


def test_a_planted_leak_is_calibrated_as_the_picture_that_it_is():
    pictures = worlds.digits().victims.images[:10]
    leak = PlantedLeak((16, 28, 28), 1)
    link = Link(leak, nn.Identity(), release=FisherNoise(leakage=25.0, probes=64))
    noise = link.leaving(pictures, Seeds(0)) - link.computed(pictures)
    told = exact_traces(leak, pictures[:1]) / (28**2 * noise[0].double().var())
    assert float(told) == pytest.approx(25.0, rel=0.1)


def test_who_does_not_know_of_it_trains_on_clean_messages(tmp_path):
    target = dataclasses.replace(worlds.lenet(), release=FisherNoise(probes=2))
    for aware in (True, False):
        threat = SplitInference(cut="relu2", aware=aware)
        seen, _ = threat.meet(target, worlds.digits(), torch.device("cpu"), Cache(tmp_path))
        view = seen.restricted(SEEN)
        pictures = view.public.images[:5]
        assert torch.equal(view.query(pictures), view.edge(pictures)) != aware
        assert not torch.equal(view.messages, view.edge(worlds.digits().victims.images))


def test_without_an_edge_the_message_counts_as_the_picture():
    computed = torch.zeros(50, 400)
    draw = torch.Generator().manual_seed(0)
    sent = FisherNoise(leakage=4.0).release(computed, UNIT, draw)
    assert float(sent.std()) == pytest.approx(0.5, rel=0.03)
