import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from safelight.data.sources import embedded
from safelight.metrics.image import PSNR_CAP, SMALLEST, mse, psnr, ssim, ssim_gaussian

SHAPES = [(1, 28, 28), (3, 32, 32), (1, 7, 7), (3, 9, 20), (1, 112, 92), (3, 7, 31)]


def pair(shape, seed=0, n=4, noise=0.2):
    """A batch of pictures and a batch that resembles it: [n, *shape] each."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.rand(n, *shape, generator=rng)
    claim = (truth + noise * torch.randn(truth.shape, generator=rng)).clamp(0, 1)
    return claim, truth


def reference_ssim(claim, truth):
    claim, truth = (x.double().permute(0, 2, 3, 1).numpy() for x in (claim, truth))
    return np.array(
        [
            structural_similarity(a, b, data_range=1.0, channel_axis=2)
            for a, b in zip(claim, truth, strict=True)
        ]
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.3, 3.0])
def test_ssim_agrees_with_scikit_image(shape, noise):
    claim, truth = pair(shape, noise=noise)
    assert ssim(claim, truth).numpy() == pytest.approx(reference_ssim(claim, truth), abs=1e-4)


def test_ssim_agrees_with_scikit_image_on_real_digits():
    digits = embedded.open_split("train").pictures(np.arange(0, 5000, 250))
    claim, truth = torch.from_numpy(digits).split(10)
    assert ssim(claim, truth).numpy() == pytest.approx(reference_ssim(claim, truth), abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.3])
def test_ssim_with_a_gaussian_window_agrees_with_scikit_image(shape, noise):
    claim, truth = pair(shape, noise=noise)
    if min(shape[1:]) < 11:
        assert ssim_gaussian(claim, truth).isnan().all()
        return
    theirs = [
        structural_similarity(
            a,
            b,
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(claim.double().numpy(), truth.double().numpy(), strict=True)
    ]
    assert ssim_gaussian(claim, truth).numpy() == pytest.approx(np.array(theirs), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("other", [0.0, 0.25, 1.0])
def test_ssim_of_flat_pictures_agrees_with_scikit_image(value, other):
    claim, truth = torch.full((1, 1, 28, 28), value), torch.full((1, 1, 28, 28), other)
    assert ssim(claim, truth).numpy() == pytest.approx(reference_ssim(claim, truth), abs=1e-4)


def test_a_gray_picture_copied_into_three_channels_scores_the_same():
    claim, truth = pair((1, 20, 20))
    colored = ssim(claim.expand(-1, 3, -1, -1), truth.expand(-1, 3, -1, -1))
    assert torch.allclose(colored, ssim(claim, truth), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_psnr_agrees_with_scikit_image(shape):
    claim, truth = pair(shape)
    expected = [
        peak_signal_noise_ratio(b.double().numpy(), a.double().numpy(), data_range=1)
        for a, b in zip(claim, truth, strict=True)
    ]
    assert psnr(claim, truth).numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_mse_agrees_with_scikit_image(shape):
    claim, truth = pair(shape)
    expected = [
        mean_squared_error(b.double().numpy(), a.double().numpy())
        for a, b in zip(claim, truth, strict=True)
    ]
    assert mse(claim, truth).numpy() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_compared_with_itself_is_perfect(shape):
    _, truth = pair(shape)
    assert mse(truth, truth).tolist() == [0] * 4
    assert psnr(truth, truth).tolist() == pytest.approx([PSNR_CAP] * 4, abs=1e-3)
    assert ssim(truth, truth).tolist() == pytest.approx([1] * 4, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SHAPES), st.floats(0, 5))
def test_scores_are_symmetric_and_in_range(seed, shape, noise):
    claim, truth = pair(shape, seed, n=2, noise=noise)
    assert torch.allclose(ssim(claim, truth), ssim(truth, claim), atol=1e-5)
    assert torch.equal(mse(claim, truth), mse(truth, claim))
    assert (ssim(claim, truth).abs() <= 1 + 1e-5).all()
    assert (mse(claim, truth) <= 1).all()
    assert ((psnr(claim, truth) >= 0) & (psnr(claim, truth) <= PSNR_CAP + 1e-3)).all()


def test_an_inverted_picture_scores_a_negative_ssim():
    _, truth = pair((1, 28, 28))
    assert (ssim(1 - truth, truth) < 0).all()


def test_black_against_white_has_an_error_of_one_and_no_decibels():
    black, white = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    assert mse(black, white).tolist() == [1, 1]
    assert psnr(black, white).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_more_noise_lowers_ssim_and_psnr():
    scores = [pair((1, 28, 28), noise=noise) for noise in (0.05, 0.1, 0.3)]
    for score in (ssim, psnr):
        values = [float(score(*each).mean()) for each in scores]
        assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("score", [mse, psnr, ssim])
def test_every_picture_is_scored_by_itself(score):
    claim, truth = pair((3, 16, 16), n=5)
    alone = torch.cat([score(claim[i : i + 1], truth[i : i + 1]) for i in range(5)])
    assert score(claim, truth).shape == (5,)
    assert torch.allclose(score(claim, truth), alone, atol=1e-6)


@pytest.mark.parametrize("score", [mse, psnr, ssim])
def test_scores_have_finite_gradients_where_the_claim_is_not_the_truth(score):
    claim, truth = pair((1, 14, 14))
    claim.requires_grad_()
    score(claim, truth).sum().backward()
    assert torch.isfinite(claim.grad).all()
    assert claim.grad.abs().sum() > 0


def test_a_claim_that_is_not_a_number_never_scores_as_a_number():
    _, truth = pair((1, 14, 14), n=1)
    claim = torch.full_like(truth, float("nan"))
    for score in (mse, psnr, ssim):
        assert torch.isnan(score(claim, truth)).all()


def test_the_smallest_picture_that_can_be_scored_is_one_window():
    claim, truth = pair((1, SMALLEST, SMALLEST))
    assert ssim(claim, truth).shape == (4,)
    with pytest.raises(RuntimeError):
        ssim(*pair((1, SMALLEST - 1, SMALLEST)))


def test_ssim_in_the_range_of_the_claim_is_the_literatures():
    draw = np.random.default_rng(0)
    claim = (0.4 + 0.1 * draw.random((3, 28, 28))).astype(np.float32)
    truth = draw.random((3, 28, 28)).astype(np.float32)
    theirs = [
        structural_similarity(a, b, data_range=float(a.max() - a.min()), win_size=7)
        for a, b in zip(claim, truth, strict=True)
    ]
    ours = ssim(torch.from_numpy(claim)[:, None], torch.from_numpy(truth)[:, None], own_range=True)
    assert ours.tolist() == pytest.approx(theirs, abs=1e-4)


def test_a_flat_claim_has_no_range_and_scores_next_to_nothing_in_it():
    flat = torch.full((1, 1, 28, 28), 0.5)
    assert abs(float(ssim(flat, torch.rand(1, 1, 28, 28), own_range=True))) < 1e-3
