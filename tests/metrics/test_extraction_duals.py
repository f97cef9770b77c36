import numpy as np
import pytest

from safelight.metrics.extraction_losses.duals import TOLERANCE, coordinates, duals, without
from safelight.metrics.extraction_losses.row_space import Span


def world(slope=0.0, units=200, n=12, pixels=60):
    """Return a span, the pictures that wrote it, and each unit's signals at them.

    Units are off at some pictures, and learned nothing (or ``slope`` as much) from those.
    """
    rng = np.random.default_rng(0)
    pictures = rng.random((n, pixels))
    signals = rng.normal(0.5, 1, (n, units))
    learned = rng.normal(size=(units, n)) * np.where(signals.T > 0, 1, slope)
    basis = np.linalg.qr(pictures.T)[0]
    return Span(np.zeros(pixels), basis, None, 9.0, learned @ pictures @ basis), pictures, signals


def test_duals_of_some_pictures_vanish_at_all_others():
    span, pictures, signals = world()
    found, doubt = duals(span, pictures[:4], signals[:4])
    assert doubt.max() < 1e-6
    values = coordinates(span, pictures) @ found.T
    assert values[:4] == pytest.approx(np.eye(4), abs=1e-8)
    assert values[4:] == pytest.approx(np.zeros((8, 4)), abs=1e-6)


def test_units_that_were_on_for_a_while_are_forgotten():
    span, pictures, signals = world()
    flipped = signals[:4].copy()
    flipped[:, :20] = -1  # a tenth of the units look off and learned from the picture
    values = coordinates(span, pictures) @ duals(span, pictures[:4], flipped)[0].T
    assert np.abs(values[4:]).max() < 0.02


def test_what_is_left_holds_the_others_and_none_of_the_known():
    span, pictures, signals = world()
    rest = without(span, duals(span, pictures[:4], signals[:4])[0])
    assert rest.rank == 8
    axes = np.linalg.qr(rest.basis)[0]
    away = np.linalg.norm(pictures - pictures @ axes @ axes.T, axis=1)
    assert away[4:].max() < 1e-6
    assert away[:4].min() > 0.1
    assert rest.rows.shape == (200, 8)


@pytest.mark.parametrize(
    ("slope", "units"),
    [(1.0, 200), (0.3, 200), (0.0, 20)],  # no rectifier, a leaky one, too few units to tell
)
def test_nothing_is_trusted_where_zeros_tell_nothing(slope, units):
    span, pictures, signals = world(slope, units)
    assert duals(span, pictures[:2], signals[:2])[1].min() > TOLERANCE


def test_a_picture_that_was_never_trained_on_is_doubted_most():
    span, pictures, signals = world()
    rng = np.random.default_rng(1)
    strange = rng.random((1, 12)) @ span.basis.T
    known = np.concatenate([pictures[:4], strange])
    _, doubt = duals(span, known, np.concatenate([signals[:4], rng.normal(0.5, 1, (1, 200))]))
    assert doubt.argmax() == 4
    assert doubt[4] > 10 * TOLERANCE
