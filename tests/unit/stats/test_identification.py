"""Ranks and open-set rates against a count search by search, and intervals against the truth."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.identification import PARTS, Searches, parts, rank_rate, search, tpir_at_fpir
from harness.stats.intervals import jackknifed
from harness.stats.verification import unit

D = 12


def people(seed: int, subjects: int, probes: int = 3, noise: float = 0.8) -> tuple[np.ndarray, ...]:
    """Gallery [S, D], probes [S * probes, D] and the probes' subjects."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(subjects, 1, D))
    spread = rng.uniform(0.5, 1.5, (subjects, 1, 1)) * noise
    faces = unit((centers + spread * rng.normal(size=(subjects, probes + 1, D))).reshape(-1, D))
    faces = faces.reshape(subjects, probes + 1, D)
    return faces[:, 0], faces[:, 1:].reshape(-1, D), np.repeat(np.arange(subjects), probes)


def halves(seed: int, subjects: int, decimals: int | None = None) -> tuple[list[Searches], list[tuple]]:
    """Two galleries of half of the people each, searched by all probes; and what was searched in what."""
    gallery, probes, who = people(seed, subjects)
    if decimals is not None:  # whole numbers tie
        gallery, probes = np.round(gallery * 3), np.round(probes * 3)
    parts = [np.arange(start, subjects, 2)[::-1] for start in (0, 1)]
    given = [(probes, who, gallery[part], part) for part in parts]
    return [search(*one) for one in given], given


def brute(given: tuple, k: int, fpir: float) -> tuple[float, float]:
    """Rank-k and TPIR of one gallery, search by search."""
    probes, who, gallery, enrolled = given
    best, mated = [], []
    for probe, subject in zip(probes, who.tolist(), strict=True):
        scores = [float(np.dot(probe, template)) for template in gallery]
        if subject not in enrolled.tolist():
            best.append(max(scores))
            continue
        mate = scores[enrolled.tolist().index(subject)]
        others = [score for score, name in zip(scores, enrolled.tolist(), strict=True) if name != subject]
        mated.append((1 + sum(score >= mate for score in others), mate))
    threshold = sorted(best, reverse=True)[int(np.floor(fpir * len(best) + 1e-9))]
    found = sum(rank <= k for rank, _ in mated) / len(mated)
    return found, sum(rank == 1 and mate > threshold for rank, mate in mated) / len(mated)


@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize(("k", "fpir"), [(1, 0.01), (5, 0.1), (20, 0.5)])
def test_rates_are_those_counted_search_by_search(k: int, fpir: float, decimals: int | None) -> None:
    found, given = halves(1, 40, decimals)
    expected = np.mean([brute(one, k, fpir) for one in given], axis=0)
    assert rank_rate(found, k) == pytest.approx(expected[0], abs=1e-12)
    assert tpir_at_fpir(found, fpir) == pytest.approx(expected[1], abs=1e-12)
    assert 0 < expected[0] < 1 or k == 20


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, given = halves(3, 40)
    monkeypatch.setattr("harness.stats.identification._BLOCK", 50)
    for one, other in zip(whole, (search(*each) for each in given), strict=True):
        assert one.rank.tolist() == other.rank.tolist()
        np.testing.assert_allclose(one.top, other.top, rtol=0, atol=1e-15)


def test_a_subject_is_enrolled_once() -> None:
    gallery, probes, who = people(4, 6)
    with pytest.raises(ValueError, match="subject 2 is enrolled twice"):
        search(probes, who, gallery, np.array([0, 1, 2, 2, 4, 5]))


def test_a_mate_that_ties_ranks_behind() -> None:
    same = np.ones((2, 1))
    assert search(same[:1], np.array([0]), same, np.array([0, 1])).rank.tolist() == [2]


def test_parts_hold_whole_subjects_and_as_many_each() -> None:
    subject = np.repeat(np.arange(90), 4)
    part = parts(subject, np.random.default_rng(0))
    assert all(len(set(part[subject == who])) == 1 for who in range(90))
    assert np.bincount(part).tolist() == [12] * PARTS


def test_the_jackknife_of_a_mean_is_its_t_interval() -> None:
    """Of a mean the jackknife is exact: the standard error of 30 values, with Student's t of 29 degrees of freedom."""
    values = np.random.default_rng(0).normal(0.5, 0.01, PARTS)
    without = [float(np.delete(values, place).mean()) for place in range(PARTS)]
    low, high = jackknifed(float(values.mean()), without, "people").interval or (0, 0)
    half = 2.045229642132703 * values.std(ddof=1) / np.sqrt(PARTS)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-12)


def rates(found: list[Searches]) -> list[float]:
    return [rank_rate(found, 1), rank_rate(found, 5), tpir_at_fpir(found, 0.1)]


def without(given: list[tuple], part: np.ndarray) -> list[list[Searches]]:
    """The searches without the subjects of each part, enrolled or not."""
    left = []
    for number in range(PARTS):
        kept = part != number
        left.append(
            [
                search(probes[kept[who]], who[kept[who]], gallery[kept[enrolled]], enrolled[kept[enrolled]])
                for probes, who, gallery, enrolled in given
            ]
        )
    return left


def coverage(studies: int, subjects: int, truths: int) -> np.ndarray:
    """Share of studies whose intervals hold the truth, of rank-1, rank-5 and TPIR; people are drawn anew in each."""
    truth = np.mean([rates(halves(10_000 + seed, subjects)[0]) for seed in range(truths)], axis=0)
    held = np.zeros(3)
    for seed in range(studies):
        found, given = halves(seed, subjects)
        part = parts(np.arange(subjects), np.random.default_rng(seed))
        left = np.array([rates(each) for each in without(given, part)])
        sure = [
            jackknifed(value, column.tolist(), "people") for value, column in zip(rates(found), left.T, strict=True)
        ]
        intervals = [each.interval or (0.0, 0.0) for each in sure]
        held += [low <= true <= high for (low, high), true in zip(intervals, truth, strict=True)]
    return held / studies


def test_intervals_cover_the_truth() -> None:
    """Of 120 studies at 95 percent, 107 or fewer would happen to 1 in 100."""
    held = coverage(120, 100, 600)
    assert (held > 107 / 120).all(), held
