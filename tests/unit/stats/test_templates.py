"""Templates are sums over media, and true accept rates are exact under both rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.stats import templates as module
from harness.stats.intervals import PairIdentities, multiplicities, percentile_interval, tar_replicates
from harness.stats.templates import (
    PairSubjects,
    TemplateSums,
    image_features,
    image_weights,
    pair_scores,
    points_at_most,
    points_nearest,
    roc,
    tar_uncertainties,
)
from harness.stats.uncertainty import Uncertainty
from harness.stats.verification import tar_at_far

RNG = np.random.default_rng


def vectors(features: Any, template: Any, media: Any, score: Any = None, batch: int = 1000) -> np.ndarray:
    """Template vectors of features, fed in batches."""
    weights = image_weights(np.asarray(template), np.asarray(media), score)
    sums = TemplateSums(int(np.max(template)) + 1, features.shape[1])
    for start in range(0, len(features), batch):
        part = slice(start, start + batch)
        sums.add(np.asarray(template)[part], weights[part], features[part])
    return sums.vectors()


def test_acceptance_12_an_image_again_in_its_medium_changes_nothing_and_in_a_new_medium_does() -> None:
    features, score = RNG(0).standard_normal((5, 8)), RNG(1).uniform(0.3, 1, 5)
    template, media = [0, 0, 0, 1, 1], [3, 4, 5, 3, 3]
    before = vectors(features, template, media, score)
    again, its_score = np.concatenate([features, features[:1]]), np.append(score, score[0])
    same_medium = vectors(again, [*template, 0], [*media, 3], its_score)
    np.testing.assert_allclose(same_medium, before, atol=1e-12)
    new_medium = vectors(again, [*template, 0], [*media, 6], its_score)
    np.testing.assert_allclose(new_medium[1], before[1], atol=1e-12)
    assert np.abs(new_medium[0] - before[0]).max() > 0.01


def test_the_definition_step_by_step() -> None:
    """Means over media that are not normalized, their sum, one normalization; media ids recur in other templates."""
    rng = RNG(0)
    template, media = rng.integers(0, 6, 80), rng.choice([-7, 2, 10**15], 80)
    features, score = rng.standard_normal((80, 16)), rng.uniform(0, 1, 80)
    for t, found in enumerate(vectors(features, template, media, score, batch=13)):
        here = [(features * score[:, None])[(template == t) & (media == m)] for m in np.unique(media[template == t])]
        expected = np.sum([group.mean(axis=0) for group in here], axis=0)
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-12)


def test_batches_do_not_matter_and_empty_templates_stay_zero() -> None:
    features, template = RNG(0).standard_normal((30, 4)), np.sort(RNG(1).integers(0, 5, 30))
    template[template == 2] = 3
    one, many = (vectors(features, template, np.arange(30), batch=size) for size in (30, 7))
    np.testing.assert_allclose(one, many, atol=1e-12)
    assert not one[2].any()


def test_flags_of_features() -> None:
    plain, mirrored = RNG(0).standard_normal((2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(image_features(plain, mirrored), plain.astype(float) + mirrored)
    np.testing.assert_allclose(image_features(plain, None), plain)
    np.testing.assert_allclose(np.linalg.norm(image_features(plain, mirrored, keep_norm=False), axis=1), 1)
    assert set(image_weights(np.zeros(3, int), np.array([1, 1, 2])).tolist()) == {0.5, 1.0}, "no scores: all alike"


def test_pair_scores_are_dot_products_in_the_order_of_the_pairs() -> None:
    rng = RNG(0)
    x = rng.standard_normal((9, 5))
    a, b = rng.integers(0, 9, (2, 200)).astype(np.int32)
    np.testing.assert_allclose(pair_scores(x, a, b), (x[a] * x[b]).sum(axis=1), atol=1e-14)
    assert len(pair_scores(x, a[:0], b[:0])) == 0


@pytest.mark.parametrize("decimals", [9, 2, 1])  # the last two make ties
def test_roc_is_that_of_scikit_learn(decimals: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = RNG(decimals)
    genuine, impostor = rng.normal(1, 1, 300).round(decimals), rng.normal(0, 1, 5000).round(decimals)
    label = np.repeat([1, 0], [300, 5000])
    far, tar, _ = metrics.roc_curve(label, np.concatenate([genuine, impostor]))
    found = roc(genuine, impostor)
    np.testing.assert_array_equal(found[0], far)
    np.testing.assert_array_equal(found[1], tar)


def test_the_two_rules_on_a_curve_by_hand() -> None:
    """Ten impostors at 0.0 to 0.9; FAR 0.24 allows two, and three are nearer to 0.26."""
    impostor, genuine = np.arange(10) / 10, np.array([0.95, 0.85, 0.75, 0.65, 0.05])
    assert [(p.measured, p.tar) for p in points_at_most(genuine, impostor, [0.24, 0.26])] == [(0.2, 0.6), (0.2, 0.6)]
    near = points_nearest(genuine, impostor, [0.24, 0.26])
    assert [(p.measured, p.tar) for p in near] == [(0.2, 0.6), (0.3, 0.8)], "the largest TAR of those at FAR 0.2"
    assert points_at_most(genuine, impostor, [1.0])[0].tar == 1.0


def test_a_tie_of_distances_takes_the_largest_rate() -> None:
    genuine, impostor = np.array([0.9, 0.7]), np.array([0.8, 0.6])  # false accept rates 0, 0.5, 1
    (point,) = points_nearest(genuine, impostor, [0.25])
    assert (point.measured, point.tar) == (0.5, 1.0)


def test_at_most_is_the_rule_of_verification() -> None:
    rng = RNG(0)
    scores, same = rng.normal(size=4000).round(2), rng.random(4000) < 0.1
    scores[same] += 1
    for point in points_at_most(scores[same], scores[~same]):
        assert point.tar == tar_at_far(scores, same, point.far)
        assert point.measured <= point.far


@pytest.fixture
def people() -> tuple[np.ndarray, np.ndarray, np.ndarray, PairSubjects]:
    """Scores and labels of all pairs of 160 templates of 40 subjects; subjects; whom pairs show."""
    rng = RNG(0)
    centers = rng.standard_normal((40, 16))
    x = (centers[:, None] + 1.2 * rng.standard_normal((40, 4, 16))).reshape(-1, 16)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    subject = np.repeat(np.arange(40) * 3, 4)
    a, b = np.triu_indices(160, 1)
    same = subject[a] == subject[b]
    known = PairSubjects.known(subject, a, b, same)
    assert known is not None
    return pair_scores(x, a, b), same, subject, known


def test_intervals_are_those_of_the_bootstrap_over_identities(people: Any) -> None:
    scores, same, subject, known = people
    a, b = np.triu_indices(160, 1)
    points = points_at_most(scores[same], scores[~same], [1e-2, 1e-1])
    found = tar_uncertainties(points, scores, same, known, RNG(1), 200)
    for point, uncertainty in zip(points, found, strict=True):
        pairs = PairIdentities.of(subject[a], subject[b])
        drawn = multiplicities(pairs.count, 200, RNG(1))
        expected = percentile_interval(tar_replicates(scores, same, point.far, pairs, drawn))
        assert uncertainty.interval == expected
        assert (uncertainty.interval_over, uncertainty.method) == ("identities", "bootstrap")


def test_a_tail_gives_the_same_as_all_pairs(people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, same, _, known = people
    many = [np.tile(column, 8) for column in (scores, same, known.a, known.b)]
    subjects = PairSubjects(many[2], many[3], known.count)
    points = points_at_most(many[0][many[1]], many[0][~many[1]], [1e-3, 1e-2])
    tail = tar_uncertainties(points, many[0], many[1], subjects, RNG(1), 100)
    monkeypatch.setattr(module, "_TAIL", 1e9)
    assert tail == tar_uncertainties(points, many[0], many[1], subjects, RNG(1), 100)
    assert all(found.interval for found in tail)


def test_intervals_are_withheld_with_the_reason(people: Any) -> None:
    scores, same, _, known = people
    points = points_at_most(scores[same], scores[~same], [1e-3, 1e-1])
    few, enough = tar_uncertainties(points, scores, same, known, RNG(0), 100)
    assert few.note == "no interval: 12 of 12480 impostor pairs lie beyond the threshold, expected 30"
    assert few.interval is None
    assert enough.interval is not None
    (unknown,) = tar_uncertainties(points[1:], scores, same, None, RNG(0), 100)
    assert unknown == Uncertainty(note="no interval: subjects of the templates are not known")
    perfect = scores + 2.0 * same
    one = points_at_most(perfect[same], perfect[~same], [1e-1])
    (sure,) = tar_uncertainties(one, perfect, same, known, RNG(0), 100)
    assert sure.note == f"no interval: 0 of {same.sum()} genuine pairs lie below the threshold, expected 10"
    (handful,) = tar_uncertainties(points[1:], scores, same, PairSubjects(known.a, known.b, 12), RNG(0), 100)
    assert handful.note == "no interval: 12 identities are too few to resample, expected 30"


def test_subjects_that_contradict_the_labels_are_not_known() -> None:
    a, b = np.array([0, 1]), np.array([1, 2])
    assert PairSubjects.known(np.array([5, 5, 9]), a, b, np.array([True, False])) is not None
    assert PairSubjects.known(np.array([5, 5, 9]), a, b, np.array([True, True])) is None
