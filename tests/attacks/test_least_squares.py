import pytest
import torch
from torch import nn

from safelight.attacks.inversion.least_squares import LeastSquares
from safelight.cache import Cache
from safelight.controls.planted import SilentCloud
from safelight.errors import PlanError
from safelight.metrics.image import psnr
from safelight.stats.seeds import Seeds
from safelight.testing import worlds
from safelight.testing.attacks import AttackContract
from safelight.threats.split_inference import SplitInference


class TestLeastSquares(AttackContract):
    attack = LeastSquares(pictures=300)


def meet(edge, tmp_path):
    threat = SplitInference(cut="relu2", knows="queries")
    roles = worlds.digits()
    return threat.expose(edge, SilentCloud(10), roles, torch.device("cpu"), Cache(tmp_path))


@pytest.fixture
def wide():
    """A random first layer with more channels than its kernel has pixels."""
    torch.manual_seed(0)
    return nn.Conv2d(1, 16, 3, padding=1).requires_grad_(False).eval()


def test_a_wide_first_layer_is_undone_to_rounding(wide, tmp_path):
    seen, secret = meet(wide, tmp_path)
    attack = LeastSquares(pictures=200)
    claim = attack.run(seen.restricted(attack.needs), Seeds(0)).images
    assert float(psnr(claim, secret.victims.images).min()) > 80
    assert claim.shape == secret.victims.images.shape


def test_a_larger_kernel_undoes_a_narrow_layer_better(tmp_path):
    torch.manual_seed(0)
    narrow = nn.Conv2d(1, 4, 3).requires_grad_(False).eval()
    reached = []
    for kernel in (1, 5):
        seen, secret = meet(narrow, tmp_path / str(kernel))
        claim = LeastSquares(pictures=200, kernel=kernel).run(seen, Seeds(0)).images
        reached.append(float(psnr(claim, secret.victims.images).mean()))
    assert reached[1] > reached[0] + 5


def test_what_would_not_fit_in_memory_is_refused(wide, tmp_path):
    seen, _ = meet(wide, tmp_path)
    with pytest.raises(PlanError, match="lower its kernel"):
        LeastSquares(kernel=25).run(seen, Seeds(0))
    with pytest.raises(PlanError, match="odd"):
        LeastSquares(kernel=2).run(seen, Seeds(0))
