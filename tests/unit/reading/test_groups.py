"""Shared ranks: letters from the tests of `harness compare`, on made decisions and on a committed study."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path

import networkx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reading import kept
from harness.reading.against import compare_against
from harness.reading.leaderboard import Board, load
from harness.results import Dataset, Environment, MetricRecord, Result, result_folder, write_result
from harness.stats.groups import letters

NEGATIVES = Path(__file__).parents[3] / "benchmarks" / "studies" / "negatives"
PAIRS, PEOPLE = 800, 60
ACCURACY = {"unit": "fraction", "better": "higher", "headline": True, "ranked": True, "average": "average/accuracy"}
ROWS = {"a": 0.95, "b": 0.94, "c": 0.85, "d": 0.84, "e": 0.70}


def graph(size: int, edges: set[tuple[int, int]]) -> np.ndarray:
    differ = np.zeros((size, size), dtype=bool)
    for i, j in edges:
        differ[i, j] = differ[j, i] = True
    return differ


@st.composite
def graphs(draw: st.DrawFn) -> np.ndarray:
    size = draw(st.integers(1, 9))
    pairs = [*combinations(range(size), 2)]
    return graph(size, draw(st.sets(st.sampled_from(pairs))) if pairs else set())


@given(graphs())
def test_two_rows_share_a_letter_exactly_where_they_do_not_differ(differ: np.ndarray) -> None:
    given_ = letters(differ)
    assert all(given_)
    for i, j in combinations(range(len(differ)), 2):
        assert bool(set(given_[i]) & set(given_[j])) != differ[i, j]


def test_the_letters_are_the_maximal_groups_that_networkx_finds() -> None:
    """Rows that differ by more than two places: every group is three neighbours, and there is no other."""
    differ = np.abs(np.subtract.outer(np.arange(12), np.arange(12))) > 2
    found = letters(differ)
    groups = {frozenset(i for i, each in enumerate(found) if letter in each) for letter in set("".join(found))}
    assert groups == {frozenset(clique) for clique in networkx.find_cliques(networkx.from_numpy_array(~differ))}
    assert found[:4] == ["a", "ab", "abc", "bcd"]


def test_more_groups_than_letters_stay_apart() -> None:
    assert letters(~np.eye(60, dtype=bool))[50:54] == ["Y", "Z", ".a", ".b"]


def put(workdir: Path, row: str, seed: int, accuracy: float, **more: object) -> None:
    rng = np.random.default_rng(5)
    same = np.arange(PAIRS) % 2 == 0
    first = rng.integers(0, PEOPLE, PAIRS)
    second = np.where(same, first, (first + rng.integers(1, PEOPLE, PAIRS)) % PEOPLE)
    columns = {"a": np.arange(PAIRS), "b": np.arange(PAIRS), "identity_a": first, "identity_b": second, "same": same}
    columns["fold"] = np.arange(PAIRS) * 10 // PAIRS
    folder = result_folder(workdir, "demo", row, seed)
    (folder / "tables").mkdir(parents=True)
    records = []
    for index, name in enumerate(("lfw", "cfp")):
        right = np.random.default_rng([seed, index, ord(row)]).random(PAIRS) < accuracy
        pq.write_table(pa.table({**columns, "correct": right}), folder / "tables" / f"{name}-pairs.parquet")
        described = {"title": name, "pairs": f"{name}-pairs", **ACCURACY}
        records.append(MetricRecord(name=f"{name}/accuracy", value=right.mean(), n=PAIRS, protocol="p", **described))
    noise = np.random.default_rng([seed, ord(row)]).normal(0, 0.02)
    fdr = {"title": "FDR", "better": "higher", "headline": True, "relative": True}
    records.append(MetricRecord(name="x/fdr", value=accuracy + noise, n=9, protocol="p", **fdr))
    plain = {"suite": "demo", "row": row, "generator": row, "seed": seed, "status": "done", "recipe": "r"}
    plain |= {"dataset": Dataset(identities=5, per_identity=4, images=20), "metrics": records, "started": 0}
    write_result(folder, Result(**{**plain, "finished": 1, "environment": Environment(harness="0"), **more}))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("groups")
    for row, accuracy in ROWS.items():
        for seed in range(5 if row in "abc" else 4):
            put(made, row, seed, accuracy)
    return made


def groups(board: Board, metric: str) -> dict[str, str]:
    return {row.name: row.cells[metric].rank for row in board.rows}


@pytest.mark.parametrize("metric", ["lfw/accuracy", "average/accuracy", "x/fdr"])
def test_rows_share_a_rank_where_compare_against_finds_no_difference_from_either(workdir: Path, metric: str) -> None:
    found = groups(load(workdir), metric)
    p = {}
    for reference in ROWS:
        against = compare_against(workdir, reference)
        (quantity,) = [quantity for quantity in against.quantities if quantity.about.name == metric]
        p |= {(row, reference): value for row, value in quantity.corrected.items()}
    for one, other in combinations(ROWS, 2):
        differ = max(p[one, other], p[other, one]) < 0.05
        assert bool(set(found[one]) & set(found[other])) != differ, (one, other, found)
    assert len(set(found.values())) > 1, "some rows differ"
    assert found["a"][0] == "a"


def test_the_negatives_share_one_rank_in_accuracy_and_fall_into_the_studys_groups_in_fdr() -> None:
    board = load(NEGATIVES, "negatives")
    for metric in ("fw-lfw/accuracy", "fw-cfp/accuracy", "fw-agedb/accuracy", "average/accuracy"):
        assert set(groups(board, metric).values()) == {"a"}, metric
    # the study's README: adaptive above far, far above mid and random, and baseline below all
    fdr = {"adaptive": "a", "far": "b", "mid": "c", "random": "c", "null": "d", "close": "e", "baseline": "f"}
    assert groups(board, "separability/fdr") == fdr


def test_without_decisions_there_is_no_rank_and_the_reason_is_told(workdir: Path, tmp_path: Path) -> None:
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    (result_folder(tmp_path, "demo", "b", 1) / "tables" / "lfw-pairs.parquet").write_bytes(b"no table")
    board = load(tmp_path)
    cells = {row.name: row.cells["lfw/accuracy"] for row in board.rows}
    assert cells["b"].rank == ""
    assert "decisions pair by pair are not beside" in cells["b"].unranked
    assert all(cells[name].rank for name in "acde")
    assert groups(board, "average/accuracy")["b"] == ""
    assert all(groups(board, "cfp/accuracy").values())


def test_ranks_are_kept_until_a_table_changes(workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "results" / kept.FILE).write_text("{damaged")
    before = groups(load(tmp_path), "lfw/accuracy")
    calls: list[object] = []
    monkeypatch.setattr(kept, "_made", lambda *given: calls.append(given) or {})
    assert groups(load(tmp_path), "lfw/accuracy") == before
    assert not calls
    path = result_folder(tmp_path, "demo", "a", 0) / "tables" / "lfw-pairs.parquet"
    pq.write_table(pq.read_table(path), path, compression="none")
    load(tmp_path)
    assert len(calls) == 1
