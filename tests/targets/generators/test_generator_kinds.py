"""What every generator does: shapes, gradients, training, truncation, mixing, noise, ``run``."""

import numpy as np
import pytest
import torch

from safelight.errors import PlanError
from safelight.targets.generators.mapping import mixed


def codes(generator, n, dtype=torch.float32):
    z = torch.randn(n, generator.z_dim, dtype=dtype)
    if not generator.c_dim:
        return z, None
    return z, torch.eye(generator.c_dim, dtype=dtype)[torch.arange(n) % generator.c_dim]


@pytest.mark.parametrize("resolution", [16, 32, 64])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_images_have_the_resolution_and_depend_on_code_and_label(kind, resolution, c_dim):
    generator = kind(resolution, c_dim=c_dim, img_channels=1).eval()
    z, labels = codes(generator, 2)
    with torch.no_grad():
        images = generator(z, labels)
        ws = generator.mapping(z, labels)
        assert images.shape == (2, 1, resolution, resolution)
        assert images.isfinite().all()
        assert ws.shape == (2, generator.num_ws, generator.w_dim)
        assert torch.equal(images, generator.synthesis(ws))
        assert not torch.allclose(images[0], images[1])
        assert not c_dim or not torch.allclose(images, generator(z, labels.roll(1, 1)))


def test_the_derivative_is_that_of_finite_differences(kind):
    """Along one direction in codes, and one in all weights at once."""
    generator = kind(16, c_dim=2).double().eval()
    with torch.no_grad():
        for one in generator.parameters():  # away from the start, where constants are normalized
            one += 0.1 * torch.randn_like(one)
    z, labels = codes(generator, 2, torch.float64)
    z.requires_grad_()
    direction = torch.randn_like(generator(z, labels))
    leaves = [z, *generator.parameters()]
    steps = [torch.randn_like(leaf) for leaf in leaves]

    def value():
        return (generator(z, labels) * direction).sum()

    slopes = torch.autograd.grad(value(), leaves, allow_unused=True)
    for chosen in ({0}, set(range(1, len(leaves)))):
        expected = 0.0
        for sign in (1, -1):
            moved = [(leaves[i], sign * 1e-7 * steps[i]) for i in chosen]
            with torch.no_grad():
                for leaf, step in moved:
                    leaf += step
                expected += sign * float(value()) / 2e-7
                for leaf, step in moved:
                    leaf -= step
        found = sum(float((slopes[i] * steps[i]).sum()) for i in chosen if slopes[i] is not None)
        assert found == pytest.approx(expected, rel=1e-4)


def test_every_layer_that_is_used_gets_a_gradient(kind):
    generator = kind(16, c_dim=2)
    generator(*codes(generator, 2)).square().mean().backward()
    assert all(one.grad is not None for one in generator.parameters())


def test_a_few_steps_of_training_lower_the_loss(kind):
    generator = kind(32, img_channels=1)
    z, _ = codes(generator, 4)
    images = torch.zeros(4, 1, 32, 32)
    images[:, :, 8:24, 8:24] = torch.linspace(0.2, 1, 4)[:, None, None, None]
    adam = torch.optim.Adam(generator.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        loss = (generator(z) - images).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_truncation_draws_the_first_layers_to_the_mean(styled):
    generator = styled(16).eval()
    generator.mapping.w_avg.normal_()
    z, _ = codes(generator, 3)
    mean, ws = generator.mapping.w_avg, generator.mapping(z)
    half = generator.mapping(z, truncation_psi=0.5)
    assert torch.allclose(half, (ws + mean) / 2)
    partly = generator.mapping(z, truncation_psi=0.5, truncation_cutoff=2)
    assert torch.equal(partly[:, :2], half[:, :2])
    assert torch.equal(partly[:, 2:], ws[:, 2:])
    alike = generator(z, truncation_psi=0)
    assert torch.allclose(alike[0], alike[1], atol=1e-5)


def test_mixing_takes_the_late_layers_of_another(styled):
    generator = styled(16).eval()
    ws = generator.mapping(torch.randn(2, generator.z_dim))
    both = mixed(ws, ws.flip(0), 3)
    assert torch.equal(both[0, :3], ws[0, :3])
    assert torch.equal(both[0, 3:], ws[1, 3:])


def test_the_mean_of_w_follows_training_and_not_use(styled):
    generator = styled(16)
    z, _ = codes(generator, 64)
    before = generator.mapping.w_avg.clone()
    generator.eval()(z)
    assert torch.equal(generator.mapping.w_avg, before)
    generator.train()
    for _ in range(2000):
        generator.mapping(z)
    assert torch.allclose(generator.mapping.w_avg, generator.mapping.latent(z, None).mean(0), 0.03)


def test_noise_is_stored_drawn_or_absent(noisy):
    generator = noisy(16).eval()
    with torch.no_grad():
        for key, strength in generator.named_parameters():
            if key.endswith("noise_strength"):
                strength.fill_(0.5)
    z = torch.randn(1, generator.z_dim).repeat(2, 1)

    def images(mode, seed=0):
        return generator(z, noise_mode=mode, rng=torch.Generator().manual_seed(seed))

    none, const, drawn = (images(mode) for mode in ("none", "const", "random"))
    assert torch.allclose(const[0], const[1], atol=1e-4)
    assert not torch.allclose(const, none)
    assert not torch.allclose(drawn[0], drawn[1])
    assert torch.equal(drawn, images("random"))
    assert not torch.allclose(drawn, images("random", 1))


def test_run_takes_and_gives_arrays(kind):
    generator = kind(16, c_dim=2)
    z, labels = (one.numpy() for one in codes(generator.eval(), 5))
    images = generator.run(z, labels, minibatch_size=2)
    assert images.dtype == np.float32
    assert images.shape == (5, 3, 16, 16)
    whole = generator(torch.tensor(z), torch.tensor(labels)).detach().numpy()
    assert np.allclose(images, whole, atol=1e-5)
    pixels = generator.run(z.astype(np.float64), labels, as_uint8=True)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (5, 16, 16, 3)
    expected = np.clip(np.rint(images.transpose(0, 2, 3, 1) * 127.5 + 127.5), 0, 255)
    assert np.abs(pixels.astype(int) - expected).max() <= 1
    assert generator.run(z[:0], labels[:0]).shape == (0, 3, 16, 16)


def test_run_says_what_shape_it_wants(kind):
    generator = kind(16, c_dim=2).eval()
    with pytest.raises(PlanError, match=r"z has the shape \[2, 9\]; give \[n, 6\]"):
        generator.run(np.zeros((2, 9)))
    for labels in (None, np.zeros((2, 3)), np.zeros((1, 2))):
        with pytest.raises(PlanError, match=r"give \[2, 2\]"):
            generator.run(np.zeros((2, 6)), labels)
    with pytest.raises(PlanError, match="give none"):
        kind(16).eval().run(np.zeros((2, 6)), np.zeros((2, 2)))


def test_a_resolution_that_cannot_be_is_refused(kind):
    for resolution in (2, 17):
        with pytest.raises(PlanError, match=r"32|raise"):
            kind(resolution)
