"""The study of intervals in small: 50 suites must not contradict what 1,000 showed, and a wrong method must.

Bounds: of 50 intervals that cover with probability 0.92, fewer than 41 hold the truth once in 200 studies; of 50 tests
at the 5 percent level, 8 or more reject once in 250. A bootstrap over pairs, and tests that leave out seeds, fail them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

SUITES = 50
FEWEST_COVERED = 41 / SUITES
MOST_REJECTED = 7 / SUITES


@pytest.fixture(scope="module")
def study(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("studies/intervals/simulate.py")


def test_intervals_over_identities_cover(study: ModuleType) -> None:
    found = study.coverage(study.verification_suite, SUITES, "hard", 300, 6000)
    found |= study.coverage(study.separability_suite, SUITES, "hard", 300, study.IMPOSTORS)
    for name in ("accuracy", "tar", "eer", "fdr"):
        assert found[name]["bootstrap"] == 1, name
        assert found[name]["covered"] >= FEWEST_COVERED, (name, found[name])
    assert found["fmr1000"]["given"] == 0, "20 impostor scores lie beyond that threshold"


def test_intervals_over_pairs_do_not(study: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every genuine pair of the world's people in the protocol, and so most dependence."""
    design = (SUITES, "hard", 100, 3000)
    assert study.coverage(study.verification_suite, *design)["accuracy"]["covered"] >= FEWEST_COVERED
    own = study.PairIdentities
    monkeypatch.setattr(own, "of", classmethod(lambda cls, a, b: own(np.arange(len(a)), np.arange(len(a)), len(a))))
    wrong = study.coverage(study.verification_suite, *design)["accuracy"]
    assert wrong["bootstrap"] == 1
    assert wrong["covered"] < FEWEST_COVERED


def test_a_method_seldom_differs_from_itself(study: ModuleType) -> None:
    found = study.positives(SUITES, *study.PROTOCOL, 3, 2.0)
    assert found["ours"] <= MOST_REJECTED
    for wrong in ("people only (bootstrap)", "exact McNemar of one seed"):
        assert found[wrong] > 2 * MOST_REJECTED, wrong


def test_a_real_difference_is_found(study: ModuleType) -> None:
    found = study.positives(20, *study.PROTOCOL, 5, 0.5, lead=0.05)
    assert found["ours"] > 0.8


def test_the_world_is_what_it_says(study: ModuleType) -> None:
    """Protocols repeat no pair, folds share nobody, and a seed's noise is in points of accuracy."""
    pairs = study.protocol(np.random.default_rng(0), 300, 2000)
    assert len(np.unique(np.stack([pairs.a, pairs.b]), axis=1).T) == 2000
    people = np.stack([pairs.a, pairs.b]) // study.IMAGES
    assert ((people[0] == people[1]) == pairs.same).all()
    assert (people // 30 == pairs.fold).all()
    rng = np.random.default_rng(1)
    first, second = study.two_rows(rng, 3000, 1, 0.0, 0.0, 0.03)
    many = study.protocol(rng, 3000, 20_000)
    lead = study.decisions(first, many).mean() - study.decisions(second, many).mean()
    assert lead == pytest.approx(0.03, abs=0.01)
