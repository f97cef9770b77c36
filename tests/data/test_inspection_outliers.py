"""Neighbors, outliers and diversity against plain implementations of their definitions."""

import numpy as np
import pytest
import torch

from safelight.data.inspection.collection import open_collection
from safelight.data.inspection.diversity import vendi
from safelight.data.inspection.embedding import LENGTH, embed
from safelight.data.inspection.neighbors import nearest
from safelight.data.inspection.outliers import outliers


def test_the_nearest_are_the_nearest():
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(1500, 5))).float()
    distances, rows = nearest(points, 4)
    apart = torch.cdist(points.double(), points.double()).fill_diagonal_(torch.inf)
    expected = apart.topk(4, dim=1, largest=False)
    assert torch.equal(rows, expected.indices)
    assert torch.allclose(distances.double().sqrt(), expected.values, atol=1e-3)


def test_there_are_never_more_neighbors_than_others():
    assert nearest(torch.eye(3), 10)[1].tolist() == [[1, 2], [0, 2], [0, 1]]


@pytest.fixture(scope="module")
def digits():
    collection = open_collection("embedded", "train")
    return torch.from_numpy(np.stack(collection.read(range(0, 5000, 2))))


def test_what_does_not_belong_stands_out(digits):
    noise = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    strange = torch.cat([torch.from_numpy(noise), 255 - digits[:3]])
    gray = torch.cat([digits, strange])
    found = outliers(embed(gray, torch.zeros(len(gray), 2)))
    assert set(range(len(digits), len(gray))) <= set(found.rows)
    assert len(found.rows) <= len(strange) + len(digits) // 200
    exposure = found.exposure[found.rows]
    assert torch.equal(exposure, exposure.sort(descending=True).values)
    assert found.exposure.median() == pytest.approx(1)


def test_a_picture_of_another_color_stands_out(digits):
    chroma = torch.zeros(len(digits), 2)
    chroma[7] = 0.4
    assert outliers(embed(digits, chroma)).rows[0] == 7


def test_order_does_not_change_exposure(digits):
    order = torch.from_numpy(np.random.default_rng(0).permutation(500))
    points = embed(digits[:500], torch.zeros(500, 2))
    straight, mixed = outliers(points).exposure, outliers(points[order]).exposure
    assert torch.allclose(straight[order], mixed, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_few_or_equal_pictures_are_no_outliers(count):
    found = outliers(torch.ones(count, LENGTH))
    assert found.rows == []
    assert (found.neighbors == 0) == (count <= 10)


def test_vendi_score_is_the_exponential_entropy_of_the_similarities():
    points = np.random.default_rng(0).normal(size=(40, 6))
    centered = points - points.mean(0)
    unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / len(unit)).clip(1e-15)
    expected = np.exp(-(values * np.log(values)).sum())
    assert vendi(torch.from_numpy(points).float()) == pytest.approx(expected, rel=1e-4)


def test_vendi_score_counts_directions_and_not_copies():
    assert vendi(torch.ones(5, 4)) == 1
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    assert vendi(axes) == pytest.approx(4)
    assert vendi(axes.repeat(3, 1)) == pytest.approx(4)
