import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from safelight.attacks.inversion import class_means
from safelight.attacks.inversion.class_means import ClassMeans
from safelight.cache import Cache
from safelight.metrics.image import psnr, ssim
from safelight.stats.seeds import Seeds
from safelight.targets.cut import Cloud, cut
from safelight.testing import worlds
from safelight.testing.attacks import AttackContract
from safelight.threats.split_inference import SplitInference


class TestClassMeans(AttackContract):
    attack = ClassMeans()


def watch(layer, tmp_path, knows="cloud"):
    threat = SplitInference(cut=layer, knows=knows)
    roles, model = worlds.digits(victims=300), worlds.lenet().model
    edge = cut(model, layer, roles.victims.shape)
    cloud = Cloud(edge, roles.victims.shape)
    return threat.expose(edge, cloud, roles, torch.device("cpu"), Cache(tmp_path))


@pytest.mark.parametrize(("layer", "gain"), [("relu2", 0.1), ("conv1", 0.2)])
def test_digits_are_rebuilt_without_queries_better_than_the_mean_of_their_class(
    layer, gain, tmp_path, monkeypatch
):
    monkeypatch.setattr(class_means, "REFINEMENTS", 40)
    seen, secret = watch(layer, tmp_path)
    attack = ClassMeans()
    claim = attack.run(seen.restricted(attack.needs), Seeds(0)).images
    victims, public = secret.victims, seen.public
    template = torch.stack([public.images[public.labels == k].mean(0) for k in range(10)])
    null = ssim(template[victims.labels], victims.images).mean()
    assert float(ssim(claim, victims.images).mean()) > float(null) + gain


def test_refinement_helps_a_linear_message(tmp_path, monkeypatch):
    reached = []
    for refinements in (0, 30):
        seen, secret = watch("conv1", tmp_path / str(refinements))
        monkeypatch.setattr(class_means, "REFINEMENTS", refinements)
        claim = ClassMeans().run(seen.restricted(ClassMeans.needs), Seeds(0)).images
        reached.append(float(psnr(claim, secret.victims.images).mean()))
    assert reached[1] > reached[0] + 1


def test_the_map_is_that_of_ridge_regression(tmp_path):
    """In both forms, against the normal equations written out."""
    seen, _ = watch("relu2", tmp_path)
    layout = class_means.layouts(seen.message_shape, seen.image_shape)[1]
    said = seen.cloud(seen.messages).softmax(1)
    ties = class_means._Ties(said, seen.labels, layout, seen.messages, seen.public.images)
    for classes in ([0, 3], list(range(10))):  # fewer rows than columns, and more
        (found,) = ties.maps(classes, 1, [0.1])
        some = ties.share[classes].sqrt()[:, None, None]
        a = (ties.messages[classes].flatten(2) * some).transpose(1, 2).flatten(0, 1)
        b = (ties.pictures[classes].flatten(2) * some).transpose(1, 2).flatten(0, 1)
        gram = a.T @ a
        ridge = 0.1 * gram.diagonal().mean() * torch.eye(len(gram))
        assert torch.allclose(
            found[:, :, 0, 0].T, torch.linalg.solve(gram + ridge, a.T @ b), atol=1e-4
        )


def test_places_of_a_message_lie_over_the_picture_or_over_its_middle():
    whole, middle = class_means.layouts((16, 8, 8), (1, 28, 28))
    assert (whole.stride, whole.cells) == (4, (8, 8))
    assert (middle.stride, middle.cells, middle.padding) == (2, (14, 14), (3, 3, 3, 3))
    assert len(class_means.layouts((64, 16, 16), (3, 32, 32))) == 1
    pictures = torch.rand(3, 1, 28, 28)
    assert torch.equal(middle.unfolded(middle.folded(pictures)), pictures)
    assert middle.padded(torch.rand(3, 16, 8, 8)).shape == (3, 16, 14, 14)


def test_a_message_without_a_grid_answers_for_the_whole_picture():
    (layout,) = class_means.layouts((120,), (3, 20, 28))
    pictures = F.interpolate(torch.rand(2, 3, 4, 4), (20, 28), mode="bilinear")
    folded = layout.folded(pictures)
    assert folded.shape == (2, 3 * 28 * 28, 1, 1)
    assert torch.allclose(layout.unfolded(folded), pictures, atol=0.02)


def test_colors_at_an_offset_are_the_products_of_centered_pixels():
    pictures = torch.rand(6, 2, 9, 9)
    found = class_means._covariances(pictures)
    centered = pictures - pictures.mean(0)
    number = class_means.OFFSETS.index((2, -3))
    shifted = F.pad(centered, (3, 0, 0, 2))[:, :, 2:, :9]  # what lies two down and three left
    product = (centered[:, 0] * shifted[:, 1])[:, :7, 3:]
    assert torch.allclose(found[number][0, 1], product.mean(), atol=1e-6)


def test_public_pictures_are_taken_in_the_victims_proportions():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    rows = class_means._in_proportion(labels, torch.tensor([0.5, 0.4, 0.1]))
    assert torch.bincount(labels[rows]).tolist() == [50, 40, 10]
    alone = class_means._in_proportion(labels, torch.tensor([0.0, 1.0, 0.0]))
    assert torch.bincount(labels[alone], minlength=3)[1] == 50


def test_tones_are_those_of_public_pictures_and_their_order_stays():
    draw = torch.Generator().manual_seed(0)
    rebuilt = torch.randn(4, 2, 9, 9, generator=draw)
    pictures = torch.rand(40, 2, 9, 9, generator=draw) ** 3
    toned = class_means._toned(rebuilt, pictures)
    assert toned.shape == rebuilt.shape
    for color in range(2):
        levels = torch.tensor([0.1, 0.5, 0.9])
        ours, theirs = (one[:, color].flatten().quantile(levels) for one in (toned, pictures))
        assert torch.allclose(ours, theirs, atol=0.02)
        order = rebuilt[:, color].flatten().argsort()
        assert (toned[:, color].flatten()[order].diff() >= 0).all()


def test_a_linear_map_carries_the_mean_of_the_victims():
    """The message is the picture plus a constant: its mean comes back, whatever is public."""
    draw = torch.Generator().manual_seed(0)
    picture, public = torch.rand(2, 1, 12, 12, generator=draw)
    (layout,) = class_means.layouts((1, 12, 12), (1, 12, 12))
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1.0
    found = class_means._own_mean(weight, layout, public, picture - 5.0)[0]
    constant = (public - picture)[:, 1:-1, 1:-1].mean()
    assert torch.allclose(found[:, 1:-1, 1:-1], picture[:, 1:-1, 1:-1] + constant, atol=1e-5)
    assert torch.equal(found[:, 0], public[:, 0])


@pytest.mark.parametrize(("layer", "explained"), [("conv1", 0.9), ("relu2", 0.3), ("fc1", 0.3)])
def test_the_other_way_round_class_means_say_about_what_a_picture_would_send(
    layer, explained, tmp_path
):
    seen, secret = watch(layer, tmp_path)
    expected = class_means.likely_messages(seen.restricted(ClassMeans.needs))
    victims, sent = secret.victims.images, seen.messages
    guess = expected(victims)
    assert guess.shape == sent.shape
    unit = class_means.deviation_of(sent)
    error = ((guess - sent) / unit).square().mean()
    spread = ((sent - sent.mean(0)) / unit).square().mean()
    assert float(1 - error / spread) > explained
    bounds = [getattr(sent, bound)((0, *range(2, sent.ndim))) for bound in ("amin", "amax")]
    channels = guess.transpose(0, 1).flatten(1)
    assert (channels.min(1).values >= bounds[0] - 1e-5).all()
    assert (channels.max(1).values <= bounds[1] + 1e-5).all()
