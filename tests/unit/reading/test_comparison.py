"""`harness compare`: recipes first, then tests of methods or of models, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from click.testing import Result as Outcome

from harness.cli import main
from harness.errors import DataError, InputError
from harness.reading import comparison_tables as comparisons
from harness.reading.comparison import Comparison, compare
from harness.reading.metrics import About
from harness.reading.over_seeds import untestable
from harness.results import Dataset, Environment, MetricRecord, Result, result_folder, write_result

PAIRS, PEOPLE = 2000, 300
DATASET: dict[str, dict[str, Any]] = {
    "fdr": {"title": "FDR", "better": "higher", "headline": True, "relative": True, "margin": 0.10},
    "eer": {"title": "EER", "unit": "fraction", "better": "lower", "headline": True},
    "spread": {"title": "spread", "headline": True, "margin": 0.5},
    "moment": {},
}


def accuracy_record(name: str, value: float, protocol: str) -> MetricRecord:
    return MetricRecord(
        name=f"{name}/accuracy",
        value=value,
        n=PAIRS,
        protocol=protocol,
        title=name,
        unit="fraction",
        better="higher",
        headline=True,
        ranked=True,
        average="average/accuracy",
        margin=0.02,
        pairs=f"{name}-pairs",
    )


def pairs(people: int = PEOPLE, seed: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    same = np.arange(PAIRS) % 2 == 0
    first = rng.integers(0, people, PAIRS)
    second = np.where(same, first, (first + rng.integers(1, people, PAIRS)) % people)
    image = np.arange(PAIRS)
    people = {"identity_a": first, "identity_b": second}
    return {"a": 2 * image, "b": 2 * image + 1, **people, "same": same, "fold": image * 10 // PAIRS}


def put(
    workdir: Path,
    row: str,
    seed: int,
    accuracies: dict[str, float],
    suite: str = "demo",
    protocol: str = "sha256:p",
    table: dict[str, np.ndarray] | None = None,
    judged: dict[str, float] | None = None,
    **more: Any,
) -> None:
    """A result with random decisions of the given accuracies."""
    given: dict[str, Any] = {
        "suite": suite,
        "row": row,
        "generator": row,
        "seed": seed,
        "status": "done",
        "recipe": "sha256:r",
        "dataset": Dataset(identities=150, per_identity=12, images=1800),
        "parameters": {"generator": row, "settings.w": 0.5 if row == "a" else 0.0, "settings.steps": 20},
        "started": 0,
        "finished": 1,
        "environment": Environment(harness="0.1.0"),
    }
    folder = result_folder(workdir, suite, row, seed)
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    records = []
    for index, (name, accuracy) in enumerate(accuracies.items()):
        rng = np.random.default_rng([seed, index, sum(map(ord, row))])
        columns = dict(table or pairs()) | {"correct": rng.random(PAIRS) < accuracy}
        pq.write_table(pa.table(columns), folder / "tables" / f"{name}-pairs.parquet")
        value = float(columns["correct"].mean())
        records.append(accuracy_record(name, value, protocol))
    records += [
        MetricRecord(name=f"separability/{name}", value=value, n=9, protocol="sha256:j", **DATASET[name])
        for name, value in (judged or {}).items()
    ]
    write_result(folder, Result(**(given | {"metrics": records} | more)))


def fill(workdir: Path, a: float = 0.9, b: float = 0.8, seeds: int = 3, **more: Any) -> None:
    for row, accuracy in (("a", a), ("b", b)):
        for seed in range(seeds):
            put(workdir, row, seed, {"lfw": accuracy, "cfp": accuracy}, **more)


def run(workdir: Path, *arguments: str) -> Outcome:
    return CliRunner().invoke(main, ["compare", *arguments, "--workdir", str(workdir)])


def by_name(comparison: Comparison) -> dict[str, Any]:
    return {test.title: test for test in comparison.tests}


def test_three_seeds_compare_the_methods(tmp_path: Path) -> None:
    fill(tmp_path)
    found = compare(tmp_path, "a", "demo/b")
    assert found.of_methods
    assert found.seeds == (0, 1, 2)
    tests = by_name(found)
    assert list(tests) == ["lfw", "cfp", "average"]
    for test in tests.values():
        assert test.difference.value == pytest.approx(test.a - test.b)
        assert 0.08 < test.difference.value < 0.12
        assert 0 < test.difference.low < test.difference.value < test.difference.high
        assert test.people == PEOPLE
    smaller, larger = sorted((tests["lfw"].difference.p, tests["cfp"].difference.p))
    corrected = sorted((tests["lfw"].corrected, tests["cfp"].corrected))
    assert corrected == pytest.approx([2 * smaller, max(2 * smaller, larger)])
    assert tests["average"].corrected is None
    # decisions are independent between pairs, so the average of two benchmarks varies less than either
    assert tests["average"].difference.people < tests["lfw"].difference.people


def test_the_variance_over_people_is_that_of_pairs_which_do_not_depend_on_people(tmp_path: Path) -> None:
    fill(tmp_path)
    tables = [
        pq.read_table(result_folder(tmp_path, "demo", row, seed) / "tables" / "lfw-pairs.parquet")["correct"].to_numpy()
        for row in "ab"
        for seed in range(3)
    ]
    mean = np.mean(np.array(tables[:3], float) - np.array(tables[3:], float), axis=0)
    # what is peculiar to a pair counts once if it is genuine and three times if it is impostor
    expected = np.sqrt((1 + 3) / 2 * mean.var() / PAIRS)
    assert by_name(compare(tmp_path, "a", "b"))["lfw"].difference.people == pytest.approx(expected, rel=0.15)


def test_two_runs_of_one_method_do_not_differ(tmp_path: Path) -> None:
    fill(tmp_path, 0.85, 0.85)
    found = compare(tmp_path, "a", "b")
    assert all(test.difference and test.difference.p > 0.05 for test in found.tests)
    assert "no difference shown" in comparisons.footers(found)[0]


def test_fewer_seeds_compare_two_trained_models_and_say_so(tmp_path: Path) -> None:
    fill(tmp_path, seeds=2)
    found = compare(tmp_path, "a", "b")
    assert not found.of_methods
    assert [(seed, model.p < 0.001) for seed, model, _ in found.tests[0].models] == [(0, True), (1, True)]
    assert all(corrected >= model.p for test in found.tests for _, model, corrected in test.models)
    done = run(tmp_path, "a", "b")
    assert done.exit_code == 0
    assert "two trained models, not methods" in done.output
    assert "no claim about methods: it needs 3 seeds in common, here are 2" in done.output
    assert "average" not in done.output


def test_a_recognizer_that_is_evaluated_only_is_one_model_whatever_the_seeds(tmp_path: Path) -> None:
    fill(tmp_path)
    for seed in range(3):
        put(tmp_path, "given", seed, {"lfw": 0.9}, generator="recognizer")
    found = compare(tmp_path, "a", "given")
    assert found.seeds == (0,)
    assert not found.of_methods
    assert any("is one trained model, whatever the seeds: given" in note for note in found.notes)


def test_recipes_come_first(tmp_path: Path) -> None:
    fill(tmp_path)
    suite = {
        "name": "demo",
        "sources": {"world": {"use": "faceworld", "settings": {"identities": 40}}},
        "models": {
            "one": {"fit": "a", "source": "world", "settings": {"lr": 0.1}},
            "two": {"fit": "a", "source": "world", "settings": {"lr": 0.2}},
        },
        "rows": {"a": {"use": "a", "model": "one"}, "b": {"use": "b", "model": "two"}},
        "trainer": {"use": "margin", "settings": {"epochs": 3}},
    }
    (tmp_path / "results" / "demo" / "suite.yaml").write_text(yaml.safe_dump(suite))
    assert compare(tmp_path, "a", "b").recipe == {
        "generator": ("a", "b"),
        "model.settings.lr": (0.1, 0.2),
        "settings.w": (0.5, 0.0),
    }
    text = run(tmp_path, "a", "b").output
    assert text.index("model.settings.lr") < text.index("benchmark")


@pytest.mark.parametrize("format_", ["table", "json", "markdown"])
def test_every_format_holds_every_benchmark(tmp_path: Path, format_: str) -> None:
    fill(tmp_path)
    done = run(tmp_path, "a", "b", "--format", format_)
    assert done.exit_code == 0, done.output
    for word in ("lfw", "cfp", "average", "settings.w", "a is higher on lfw, cfp, average"):
        assert word in done.output
    if format_ == "json":
        document = json.loads(done.output)
        assert document["of"] == "methods"
        assert document["tests"][0]["difference"]["value"] == pytest.approx(0.1, abs=0.02)
        assert document["recipe"]["settings.w"] == [0.5, 0.0]


def test_rows_under_different_protocols_are_refused(tmp_path: Path) -> None:
    for seed in range(3):
        put(tmp_path, "a", seed, {"lfw": 0.9})
        put(tmp_path, "b", seed, {"lfw": 0.8}, protocol="sha256:other")
    done = run(tmp_path, "a", "b")
    assert done.exit_code == 2
    assert "lfw: demo/a was measured under protocol p, demo/b under other" in done.output
    assert done.output.count("\n") == 1


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    fill(tmp_path)
    put(tmp_path, "late", 7, {"lfw": 0.9})
    put(tmp_path, "other", 0, {"agedb": 0.9})
    put(tmp_path, "a", 0, {"lfw": 0.9}, suite="second")
    for arguments, text in (
        (("a", "b"), "a: several suites have this row; give SUITE/ROW: demo/a, second/a"),
        (("demo/a", "demo/a"), "are one row"),
        (("demo/a", "demo/bb"), "did you mean 'demo/b'"),
        (("demo/a", "demo/bb"), "unknown row 'demo/bb', expected one of demo/a, demo/b, "),
        (("b", "late"), "have no seed in common (b has 0, 1, 2 and late has 7)"),
        (("b", "other"), "demo/b and demo/other share no metric that can be compared (lfw, cfp against agedb)"),
    ):
        with pytest.raises(InputError) as caught:
            compare(tmp_path, *arguments)
        assert text in str(caught.value)


def test_tables_of_an_earlier_version_or_of_other_pairs_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    put(tmp_path, "b", 1, {"lfw": 0.8, "cfp": 0.8}, table=pairs(seed=6))
    with pytest.raises(DataError, match="its pairs of lfw are not those of"):
        compare(tmp_path, "a", "b")
    old = {name: column for name, column in pairs().items() if not name.startswith("identity")}
    put(tmp_path, "b", 1, {"lfw": 0.8, "cfp": 0.8}, table=old)
    with pytest.raises(DataError, match="without identity_a, identity_b, of an earlier version; run the suite again"):
        compare(tmp_path, "a", "b")


def test_unknown_identities_and_few_identities_are_said(tmp_path: Path) -> None:
    alone = pairs()
    number = np.arange(PAIRS)
    alone |= {"identity_a": 2 * number, "identity_b": np.where(alone["same"], 2 * number, 2 * number + 1)}
    fill(tmp_path / "unknown", table=alone)
    unknown = compare(tmp_path / "unknown", "a", "b")
    text = "\n".join(comparisons.footers(unknown))
    assert "so folds were resampled, which are taken to show different people: lfw, cfp" in text
    assert "too few to say" not in text
    assert {test.people for test in unknown.tests} == {0}
    # the decisions are independent, so folds vary as pairs do; ten of them say so to within a factor of two
    lfw, known = by_name(unknown)["lfw"].difference, np.sqrt((0.9 * 0.1 + 0.8 * 0.2) / 3 / PAIRS)
    assert known / 2 < lfw.people < 2 * known
    fill(tmp_path / "few", table=pairs(people=12))
    text = "\n".join(comparisons.footers(compare(tmp_path / "few", "a", "b")))
    assert "lfw: 12 identities are too few to say how other people would score" in text


def test_what_differs_beside_the_method_is_said(tmp_path: Path) -> None:
    fill(tmp_path)
    for seed in range(3):
        size = Dataset(identities=10, per_identity=12, images=120)
        put(tmp_path, "c", seed, {"lfw": 0.9, "own": 0.9}, recipe="sha256:r2", dataset=size)
    put(tmp_path, "c", 3, {"lfw": 0.9, "own": 0.9}, recipe="sha256:r2", dataset=size)
    notes = "\n".join(compare(tmp_path, "a", "c").notes)
    assert "not compared, only one row has it: cfp, own" in notes
    assert "the recipes of training differ" in notes
    assert "(150 identities x 12 images against 10 identities x 12 images)" in notes
    assert "left out: c, seed 3" in notes
    assert "one generator fit" in notes


def fill_datasets(workdir: Path, shares: tuple[float, ...]) -> None:
    """Rows a and b, whose FDR differs by these shares of b's, seed by seed."""
    for seed, share in enumerate(shares):
        base = 1.0 + 0.5 * seed  # far more than the difference, and gone once paired
        put(workdir, "b", seed, {}, judged={"fdr": base, "eer": 0.2, "spread": 1.0, "moment": 3.0})
        put(workdir, "a", seed, {}, judged={"fdr": base * (1 + share), "eer": 0.25, "spread": 1.2, "moment": 1.0})


@pytest.mark.parametrize(
    ("shares", "difference", "interval", "p", "bounds", "equal"),
    [
        # mean 2, standard deviation 1 over three seeds; t(2) is 4.303 at 95 percent and 2.920 at 90
        ((0.01, 0.02, 0.03), "+2.00", "[-0.48, +4.48]", "0.0742", "[+0.31, +3.69]", "yes"),
        ((0.08, 0.09, 0.10), "+9.00", "[+6.52, +11.48]", "0.0041", "[+7.31, +10.69]", "not shown"),
    ],
)
def test_dataset_metrics_are_paired_by_seed(
    tmp_path: Path, shares: tuple[float, ...], difference: str, interval: str, p: str, bounds: str, equal: str
) -> None:
    fill_datasets(tmp_path, shares)
    found = compare(tmp_path, "a", "b")
    assert list(by_name(found)) == ["FDR", "EER", "spread"], "what has no column is not tested"
    assert found.equal == (equal == "yes")
    datasets, equality = comparisons.parts(found)[1:]
    lines = {line[0]: line[1:] for line in datasets[2]}
    assert lines["FDR, %"][2:] == [difference, interval, p]
    assert lines["EER, points"][:3] == ["25.0", "20.0", "+5.00"]
    assert lines["spread"][:3] == ["1.20", "1.00", "+0.2"]
    assert [line[1:] for line in equality[2]] == [
        [bounds, "within 10", equal],
        ["[+0.2, +0.2]", "within 0.5", "yes"],
    ]
    assert equality[0] == f"Is a equal to b? {equal}"


def test_accuracies_and_dataset_metrics_stand_side_by_side(tmp_path: Path) -> None:
    for row, accuracy, fdr in (("a", 0.9, 2.0), ("b", 0.899, 1.0)):
        for seed in range(3):
            put(tmp_path, row, seed, {"lfw": accuracy, "cfp": accuracy}, judged={"fdr": fdr + 0.01 * seed})
    found = compare(tmp_path, "a", "b")
    tests = by_name(found)
    assert list(tests) == ["lfw", "cfp", "average", "FDR"]
    assert tests["FDR"].corrected is None
    assert [test.title for test in found.margins] == ["average", "FDR"], "an average stands for its members"
    low, high = tests["average"].bounds
    assert low < tests["average"].difference.value < high
    assert tests["average"].equal == (max(-low, high) <= 0.02)
    assert tests["FDR"].equal is False
    assert found.equal is False
    document = json.loads(comparisons.to_json(found))
    assert [test["metric"] for test in document["tests"]][-2:] == ["average/accuracy", "separability/fdr"]
    assert document["equal"] is False
    frame = found.to_frame()
    assert list(frame.title) == ["lfw", "cfp", "average", "FDR"]
    assert frame.p_holm.notna().tolist() == [True, True, False, False]


def test_fewer_seeds_leave_dataset_metrics_untested(tmp_path: Path) -> None:
    fill_datasets(tmp_path, (0.1, 0.2))
    found = compare(tmp_path, "a", "b")
    assert not found.tests
    assert found.equal is False
    assert "not tested below 3 seeds: FDR, EER, spread" in found.notes
    assert "no claim about methods" in run(tmp_path, "a", "b").output


def test_dataset_metrics_under_different_rules_are_left_out_with_a_note(tmp_path: Path) -> None:
    fill_datasets(tmp_path, (0.1, 0.2, 0.3))
    for seed in range(3):
        own = MetricRecord(name="separability/fdr", value=1.0, n=9, protocol="sha256:other", **DATASET["fdr"])
        eer = MetricRecord(name="separability/eer", value=0.2, n=9, protocol="sha256:j", **DATASET["eer"])
        put(tmp_path, "c", seed, {}, metrics=[own, eer])
    found = compare(tmp_path, "c", "b")
    assert list(by_name(found)) == ["EER"]
    assert "not compared, measured under different rules (other and j): FDR" in found.notes
    assert "not compared, only one row has it: spread" in found.notes


def test_a_share_of_zero_is_left_out_with_a_note(tmp_path: Path) -> None:
    fill_datasets(tmp_path, (0.1, 0.2, 0.3))
    put(tmp_path, "b", 1, {}, judged={"fdr": 0.0, "eer": 0.2, "spread": 1.0})
    found = compare(tmp_path, "a", "b")
    assert list(by_name(found)) == ["EER", "spread"]
    assert "not compared, a share of zero: FDR" in found.notes


def test_what_is_not_a_number_is_not_tested() -> None:
    about = About("zoo/size", "size")
    numbers = np.array([1.0, 2.0])
    assert untestable(about, (numbers, numbers)) == ""
    assert untestable(about, (np.array([1.0, np.nan]), numbers)) == "not a number in every seed"


def test_lost_tables_leave_the_accuracy_out_and_go_on(tmp_path: Path) -> None:
    for row in "ab":
        for seed in range(3):
            put(tmp_path, row, seed, {"lfw": 0.9, "cfp": 0.8}, judged={"spread": 1.0})
    (result_folder(tmp_path, "demo", "b", 1) / "tables" / "cfp-pairs.parquet").unlink()
    found = compare(tmp_path, "a", "b")
    assert list(by_name(found)) == ["lfw", "spread"], "a mean over fewer benchmarks would be another quantity"
    assert "not tested, the tables of decisions pair by pair are not beside the results: cfp" in found.notes
    assert "not tested, as members of it are not: average" in found.notes
    assert found.untested == ("cfp", "average")
    assert found.equal is False
    assert any("equality is not shown, as there is no test of cfp, average" in x for x in comparisons.footers(found))


def test_results_of_earlier_versions_have_nothing_to_compare(tmp_path: Path) -> None:
    for row in "ab":
        bare = [MetricRecord(name="lfw/accuracy", value=0.9, n=PAIRS, protocol="p")]
        for seed in range(3):
            put(tmp_path, row, seed, {}, metrics=bare)
    with pytest.raises(InputError, match="share no metric that can be compared"):
        compare(tmp_path, "a", "b")
