"""Distances against other implementations, and the search against comparing all with all."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from safelight.errors import DataError
from safelight.filtering import calibration, distances
from safelight.filtering.index import Index


@pytest.fixture(scope="module")
def pairs():
    rng = torch.Generator().manual_seed(1)
    one = torch.rand(12, 3, 32, 32, generator=rng)
    return one, (one + 0.2 * torch.randn(one.shape, generator=rng)).clamp(0, 1)


def test_ssim_is_scikit_images(pairs):
    found = distances.in_pixels(*pairs)[:, 0]
    for one, other, apart in zip(*pairs, found, strict=True):
        theirs = structural_similarity(one.numpy(), other.numpy(), data_range=1, channel_axis=0)
        assert apart == pytest.approx(1 - theirs, abs=1e-5)


def test_patched_is_the_worst_of_sixteen_tiles(pairs):
    found = distances.in_pixels(*pairs)[:, 1]
    for one, other, apart in zip(*pairs, found, strict=True):
        squares = ((one - other) ** 2).numpy()
        tiles = [
            np.sqrt(squares[:, y : y + 8, x : x + 8].mean())
            for y in range(0, 32, 8)
            for x in range(0, 32, 8)
        ]
        assert apart == pytest.approx(max(tiles), rel=1e-5)


def test_coarse_pictures_are_never_farther_apart_than_their_worst_tile(pairs):
    """What the floor of the search rests on."""
    one, other = (distances.coarse(side) for side in pairs)
    root_mean_square = (one - other).norm(dim=1) / one.shape[1] ** 0.5
    assert (root_mean_square <= distances.in_pixels(*pairs)[:, 1]).all()


def test_the_embedding_ignores_a_shift_but_no_other_picture(digits):
    pictures = digits.protected.float() / 255
    shifted = torch.cat([pictures[..., :1], pictures[..., :-1]], dim=-1)
    points = distances.embedding(pictures)
    moved = (points - distances.embedding(shifted)).norm(dim=1)
    apart = torch.cdist(points, points).fill_diagonal_(torch.inf).min(1).values
    assert (moved < apart).float().mean() > 0.98


def test_finds_whom_a_comparison_with_all_finds(digits):
    index = Index(digits.protected)
    originals = digits.protected[:15].float() / 255
    copies = torch.cat(list(calibration.copies(originals, 0).values()))
    copies = torch.cat([copies, digits.fresh[:20].float() / 255])
    found = index.nearest(copies)
    every = digits.protected.float() / 255
    count, size = len(copies), len(every)
    pixels = distances.in_pixels(
        copies.repeat_interleave(size, 0), every.repeat(count, 1, 1, 1)
    ).unflatten(0, (count, size))
    embedded = torch.cdist(
        distances.embedding(copies),
        distances.embedding(every),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    standard = [distances.standardized(distances.coarse(one)) for one in (copies, every)]
    coarse = torch.cdist(*standard, compute_mode="donot_use_mm_for_euclid_dist")
    whole = torch.stack([embedded.amin(1), coarse.amin(1)], dim=1)
    best = torch.cat([pixels.amin(1), whole], dim=1)
    assert (found.distances >= best - 1e-4).all()
    # Two are searched whole; near in pixels is never missed, far may be a little off.
    torch.testing.assert_close(found.distances[:, 2:], best[:, 2:], atol=1e-3, rtol=1e-3)
    close = best[:, 1] < 0.12
    torch.testing.assert_close(found.distances[close, 1], best[close, 1])
    close = best[:, 0] < 0.1
    torch.testing.assert_close(found.distances[close, 0], best[close, 0])
    assert close.sum() > 20


def test_gray_and_color_and_other_sizes_are_brought_together(digits):
    gray = digits.protected[:20]
    index = Index(gray)
    color = gray.float().expand(-1, 3, -1, -1) / 255
    assert index.nearest(index.fit(color)).distances.max() < 1e-3
    larger = torch.nn.functional.interpolate(color, scale_factor=2, mode="nearest")
    assert index.nearest(index.fit(larger)).rows[:, 1].tolist() == list(range(20))
    colored = Index(gray.expand(-1, 3, -1, -1))
    assert colored.nearest(colored.fit(gray.float() / 255)).distances.max() < 1e-3


def test_flat_and_single_pictures_have_distances():
    index = Index(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    found = index.nearest(torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]))
    assert found.distances[0].max() < 1e-5
    assert found.distances[1, 1] == 1
    assert torch.isfinite(found.distances).all()


def test_an_index_of_nothing_is_refused():
    with pytest.raises(DataError, match="give one protected picture"):
        Index(torch.zeros(0, 3, 32, 32, dtype=torch.uint8))
