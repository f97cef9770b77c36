import dataclasses
import zlib

import numpy as np
import pytest
import torch
from scipy import stats

from safelight.attacks.inversion.decoder import Decoder
from safelight.auditing.run import audit
from safelight.auditing.scoring import swapped
from safelight.auditing.setting import prepare
from safelight.cache import Cache
from safelight.controls.planted import planted_parts
from safelight.defenses.gaussian_noise import GaussianNoise
from safelight.errors import LoadError, PlanError
from safelight.metrics.identity import line_up, rank
from safelight.plan.plan import parse_plan
from safelight.record.store import Run, load_record
from safelight.stats.seeds import Seeds
from safelight.targets.cut import cut
from safelight.testing import worlds
from safelight.testing.threats import ThreatContract
from safelight.threats.observation import Needs
from safelight.threats.trusted_execution import (
    Sizes,
    TrustedExecution,
    Wire,
    depends,
    watch,
)

CPU = torch.device("cpu")
SEEN = Needs(messages=True, queries=True, public=True, labels=True)


class TestPlain(ThreatContract):
    threat = TrustedExecution(cut="relu2")


class TestCompressed(ThreatContract):
    threat = TrustedExecution(cut="fc1", compressed=True, numbers="uint8", pictures="noise")


def met(tmp_path, **options):
    threat = TrustedExecution(cut="relu2", **options)
    return threat.meet(worlds.lenet(), worlds.digits(), CPU, Cache(tmp_path))[0].restricted(SEEN)


def enclave(**options):
    threat = TrustedExecution(cut="relu2", **options)
    sizes, _ = threat.parts(worlds.lenet(), (1, 28, 28))
    assert isinstance(sizes, Sizes)
    return sizes.enclave


def test_nothing_but_whole_numbers_of_bytes_is_seen(tmp_path):
    view = met(tmp_path, compressed=True)
    assert view.messages.shape == (40, 2)
    assert torch.equal(view.messages, view.messages.round())
    assert view.messages.min() > 0


@pytest.mark.parametrize(
    ("numbers", "sizes"), [("float16", (2 * 1024 + 4, 24)), ("uint8", (1024 + 12, 22))]
)
def test_without_compression_every_picture_has_the_same_size(tmp_path, numbers, sizes):
    view = met(tmp_path, numbers=numbers)
    assert torch.equal(view.messages, torch.tensor([sizes], dtype=torch.float32).repeat(40, 1))


def test_the_size_is_that_of_the_deflated_message(tmp_path):
    pictures = worlds.digits().victims.images
    messages = cut(worlds.lenet().model, "relu2", (1, 28, 28))(pictures)
    wanted = [len(zlib.compress(one.half().numpy().tobytes())) + 4 for one in messages]
    view = met(tmp_path, compressed=True)
    assert view.messages[:, 0].tolist() == wanted
    assert len(set(wanted)) > 20


def test_what_was_padded_is_a_multiple_and_hides_sizes_up_to_it(tmp_path):
    padded = met(tmp_path, compressed=True, padded_to=256).messages
    exact = met(tmp_path, compressed=True).messages
    assert not (padded % 256).any()
    assert ((padded - exact >= 0) & (padded - exact < 256)).all()
    whole = met(tmp_path, compressed=True, padded_to=4096).messages
    assert torch.equal(whole, torch.full_like(whole, 4096))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("padded_to", [1, 64])
def test_bytes_are_the_message_to_the_precision_of_their_numbers(compressed, padded_to):
    message = torch.randn(16, 8, 8, generator=torch.Generator().manual_seed(0)).relu() * 30
    half = Wire("float16", compressed, padded_to)
    assert torch.equal(half.decode(half.encode(message), (16, 8, 8)), message.half().float())
    byte = Wire("uint8", compressed, padded_to)
    error = (byte.decode(byte.encode(message), (16, 8, 8)) - message).abs().max()
    assert error <= float(message.max()) / 255 / 2 * 1.001
    flat = torch.full((3,), 2.5)
    assert torch.equal(byte.decode(byte.encode(flat), (3,)), flat)


@pytest.mark.parametrize("numbers", ["float16", "uint8"])
def test_the_enclave_answers_as_the_model_does(numbers):
    one, pictures = enclave(numbers=numbers, compressed=True), worlds.digits().victims.images
    answers = [one.wire.decode(back, (10,)) for back in one.answered(*one.sent(pictures))]
    logits = worlds.lenet().model(pictures)
    assert torch.stack(answers).argmax(1).eq(logits.argmax(1)).float().mean() >= 0.95
    assert torch.allclose(torch.stack(answers), logits, atol=0.02 if numbers == "float16" else 0.5)


def test_message_and_cloud_stay_hidden_and_options_tell_observations_apart(tmp_path):
    offers = TrustedExecution(cut="relu2").offers
    assert not offers.weights
    assert not offers.cloud
    threat = TrustedExecution(cut="relu2", padded_to=4096)
    prints = set()
    for one in (threat, dataclasses.replace(threat, numbers="uint8")):  # the same sizes
        seen, _ = one.meet(worlds.lenet(), worlds.digits(), CPU, Cache(tmp_path))
        prints.add(seen._sight.fingerprint)
    assert len(prints) == 2


def test_what_cannot_be_watched_is_told():
    with pytest.raises(LoadError, match="did you mean 'relu2'"):
        TrustedExecution(cut="rleu2").parts(worlds.lenet(), (1, 28, 28))
    defended = dataclasses.replace(worlds.lenet(), release=GaussianNoise(deviation=0.5))
    with pytest.raises(PlanError, match="nobody sees them; leave"):
        TrustedExecution(cut="relu2").parts(defended, (1, 28, 28))


def named(claim, truth):
    suspects = line_up(worlds.digits().holdout, truth, 100)
    return float((rank(claim, truth.images, truth.labels, suspects) == 1).float().mean())


@pytest.mark.parametrize("compressed", [False, True])
def test_a_decoder_runs_on_sizes_and_finds_nothing_where_all_are_equal(tmp_path, compressed):
    threat = TrustedExecution(cut="relu2", compressed=compressed)
    seen, secret = threat.meet(worlds.lenet(), worlds.digits(), CPU, Cache(tmp_path))
    attack = Decoder(steps=15, width=2, blocks=1)
    claim = attack.run(seen.restricted(attack.needs), Seeds(0)).images
    assert torch.isfinite(claim).all()
    if not compressed:
        assert torch.equal(claim, claim[:1].expand_as(claim))
    assert named(claim, secret.victims) <= 0.2  # 8 of 40 at 1 %: once in 10^10
    suspects = line_up(worlds.digits().holdout, secret.victims, 100)
    assert sum(swapped(claim, secret.victims, suspects)) <= 8


def test_the_planted_leak_takes_the_place_of_the_sizes_and_is_found(tmp_path):
    threat = TrustedExecution(cut="relu2")
    edge, cloud = planted_parts((2,), worlds.lenet().model, (1, 28, 28))
    seen, secret = threat.expose(edge, cloud, worlds.digits(), CPU, Cache(tmp_path))
    attack = Decoder(steps=100, width=4, blocks=1)
    claim = attack.run(seen.restricted(attack.needs), Seeds(0)).images
    assert named(claim, secret.victims) > 0.5


def test_dependences_of_the_digits_sizes_are_what_the_sizes_say():
    threat = TrustedExecution(cut="relu2", timing=False)
    plain = threat.dependences(worlds.lenet(), worlds.digits(), CPU)
    assert [(one.what, one.low, one.high, one.by_picture_p) for one in plain] == [
        ("bytes into the enclave (float16, not compressed)", 2052, 2052, 1),
        ("bytes out of the enclave (float16, not compressed)", 24, 24, 1),
    ]
    packed = dataclasses.replace(threat, compressed=True)
    sent = packed.dependences(worlds.lenet(), worlds.digits(), CPU)[0]
    assert sent.by_picture == pytest.approx(1)
    assert sent.by_picture_p < 0.01
    assert sent.low < sent.typical < sent.high < 2052


def test_times_are_measured_picture_by_picture():
    images = worlds.digits().victims.images[:5]
    seen = watch(enclave(), images, 4)
    assert seen.shape == (3, 4, 5)
    assert (seen[0] == 2052).all()
    assert (seen[2] > 0).all()
    assert len(np.unique(seen[2])) > 10


class _Slow(torch.nn.Module):
    """A cloud whose time depends on the picture: it computes once more for each bright message."""

    def forward(self, message):
        work = torch.ones(200, 200)
        for _ in range(40 if float(message.mean()) > 0.5 else 1):
            work = work @ work / 200
        return message.flatten(1)[:, :10]


def test_a_cloud_whose_time_depends_on_the_picture_is_found_out():
    one = enclave()
    one.edge, one.cloud = torch.nn.Identity(), _Slow()
    images = torch.zeros(12, 1, 4, 4)
    images[::2] = 1
    labels = np.tile([1, 0], 6)
    found = depends("time", "ms", watch(one, images, 8)[2], labels)
    assert found.by_picture_p < 0.01
    assert found.by_class > 0.5


def test_concordance_is_kendalls_and_its_test_agrees_with_friedmans():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 30)) + 0.4 * rng.normal(size=30)
    found = depends("time", "ms", values, np.zeros(30, np.int64))
    statistic, p = stats.friedmanchisquare(*values.T)
    assert found.by_picture == pytest.approx(statistic / (8 * 29))
    assert found.by_picture_p == pytest.approx(p, abs=0.03)
    assert found.by_class_p == 1


def test_share_between_classes_is_kruskals():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 60)
    values = rng.normal(size=60) + 0.4 * classes
    found = depends("bytes", "bytes", np.stack([values, values]), classes)
    statistic, p = stats.kruskal(*(values[classes == one] for one in range(4)))
    assert found.by_class == pytest.approx(statistic / 59)
    assert found.by_class_p == pytest.approx(p, abs=0.02)


def test_noise_is_called_a_dependence_no_more_often_than_it_may():
    rng = np.random.default_rng(0)
    drift = np.linspace(0, 5, 6)[:, None]  # a machine that grows slower
    ps = [
        depends("time", "ms", rng.gamma(1, size=(6, 20)) + drift, np.arange(20) % 4)
        for _ in range(30)
    ]
    # 30 tests at 10 %: 3 expected; 10 or more once in 2,000.
    assert sum(one.by_picture_p <= 0.1 for one in ps) < 10
    assert sum(one.by_class_p <= 0.1 for one in ps) < 10


def test_an_audit_carries_the_assumptions_and_repeats_whatever_the_clock(tmp_path, monkeypatch):
    monkeypatch.setattr("safelight.controls.nulls.TEMPLATE_STEPS", 5)
    count = {"public": {"count": 200}, "victims": {"count": 20}, "holdout": {"count": 1000}}
    small = {"name": "inversion/decoder", "steps": 5, "width": 2, "blocks": 1}
    plan = {
        "name": "enclave",
        "data": {"source": "embedded", **count},
        "target": {"model": "lenet", "weights": "shipped"},
        "threats": [
            {"name": "trusted_execution", "cut": "relu2"},
            {"name": "split_inference", "cut": "relu2"},
        ],
        "attacks": [small, {"name": "inversion/query_template"}],
    }
    plan["threats"][1]["attacks"] = ["inversion/decoder"]
    records = []
    for name in ("first", "again"):
        setting = prepare(parse_plan(plan, "the test's plan"))
        records.append(audit(setting, Run(tmp_path / name), lambda *_: None))
    first, again = records
    assert first.measurements_sha256() == again.measurements_sha256()
    sealed, refused, split = first.findings
    assert sealed.assumptions == refused.assumptions == list(TrustedExecution.assumptions)
    assert split.assumptions == []
    assert not [cell.reason for cell in first.cells if cell.status != "ok"]
    assert "needs cloud" in refused.skipped  # no answer is seen, so no class either
    assert [one.unit for one in first.dependences] == ["bytes", "bytes", "ms"]
    assert [one.where for one in first.deployments] == ["relu2"]  # of the split alone
    assert load_record(tmp_path / "first") == first
