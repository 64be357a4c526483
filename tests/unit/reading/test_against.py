"""`harness compare --against`: many rows from one, with Holm's correction over the rows; and the committed studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Outcome

from harness.cli import main
from harness.errors import InputError
from harness.reading import against_tables
from harness.reading.against import Against, compare_against
from harness.results import Environment, MetricRecord, Result, result_folder, write_result
from harness.stats.comparison import holm

STUDIES = Path(__file__).parents[3] / "benchmarks" / "studies"
NEGATIVES = STUDIES / "negatives"
FDR: dict[str, Any] = {"title": "FDR", "better": "higher", "headline": True, "relative": True, "margin": 0.10}
EER: dict[str, Any] = {"title": "EER", "unit": "fraction", "better": "lower", "headline": True}

# What the script that made the RESULTS.md of the study, before `harness compare` could, says of the same results: rows
# against `baseline`.
FIGURES = {
    "average, points": {
        "null": "-0.91 [-2.97, +1.16] p 1",
        "close": "-0.49 [-4.43, +3.44] p 1",
        "mid": "-0.41 [-2.77, +1.96] p 1",
        "far": "-0.93 [-4.05, +2.18] p 1",
        "random": "-0.21 [-2.05, +1.63] p 1",
        "adaptive": "-0.74 [-3.69, +2.21] p 1",
    },
    "FDR, %": {
        "null": "+99.90 [+66.02, +133.77] p 0.02",
        "close": "+66.76 [+59.15, +74.36] p 0.0042",
        "mid": "+135.37 [+107.65, +163.09] p 0.011",
        "far": "+183.78 [+128.08, +239.49] p 0.02",
        "random": "+125.11 [+86.89, +163.33] p 0.02",
        "adaptive": "+221.70 [+148.64, +294.75] p 0.02",
    },
    "EER, points": {
        "null": "-6.26 [-8.09, -4.43] p 0.0092",
        "close": "-4.36 [-4.83, -3.88] p 0.0038",
        "mid": "-7.85 [-9.16, -6.54] p 0.0075",
        "far": "-10.09 [-12.18, -8.00] p 0.0092",
        "random": "-7.41 [-9.00, -5.82] p 0.0092",
        "adaptive": "-11.32 [-13.97, -8.67] p 0.0092",
    },
    "pixel diversity, %": {
        "null": "+8.04 [+6.61, +9.46] p 0.0068",
        "close": "+5.22 [+4.78, +5.67] p 0.0024",
        "mid": "+9.56 [+8.18, +10.94] p 0.0056",
        "far": "+11.71 [+8.83, +14.59] p 0.0077",
        "random": "+8.45 [+4.43, +12.47] p 0.012",
        "adaptive": "+14.55 [+11.37, +17.74] p 0.0077",
    },
}
BOUNDS = {
    "average, points": {
        "null": "[-2.40, +0.59]",
        "close": "[-3.22, +2.23]",
        "mid": "[-2.11, +1.30]",
        "far": "[-3.14, +1.28]",
        "random": "[-1.57, +1.15]",
        "adaptive": "[-2.85, +1.37]",
    },
    "FDR, %": {
        "null": "[+76.91, +122.89]",
        "close": "[+61.60, +71.92]",
        "mid": "[+116.56, +154.18]",
        "far": "[+145.98, +221.59]",
        "random": "[+99.17, +151.04]",
        "adaptive": "[+172.12, +271.28]",
    },
    "pixel diversity, %": {
        "null": "[+7.07, +9.00]",
        "close": "[+4.92, +5.52]",
        "mid": "[+8.62, +10.50]",
        "far": "[+9.76, +13.66]",
        "random": "[+5.72, +11.18]",
        "adaptive": "[+12.39, +16.72]",
    },
}


def put(workdir: Path, row: str, fdrs: tuple[float, ...], suite: str = "demo", eer: float = 0.2, **more: Any) -> None:
    for seed, fdr in enumerate(fdrs):
        metrics = [
            MetricRecord(name="separability/fdr", value=fdr, n=9, protocol="j", **FDR),
            MetricRecord(name="separability/eer", value=eer + 0.01 * seed, n=9, protocol="j", **EER),
        ]
        given: dict[str, Any] = {"suite": suite, "row": row, "generator": "toy", "seed": seed, "status": "done"}
        given |= {"metrics": metrics, "started": 0, "finished": 1, "environment": Environment(harness="0")}
        write_result(result_folder(workdir, suite, row, seed), Result(**(given | more)))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    put(tmp_path, "base", (1.0, 1.5, 2.0), parameters={"steps": 20})
    put(tmp_path, "near", (1.01, 1.53, 2.06), parameters={"steps": 50})
    put(tmp_path, "far", (1.08, 1.635, 2.2), eer=0.1, parameters={"steps": 5})
    return tmp_path


def run(workdir: Path, *arguments: str) -> Outcome:
    return CliRunner().invoke(main, ["compare", *arguments, "--workdir", str(workdir)])


def table(against: Against, title: str) -> dict[str, dict[str, str]]:
    """Row -> column -> cell of the table whose title starts so."""
    _, header, lines = next(part for part in against_tables.parts(against) if part[0].startswith(title))
    return {line[0]: dict(zip(header[1:], line[1:], strict=True)) for line in lines}


def test_every_other_row_of_the_suite_is_compared(workdir: Path) -> None:
    put(workdir, "elsewhere", (1.0, 1.0, 1.0), suite="second")
    found = compare_against(workdir, "base")
    assert (found.reference, set(found.rows)) == ("base", {"near", "far"})
    assert [q.heading for q in found.quantities] == ["FDR, %", "EER, points"]
    for quantity in found.quantities:
        p_values = [test.difference.p for test in quantity.tests.values() if test.difference]
        assert list(quantity.corrected.values()) == holm(p_values), "over the rows"
    # mean 2 (9), standard deviation 1 over three seeds; t(2) is 4.303 at 95 percent and 2.920 at 90
    differences = table(found, "Differences to base: datasets")
    assert differences["near"]["FDR, %"] == "+2.00 [-0.48, +4.48] p 0.074"
    assert differences["far"]["FDR, %"] == "+9.00 [+6.52, +11.48] p 0.0082"
    assert differences["near"]["EER, points"] == "+0.00 [+0.00, +0.00] p 1"
    equality = table(found, "Equal to base?")
    assert equality["near"] == {"FDR, % (within 10)": "[+0.31, +3.69]", "equal": "yes"}
    assert equality["far"] == {"FDR, % (within 10)": "[+7.31, +10.69]", "equal": "not shown"}
    assert table(found, "What differs")["far"] == {"where it is not as base": "steps: 5, not 20"}


def test_named_rows_are_compared_in_their_order(workdir: Path) -> None:
    put(workdir, "base", (1.0, 1.0, 1.0), suite="second")
    put(workdir, "near", (1.0, 1.0, 1.0), suite="second")
    assert compare_against(workdir, "demo/base", ["near", "far"]).rows == ("near", "far")
    both = compare_against(workdir, "demo/base", ["far", "second/near"])
    assert (both.reference, both.rows) == ("demo/base", ("far", "second/near"))
    with pytest.raises(InputError, match=r"unknown row 'demo/fat', expected one of .*did you mean 'demo/far'"):
        compare_against(workdir, "demo/base", ["demo/fat"])
    with pytest.raises(InputError, match="base: several suites have this row"):
        compare_against(workdir, "base")


def test_rows_without_three_seeds_in_common_are_left_out(workdir: Path) -> None:
    put(workdir, "young", (1.0, 1.5))
    assert "left out, fewer than 3 seeds in common: demo/young" in compare_against(workdir, "base").notes
    with pytest.raises(InputError, match="demo/base has 3 seeds in common with none of: demo/young"):
        compare_against(workdir, "base", ["young"])


def test_a_note_on_some_rows_names_them(workdir: Path) -> None:
    put(workdir, "near", (1.01, 1.53, 2.06), recipe="sha256:other")
    notes = compare_against(workdir, "base").notes
    assert "near: the recipes of training differ, so a difference is of recipe and method together" in notes
    assert "with one generator fit, nothing here holds the variance of fitting a generator again" in notes


def test_the_frame_has_a_line_per_row_and_quantity(workdir: Path) -> None:
    frame = compare_against(workdir, "base").to_frame()
    assert len(frame) == 4
    far = frame[(frame.a == "far") & (frame.metric == "separability/fdr")].iloc[0]
    assert (far.b, far.title, far.margin, far.equal) == ("base", "FDR", 0.10, False)
    assert (far.difference, far.low_90, far.high_90) == pytest.approx((0.09, 0.07314, 0.10686), abs=1e-5)


@pytest.mark.parametrize("format_", ["table", "json", "markdown"])
def test_the_command_in_every_format(workdir: Path, format_: str) -> None:
    done = run(workdir, "--against", "base", "near", "far", "--format", format_, "--picture", str(workdir / "p.png"))
    assert done.exit_code == 0, done.output
    assert (workdir / "p.png").read_bytes().startswith(b"\x89PNG")
    if format_ == "json":
        document = json.loads(done.output)
        assert document["equal"] == {"near": True, "far": False}
        fdr = document["quantities"][0]["rows"]["far"]
        assert fdr["difference"]["value"] == pytest.approx(0.09)
        assert fdr["corrected_over_rows"] == pytest.approx(0.0082, abs=1e-4)
        assert document["recipes"]["near"] == {"steps": [50, 20]}
    else:
        assert "+9.00" in done.output
        assert "not shown" in done.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("base",), "give two rows, or --against ROW; got 1"),
        (("base", "near", "far"), "got 3"),
        (("base", "near", "--picture", "p.png"), "--picture needs --against"),
    ],
)
def test_wrong_numbers_of_rows_are_refused(workdir: Path, arguments: tuple[str, ...], text: str) -> None:
    done = run(workdir, *arguments)
    assert done.exit_code == 2
    assert text in done.output


@pytest.fixture(scope="module")
def negatives() -> Against:
    return compare_against(NEGATIVES, "negatives/baseline", list(FIGURES["FDR, %"]))


@pytest.mark.parametrize("heading", ["FDR, %", "EER, points", "pixel diversity, %"])
def test_the_committed_study_of_negatives_gives_its_figures(negatives: Against, heading: str) -> None:
    differences = table(negatives, "Differences to baseline: datasets")
    assert {row: cells[heading] for row, cells in differences.items()} == FIGURES[heading]
    if heading in BOUNDS:
        assert bounds(negatives, heading) == BOUNDS[heading]


@pytest.mark.skipif(
    not (result_folder(NEGATIVES, "negatives", "far", 0) / "tables" / "fw-lfw-pairs.parquet").is_file(),
    reason="the decisions pair by pair are not beside the results",
)
def test_the_committed_study_of_negatives_gives_its_average_accuracies(negatives: Against) -> None:
    differences = table(negatives, "Differences to baseline: accuracy")
    assert {row: cells["average, points"] for row, cells in differences.items()} == FIGURES["average, points"]
    assert bounds(negatives, "average, points") == BOUNDS["average, points"]


def bounds(against: Against, heading: str) -> dict[str, str]:
    """The 90 percent interval of every row."""
    equality = table(against, "Equal to baseline?")
    return {
        row: next(cell for name, cell in cells.items() if name.startswith(heading)) for row, cells in equality.items()
    }
