"""Ranks and open-set rates against a count search by search, and intervals against the truth."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.identification import Searches, rank_rates, search, tpir_at_fpir
from harness.stats.intervals import multiplicities, percentile_interval
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


def brute(given: tuple, k: int, fpir: float, counts: np.ndarray | None = None) -> tuple[float, float]:
    """Rank-k and TPIR of one gallery, search by search; ``counts`` repeats probes by their subject."""
    probes, who, gallery, enrolled = given
    best, mated = [], []
    for probe, subject in zip(probes, who.tolist(), strict=True):
        scores = [float(np.dot(probe, template)) for template in gallery]
        times = 1 if counts is None else int(counts[subject])
        if subject not in enrolled.tolist():
            best += [max(scores)] * times
            continue
        mate = scores[enrolled.tolist().index(subject)]
        others = [score for score, name in zip(scores, enrolled.tolist(), strict=True) if name != subject]
        mated += [(1 + sum(score >= mate for score in others), mate)] * times
    threshold = sorted(best, reverse=True)[int(np.floor(fpir * len(best) + 1e-9))]
    found = sum(rank <= k for rank, _ in mated) / len(mated)
    return found, sum(rank == 1 and mate > threshold for rank, mate in mated) / len(mated)


@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize(("k", "fpir"), [(1, 0.01), (5, 0.1), (20, 0.5)])
def test_rates_are_those_counted_search_by_search(k: int, fpir: float, decimals: int | None) -> None:
    found, given = halves(1, 40, decimals)
    expected = np.mean([brute(one, k, fpir) for one in given], axis=0)
    assert rank_rates(found, k)[0] == pytest.approx(expected[0], abs=1e-12)
    assert tpir_at_fpir(found, fpir)[0] == pytest.approx(expected[1], abs=1e-12)
    assert 0 < expected[0] < 1 or k == 20


def test_replicates_match_literal_resampling() -> None:
    found, given = halves(2, 30)
    drawn = multiplicities(30, 15, np.random.default_rng(0))
    for counts, rank, tpir in zip(drawn, rank_rates(found, 1, drawn), tpir_at_fpir(found, 0.1, drawn), strict=True):
        expected = np.mean([brute(one, 1, 0.1, counts) for one in given], axis=0)
        assert [rank, tpir] == pytest.approx(expected.tolist(), abs=1e-12)


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


def test_intervals_cover_the_truth() -> None:
    """Of 120 studies at 95 percent, 107 or fewer would happen to 1 in 100. Galleries are drawn anew in each."""

    def rates(found: list[Searches], drawn: np.ndarray | None = None) -> list[np.ndarray]:
        return [rank_rates(found, 1, drawn), rank_rates(found, 5, drawn), tpir_at_fpir(found, 0.1, drawn)]

    truth = np.mean([[rate[0] for rate in rates(halves(1000 + seed, 100)[0])] for seed in range(600)], axis=0)
    held = np.zeros(3)
    for seed in range(120):
        found, _ = halves(seed, 100)
        replicates = rates(found, multiplicities(100, 200, np.random.default_rng(seed)))
        intervals = map(percentile_interval, replicates)
        held += [low <= true <= high for (low, high), true in zip(intervals, truth, strict=True)]
    assert (held > 107).all(), held / 120
