"""All pairs without a list of them: against lists, where lists fit."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from harness.stats import allpairs, allpairs_intervals
from harness.stats.allpairs import BINS, EDGES, WIDTH, PairHistogram, count_pairs, pair_moments
from harness.stats.allpairs_intervals import all_pairs_uncertainties
from harness.stats.score_intervals import score_uncertainties
from harness.stats.separability import ScoreStatistics, histogram_statistics, pyeer_statistics, score_statistics

Faces = tuple[np.ndarray, np.ndarray]


def faces(seed: int, people: int = 40, most: int = 9, width: int = 24, noise: float = 1.0) -> Faces:
    """Unit vectors of people with 1 to ``most`` images, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), rng.integers(1, most + 1, people))
    spread = noise * rng.uniform(0.5, 1.5, people)[labels, None]
    x = rng.normal(size=(people, width))[labels] + spread * rng.normal(size=(len(labels), width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def listed(x: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    a, b = np.triu_indices(len(x), 1)
    scores, same = np.einsum("pd,pd->p", x[a].astype(np.float64), x[b].astype(np.float64)), labels[a] == labels[b]
    return {
        "genuine": scores[same],
        "genuine_identity": labels[a][same],
        "impostor": scores[~same],
        "impostor_a": labels[a][~same],
        "impostor_b": labels[b][~same],
    }


def binned(scores: np.ndarray) -> np.ndarray:
    return np.histogram(scores, bins=EDGES)[0]


def counted(x: np.ndarray, labels: np.ndarray) -> ScoreStatistics:
    return histogram_statistics(count_pairs(x, labels), pair_moments(x, labels).moments())


@pytest.mark.parametrize("block", [23, 64, 1024])
def test_histograms_equal_those_of_lists_to_rounding(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(allpairs._BLOCK, "cpu", block)
    x, labels = faces(0)
    scores, progress = listed(x, labels), []
    found = count_pairs(x, labels, advance=progress.append)
    assert sum(progress) == len(x) * (len(x) - 1) // 2
    for got, values in ((found.genuine, scores["genuine"]), (found.impostor, scores["impostor"])):
        expected = binned(values)
        assert got.sum() == expected.sum() == len(values)
        # only scores within rounding of an edge may lie next door
        near = np.abs((values + 1) / WIDTH - np.round((values + 1) / WIDTH)) < allpairs.ROUNDING / WIDTH
        assert np.abs(np.cumsum(got - expected)).sum() <= near.sum()


def test_scores_at_the_ends_are_counted() -> None:
    x = np.array([[1, 0], [1, 0], [-1, 0], [-1, 0]], np.float32)
    found = count_pairs(x, np.array([0, 0, 1, 1]))
    assert (found.genuine[-1], found.impostor[0]) == (2, 4)
    assert found.genuine.sum() + found.impostor.sum() == 6


def test_moments_equal_those_of_lists() -> None:
    x, labels = faces(1)
    scores = listed(x, labels)
    found = pair_moments(x, labels)
    expected = [f(scores[kind]) for kind in ("genuine", "impostor") for f in (np.mean, np.std)]
    assert found.moments() == pytest.approx(expected, abs=1e-12)
    own = (scores["impostor_a"] == 3) | (scores["impostor_b"] == 3)
    theirs = scores["impostor"][own]
    assert found.impostor[3] == pytest.approx([len(theirs), theirs.sum(), (theirs**2).sum()], abs=1e-10)
    theirs = scores["genuine"][scores["genuine_identity"] == 3]
    assert found.genuine[3] == pytest.approx([len(theirs), theirs.sum(), (theirs**2).sum()], abs=1e-10)


def test_moments_do_not_depend_on_how_images_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = faces(2)
    whole = pair_moments(x, labels)
    monkeypatch.setattr(allpairs, "_ROWS", 11)
    parts = pair_moments(x, labels)
    np.testing.assert_allclose(parts.genuine, whole.genuine, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(parts.impostor, whole.impostor, rtol=1e-12, atol=1e-12)


def test_rates_are_those_of_scores_rounded_down_to_the_edges() -> None:
    rng = np.random.default_rng(3)
    genuine, impostor = rng.integers(9_000, 20_000, 700), rng.integers(5_000, 14_000, 9000)
    histogram = PairHistogram(*(np.bincount(bins, minlength=BINS) for bins in (genuine, impostor)))
    expected = asdict(score_statistics(EDGES[genuine], EDGES[impostor]))
    moments = tuple(expected[f"{kind}_{name}"] for kind in ("genuine", "impostor") for name in ("mean", "std"))
    found = asdict(histogram_statistics(histogram, moments))
    assert found == pytest.approx(expected, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_histogram_and_pyeer_agree_to_the_bin(noise: float) -> None:
    x, labels = faces(4, people=90, noise=noise)
    scores = listed(x, labels)
    exact, found = asdict(pyeer_statistics(scores["genuine"], scores["impostor"])), asdict(counted(x, labels))
    histogram = count_pairs(x, labels)
    share = {"g": histogram.genuine / histogram.genuine.sum(), "i": histogram.impostor / histogram.impostor.sum()}
    # pyeer's threshold may be the highest score below the crossing, some empty bins away
    assert abs(found["eer_threshold"] - exact["eer_threshold"]) <= 2 * WIDTH + _gap(scores, exact["eer_threshold"])
    for name in ("eer", "fmr100", "fmr1000"):
        at = exact["eer_threshold"] if name == "eer" else _threshold(scores, {"fmr100": 0.01, "fmr1000": 0.001}[name])
        touched = slice(*np.clip([int((at + 1) / WIDTH) - 1, int((at + 1) / WIDTH) + 2], 0, BINS))
        bound = share["g"][touched].sum() if name != "eer" else (share["g"] + share["i"])[touched].sum() / 2
        assert abs(found[name] - exact[name]) <= bound + 1e-12, name
    assert abs(found["auc"] - exact["auc"]) <= (share["g"] * share["i"]).sum() / 2 + 1e-9
    for name in ("fdr", "d_prime", "genuine_mean", "genuine_std", "impostor_mean", "impostor_std"):
        assert found[name] == pytest.approx(exact[name], rel=1e-9), name


def _threshold(scores: dict[str, np.ndarray], far: float) -> float:
    """The score whose FMR is nearest to a rate."""
    ranked = np.sort(scores["impostor"])[::-1]
    return float(ranked[round(far * len(ranked)) - 1])


def _gap(scores: dict[str, np.ndarray], at: float) -> float:
    """Distance from a score to the next one above or below, whichever is greater."""
    everything = np.unique(np.concatenate([scores["genuine"], scores["impostor"]]))
    place = int(np.searchsorted(everything, at))
    return float(np.diff(everything[max(0, place - 1) : place + 2]).max())


def test_intervals_agree_with_those_of_lists() -> None:
    x, labels = faces(5, people=150, most=6, noise=1.5)
    scores = listed(x, labels)
    expected = score_uncertainties(**scores, identities=150, rng=np.random.default_rng(0), replicates=400)
    found = all_pairs_uncertainties(
        x, labels, count_pairs(x, labels), pair_moments(x, labels), np.random.default_rng(0), 400
    )
    for name in ("eer", "fmr100", "fmr1000", "fdr", "genuine_mean", "genuine_std", "impostor_mean", "impostor_std"):
        (low, high), (e_low, e_high) = found[name].interval, expected[name].interval
        # same width up to the product of the multiplicities and chance, and the same place
        assert 0.7 < (high - low) / (e_high - e_low) < 1.3, name
        assert abs((low + high) - (e_low + e_high)) / 2 < 0.25 * (e_high - e_low), name


def test_witnesses_instead_of_everyone_widen_rather_than_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = faces(6, people=200, most=6, noise=1.5)
    histogram, moments = count_pairs(x, labels), pair_moments(x, labels)

    def widths() -> np.ndarray:
        found = all_pairs_uncertainties(x, labels, histogram, moments, np.random.default_rng(1), 400)
        return np.array([np.diff(found[name].interval)[0] for name in ("eer", "fmr100", "fmr1000", "fdr")])

    whole = widths()
    monkeypatch.setattr(allpairs_intervals, "WITNESSES", 150)
    few = widths()
    assert (few / whole > 0.85).all()
    assert (few / whole < 2).all()


def test_intervals_are_withheld_where_they_would_rest_on_nothing() -> None:
    x, labels = faces(7, people=40, noise=0.02)
    histogram, moments = count_pairs(x, labels), pair_moments(x, labels)
    found = all_pairs_uncertainties(x, labels, histogram, moments, np.random.default_rng(0), 100)
    assert found["eer"].interval is None
    assert "genuine pairs lie beyond the threshold" in found["fmr100"].note
    assert found["genuine_mean"].interval is not None
    x, labels = faces(7, people=12)
    few = count_pairs(x, labels), pair_moments(x, labels)
    found = all_pairs_uncertainties(x, labels, *few, np.random.default_rng(0))
    assert {each.note for each in found.values()} == {"no interval: 12 identities are too few to resample, expected 30"}
    assert {each.interval for each in found.values()} == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, k: (2 * x, k), "has length 2"),
        (lambda x, k: (x * np.float32("nan"), k), "has length nan"),
        (lambda x, k: (x.astype(np.float64), k), "got float64"),
        (lambda x, k: (x, k[::-1].copy()), "not ascending"),
        (lambda x, k: (x, k + 1), "not ascending"),
    ],
)
def test_what_would_be_counted_wrongly_is_refused(change: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_pairs(*change(*faces(8)))  # type: ignore[operator]


def test_pairs_of_one_kind_have_no_statistics() -> None:
    x, labels = faces(8)
    one = np.zeros_like(labels)
    with pytest.raises(ValueError, match="and 0 impostor scores"):
        histogram_statistics(count_pairs(x, one), (0.5, 0.1, 0.0, 0.1))
