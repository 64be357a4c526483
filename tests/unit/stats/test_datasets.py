"""Leakage, diversity, fidelity and consistency find the faults that are planted in embeddings, and only those."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats import diversity, neighbors
from harness.stats.consistency import assign, doubles
from harness.stats.diversity import angles_to_center, covered, nearest_other, recalled, spreads
from harness.stats.fidelity import frechet_distance, kernel_distance
from harness.stats.leakage import reached_by, search, search_centers
from harness.stats.neighbors import centers, centers_without_each, means, nearest

WIDTH = 64


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def people(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH))


def images(centers: np.ndarray, each: int, seed: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(centers)), each)
    return unit(centers[labels] + noise * rng.normal(size=(len(labels), WIDTH))), labels


# --- neighbors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("products", [100, 4_000_000])
def test_nearest_equals_sorting(products: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "_PRODUCTS", products)
    x, y = unit(people(0, 30)), unit(people(1, 50))
    a, b = np.arange(30) % 5, np.arange(50) % 5
    scores = x.astype(np.float64) @ y.T
    cosine, place = nearest(x, y, 3)
    np.testing.assert_allclose(cosine, -np.sort(-scores, axis=1)[:, :3], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(scores, place, axis=1), cosine, atol=1e-6)
    scores[a[:, None] == b] = -np.inf
    cosine, place = nearest(x, y, 3, (a, b))
    np.testing.assert_allclose(cosine, -np.sort(-scores, axis=1)[:, :3], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(scores, place, axis=1), cosine, atol=1e-6)
    with pytest.raises(ValueError, match="50 references have no 51 neighbors"):
        nearest(x, y, 51)


def test_centers_with_and_without_an_image() -> None:
    x, labels = unit(people(2, 7)), np.array([0, 1, 0, 2, 1, 0, 2])
    np.testing.assert_allclose(centers(x, labels)[0], unit(x[[0, 2, 5]].mean(0)[None])[0], atol=1e-6)
    np.testing.assert_allclose(centers_without_each(x, labels)[2], unit(x[[0, 5]].mean(0)[None])[0], atol=1e-6)
    assert (centers_without_each(x[:2], np.array([0, 1])) == 0).all()
    assert means(np.array([1.0, 5, 2, 0, 7, 3, 0]), labels) == pytest.approx([2, 6, 0])


# --- leakage ----------------------------------------------------------------------------------------------------------


def test_fifty_leaked_identities_among_five_thousand_are_found() -> None:
    authentic_people = people(3, 2000)
    synthetic_people = people(4, 5000)
    leaked = np.sort(np.random.default_rng(5).choice(5000, 50, replace=False))
    victims = np.arange(50) * 7
    synthetic_people[leaked] = authentic_people[victims]
    authentic, whose = images(authentic_people, 3, 6)
    synthetic, labels = images(synthetic_people, 2, 7)
    found = search_centers(synthetic, labels, authentic, whose, far=0.001)
    assert set(leaked) <= set(np.flatnonzero(found.above))
    assert (found.identity[leaked] == victims).all()
    # by chance alone 0.1 percent of 5,000 searches reach the threshold; the worst fifty are the planted ones
    assert found.above.sum() - 50 <= 20
    assert set(np.argsort(-found.cosine)[:50]) == set(leaked)
    by_image = search(synthetic, authentic, whose, 0.001)
    assert means(by_image.above, labels)[leaked].mean() > 0.9
    clean = np.setdiff1d(np.arange(5000), leaked)
    assert means(by_image.above, labels)[clean].mean() < 0.005


def test_the_threshold_is_what_a_share_of_authentic_searches_reaches() -> None:
    authentic, whose = images(people(8, 300), 4, 9)
    found = search(unit(people(10, 20)), authentic, whose, 0.01)
    scores = authentic.astype(np.float64) @ authentic.T
    scores[whose[:, None] == whose] = -np.inf
    np.testing.assert_allclose(found.authentic, scores.max(axis=1), atol=1e-6)
    assert (found.authentic >= found.threshold).sum() <= 12
    assert (found.authentic >= np.sort(found.authentic)[-12]).sum() >= 12
    assert found.authentic_share == pytest.approx(0.01, abs=0.003)
    with pytest.raises(ValueError, match="1 identity"):
        search(authentic, authentic, np.zeros_like(whose), 0.01)


def test_threshold_with_ties_and_few_values() -> None:
    values = np.array([0.1, 0.5, 0.5, 0.9], np.float32)
    assert (values >= reached_by(values, 0.25)).tolist() == [False, False, False, True]
    assert (values >= reached_by(values, 0.5)).sum() == 1, "one of two equal values would be one too many"
    assert (values >= reached_by(values, 0.1)).sum() == 0
    assert (values >= reached_by(values, 1.0)).all()


# --- diversity --------------------------------------------------------------------------------------------------------


def test_a_collapsed_generator_is_found() -> None:
    population = people(11, 100)
    authentic, _ = images(population, 6, 12)
    healthy, labels = images(population, 6, 13)
    # eight different faces, over and over with hardly any change
    collapsed, _ = images(population[np.arange(100) % 8], 6, 14, noise=0.02)
    assert angles_to_center(collapsed, labels).mean() < 0.2 * angles_to_center(healthy, labels).mean()
    assert covered(authentic, healthy).mean() > 0.9
    assert covered(authentic, collapsed).mean() < 0.15
    assert recalled(authentic, healthy).mean() > 0.8
    assert recalled(authentic, collapsed).mean() < 0.15
    limit = reached_by(nearest_other(authentic), 0.001)
    assert (nearest_other(healthy) >= limit).mean() < 0.02
    assert (nearest_other(collapsed) >= limit).mean() > 0.95


def test_coverage_and_recall_by_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity, "_BLOCK", 7)
    real, fake = unit(people(15, 60)[:, :5]), unit(people(16, 40)[:, :5] + 0.6)
    distance = lambda a, b: np.linalg.norm(a[:, None].astype(np.float64) - b, axis=2)  # noqa: E731
    radius = np.sort(distance(real, real), axis=1)[:, 5]  # place 0 is the image itself
    assert (covered(real, fake) == (distance(real, fake).min(axis=1) <= radius)).all()
    radius = np.sort(distance(fake, fake), axis=1)[:, 3]
    expected = (distance(real, fake) <= radius).any(axis=1)
    assert (recalled(real, fake) == expected).all()
    assert 0.05 < expected.mean() < 0.95
    with pytest.raises(ValueError, match="3 images have no 3 others"):
        recalled(real, fake[:3])


def test_angles_and_spreads_by_hand() -> None:
    x = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32)
    labels = np.array([0, 0, 1, 1])
    assert angles_to_center(x, labels) == pytest.approx([45, 0], abs=0.05)
    assert spreads(np.array([10.0, 30.0, 5.0, 5.0]), labels) == pytest.approx([10, 0])


# --- fidelity ---------------------------------------------------------------------------------------------------------


def test_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(17)
    a, b = rng.normal(size=(20_000, 3)), rng.normal(size=(20_000, 3)) * [1, 2, 3] + [1, 0, 0]
    # |mu|^2 + sum (sd_1 - sd_2)^2 = 1 + 0 + 1 + 4
    assert frechet_distance(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(6, rel=0.03)
    # and with covariances that do not commute, from the product's own square root
    mixed = (b @ np.linalg.qr(rng.normal(size=(3, 3)))[0]).astype(np.float32)
    c1, c2 = np.cov(a, rowvar=False), np.cov(mixed, rowvar=False)
    shared = np.sqrt(np.linalg.eigvals(c1 @ c2).real).sum()
    expected = ((a.mean(0) - mixed.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * shared
    assert frechet_distance(a.astype(np.float32), mixed) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(mixed, mixed) == pytest.approx(0, abs=1e-6)


def test_kernel_distance_by_its_definition() -> None:
    x, y = unit(people(18, 25)), unit(people(19, 40) + 0.3)
    k = lambda a, b: (a.astype(np.float64) @ b.T / WIDTH + 1) ** 3  # noqa: E731
    off = lambda m: (m.sum() - np.trace(m)) / (len(m) * (len(m) - 1))  # noqa: E731
    expected = off(k(x, x)) + off(k(y, y)) - 2 * k(x, y).mean()
    found = kernel_distance(x, y)
    assert found.value == pytest.approx(expected, abs=1e-7)
    assert found.first.sum() == pytest.approx(0, abs=1e-9)


def test_kernel_distance_has_no_bias_and_its_gains_are_its_derivatives() -> None:
    same = [kernel_distance(unit(people(s, 50)), unit(people(s + 1000, 50))).value for s in range(40)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(40)
    x, y = unit(people(20, 60)), unit(people(21, 60) + 0.5)
    found = kernel_distance(x, y)
    assert found.value > 10 * np.std(same)
    # leaving an image out moves the value by minus its gain, up to second order
    moved = [kernel_distance(np.delete(x, i, axis=0), y).value - found.value for i in range(60)]
    assert np.corrcoef(moved, -found.first)[0, 1] > 0.999
    assert np.polyfit(-found.first, moved, 1)[0] == pytest.approx(1, abs=0.1)


# --- consistency ------------------------------------------------------------------------------------------------------


def test_a_clean_dataset_has_no_wrong_image() -> None:
    x, labels = images(people(22, 200), 10, 23)
    found = assign(x, labels)
    assert found.wrong.mean() == 0
    assert doubles(found, labels) == []


def test_five_percent_wrong_labels_are_found() -> None:
    x, labels = images(people(24, 200), 10, 25)
    rng = np.random.default_rng(26)
    wrong = rng.choice(len(labels), len(labels) // 20, replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + rng.integers(1, 200, len(wrong))) % 200
    found = assign(x, given)
    assert set(np.flatnonzero(found.wrong)) == set(wrong)
    assert (found.rival[wrong] == labels[wrong]).all()
    assert doubles(found, given) == [], "scattered wrong labels make no double"


@pytest.mark.parametrize("copied", [True, False])
def test_a_duplicated_identity_is_found(copied: bool) -> None:
    population = people(27, 120)
    population[77] = population[13]
    x, labels = images(population, 12, 28)
    if copied:
        x[labels == 77] = x[labels == 13]
    found = assign(x, labels)
    assert doubles(found, labels) == [(13, 77)]
    others = ~np.isin(labels, (13, 77))
    assert not found.wrong[others].any()


def test_an_image_does_not_vote_for_itself() -> None:
    x = unit(np.array([[1, 0, 0.0], [0, 1, 0], [0.9, 0.1, 0], [1, 0.05, 0], [0, 0, 1]]))
    found = assign(x, np.array([0, 0, 1, 1, 2]))
    assert found.wrong.tolist()[0] is True
    assert np.isnan(found.own[4])
    assert not found.wrong[4]
    with pytest.raises(ValueError, match="1 identity"):
        assign(x, np.zeros(5, np.int64))
