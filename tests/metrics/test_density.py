import numpy as np
import torch
from scipy.stats import gaussian_kde, spearmanr
from sklearn.decomposition import PCA

from safelight.metrics.density import components, kernel_density, neighbor_density


def draw(count, seed, d=3):
    return torch.randn(count, d, generator=torch.Generator().manual_seed(seed))


def test_components_are_those_of_another_implementation():
    made = torch.rand(300, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    theirs = PCA(4, whiten=True).fit(made.flatten(1).numpy()).transform(made.flatten(1).numpy())
    ours = components(made, 4)(made).numpy()[:, ::-1]
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=5e-3)
    plain = components(made, 25, whiten=False)(made)
    assert np.allclose(
        torch.cdist(plain, plain).numpy(),
        torch.cdist(made.flatten(1), made.flatten(1)).numpy(),
        atol=5e-3,
    )


def test_the_kernel_estimate_is_that_of_another_implementation():
    """Independent coordinates: a bandwidth for each is then nearly scipy's matrix."""
    among, points = draw(4000, 0), draw(50, 1)
    theirs = gaussian_kde(among.double().numpy().T).logpdf(points.double().numpy().T)
    assert np.allclose(kernel_density(points, among).numpy(), theirs, atol=0.1)


def test_neighbors_find_the_ratio_of_two_known_densities():
    wide, narrow, points = 2 * draw(20000, 0), draw(20000, 1), draw(300, 2)
    found = neighbor_density(points, narrow, 20) - neighbor_density(points, wide, 20)
    exact = 3 * np.log(2) - points.square().sum(1).numpy() * (0.5 - 0.125)
    assert spearmanr(found.numpy(), exact).statistic > 0.85
    assert abs(float((found.numpy() - exact).mean())) < 0.1


def test_equal_pictures_are_dense_and_finite():
    points = torch.zeros(2, 3)
    assert torch.isfinite(neighbor_density(points, torch.zeros(10, 3), 5)).all()
