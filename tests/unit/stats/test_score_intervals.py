"""Bootstrap over identities of separability statistics."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.intervals import MIN_IDENTITIES, multiplicities, percentile_interval
from harness.stats.score_intervals import NAMES, score_uncertainties
from harness.stats.separability import score_statistics
from harness.stats.uncertainty import Uncertainty
from harness.stats.verification import unit


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def world(seed: int, people: int, each: int) -> dict[str, np.ndarray]:
    """Scores of random people whose own difficulty varies, so that pairs of one person are alike."""
    g = rng(seed)
    spread = g.uniform(0.4, 2.0, (people, 1, 1))
    faces = unit((g.normal(size=(people, 1, 16)) + spread * g.normal(size=(people, each, 16))).reshape(-1, 16))
    label = np.repeat(np.arange(people), each)
    a, b = np.triu_indices(len(label), 1)
    score, same = (faces[a] * faces[b]).sum(1), label[a] == label[b]
    return {
        "genuine": score[same],
        "genuine_identity": label[a][same],
        "impostor": score[~same],
        "impostor_a": label[a][~same],
        "impostor_b": label[b][~same],
    }


def test_resampled_scores_equal_a_literal_resampling() -> None:
    """The weighted bootstrap gives the statistics of scores that are really repeated."""
    w = world(1, 30, 5)
    drawn = multiplicities(30, 40, rng(5))
    eer, fdr = [], []
    for m in drawn:
        genuine = np.repeat(w["genuine"], m[w["genuine_identity"]])
        impostor = np.repeat(w["impostor"], m[w["impostor_a"]] * m[w["impostor_b"]])
        found = score_statistics(genuine, impostor)
        eer.append(found.eer)
        fdr.append(found.fdr)
    got = score_uncertainties(**w, identities=30, rng=rng(5), replicates=40)
    assert got["fdr"].interval == pytest.approx(percentile_interval(np.array(fdr)), rel=1e-9)
    # thresholds that the replicate does not hold are tried as well, which moves the crossing by less than one pair
    assert got["eer"].interval == pytest.approx(percentile_interval(np.array(eer)), abs=0.02)


@pytest.mark.parametrize("table", [True, False])
def test_both_ways_of_weighting_agree(table: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = score_uncertainties(**world(2, 30, 5), identities=30, rng=rng(), replicates=50)
    monkeypatch.setattr("harness.stats.score_intervals._TABLE_IDENTITIES", 1000 if table else 0)
    got = score_uncertainties(**world(2, 30, 5), identities=30, rng=rng(), replicates=50)
    assert got["fmr100"].interval is not None
    assert got["fmr100"] == expected["fmr100"]
    assert got["fdr"].interval == pytest.approx(expected["fdr"].interval, rel=1e-6)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """FDR of a big population lies in the intervals of small samples of it; intervals over pairs are far too narrow."""
    big = world(0, 300, 6)
    truth = score_statistics(big["genuine"], big["impostor"]).genuine_mean
    hits = 0
    for seed in range(1, 31):
        got = score_uncertainties(**world(seed, 30, 6), identities=30, rng=rng(seed), replicates=100)
        low, high = got["genuine_mean"].interval
        hits += low <= truth <= high
    assert 24 <= hits <= 30


def test_separability_rates_with_few_errors_are_withheld_with_the_reason() -> None:
    w = world(3, 30, 5)
    got = score_uncertainties(**w, identities=30, rng=rng(), replicates=50)
    reason = "no interval: 10 of 10875 impostor pairs lie beyond the threshold, expected 30"
    assert got["fmr1000"] == Uncertainty(note=reason)
    apart = {**w, "genuine": w["genuine"] + 2}
    got = score_uncertainties(**apart, identities=30, rng=rng(), replicates=50)
    reason = "no interval: 0 of 10875 impostor pairs lie beyond the threshold, expected 30"
    assert got["eer"] == Uncertainty(note=reason)
    reason = "no interval: 0 of 300 genuine pairs lie beyond the threshold, expected 10"
    assert got["fmr100"] == Uncertainty(note=reason)
    assert got["fdr"].interval is not None
    assert (got["fdr"].interval_over, got["fdr"].method, got["fdr"].note) == ("identities", "bootstrap", "")


def test_few_identities_have_no_interval() -> None:
    few = MIN_IDENTITIES - 1
    got = score_uncertainties(**world(0, few, 3), identities=few, rng=rng())
    reason = Uncertainty(note="no interval: 29 identities are too few to resample, expected 30")
    assert got == dict.fromkeys(NAMES, reason)
