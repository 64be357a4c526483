"""Recipes that choose their epoch on the benchmarks: only with the suite's consent, and told in all they made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from suites import write

from harness.assemble import assemble
from harness.errors import InputError
from harness.graph import SuitePlan, stage_from_json
from harness.planning.planner import plan_suite
from harness.reading.leaderboard import build
from harness.reading.tables import footers
from harness.results import Result
from harness.suites.read import load_suite
from harness.tracking.content import Content

CHOSEN = {"use": "margin", "recipe": "tiny", "settings": {"select": "benchmarks"}}
CONSENT = {**CHOSEN, "consent": "chosen-on-test", "protocols": ["fw-lfw"]}


def planned(folder: Path, trainer: dict[str, Any], **sections: Any) -> SuitePlan:
    path = write(folder, **sections)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"trainer": trainer}))  # replaced, not merged
    return plan_suite(load_suite(path), path)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (CHOSEN, "trainer.consent: recipe tiny chooses its epoch by the benchmarks .*`consent: chosen-on-test`"),
        ({**CHOSEN, "consent": "chosen-on-test"}, "trainer.protocols: this key is missing"),
        ({**CONSENT, "protocols": ["fw-lfv"]}, "trainer.protocols: unknown protocol 'fw-lfv'.*did you mean 'fw-lfw'"),
        ({**CONSENT, "settings": {}}, "trainer.protocols: no benchmark chooses .* remove it"),
        ({"use": "margin", "consent": "chosen-on-test"}, "trainer.consent: no benchmark chooses .* remove it"),
        ({**CONSENT, "consent": "yes"}, "trainer.consent: got 'yes'"),
        ({"use": "margin", "settings": {"head": "cosfac"}}, "trainer.settings: unknown head 'cosfac'"),
        ({"use": "margin", "recipe": "negfacediff-2025"}, "trainer.consent: recipe negfacediff-2025"),
    ],
)
def test_what_the_suite_must_say(tmp_path: Path, trainer: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        planned(tmp_path, trainer)
    assert "\n" not in str(error.value)


def test_recognizers_beside_the_rows_are_not_chosen(tmp_path: Path) -> None:
    judge = {"train": "margin", "source": "others", "aligner": "landmarks", **{k: CHOSEN[k] for k in ("settings",)}}
    with pytest.raises(InputError, match=r"recognizers\.judge\.settings: benchmarks choose the epochs of rows alone"):
        planned(tmp_path, {"use": "margin"}, recognizers={"judge": judge})


def test_the_training_rests_on_its_benchmarks(tmp_path: Path) -> None:
    plan = planned(tmp_path / "chosen", CONSENT)
    row = plan.row_plans[0]
    (protocol,) = (stage for stage in plan.stages.values() if stage.kind == "protocol")
    assert row.recognizer.parents["protocols:fw-lfw"] == protocol.id
    assert row.chosen_on == ("fw-lfw",)
    assert stage_from_json(row.recognizer.to_json()) == row.recognizer
    others = planned(tmp_path / "others", CONSENT, protocols={"fw-lfw": {"use": "fw-lfw", "pairs": 400, "size_px": 32}})
    plain = planned(tmp_path / "plain", {"use": "margin", "recipe": "tiny"})
    assert len({plan.recipe, others.recipe, plain.recipe}) == 3, "other benchmarks are another recipe"


def made(plan: SuitePlan, folder: Path, name: str, accuracy: float) -> list[Result]:
    """Results of a row with three seeds, with an accuracy put into them."""
    row = plan.row_plans[0]
    result = assemble(plan, row, {}, "", "cpu", folder)
    metric = {
        "name": "fw-lfw/accuracy",
        "n": 200,
        "protocol": "p",
        "ranked": True,
        "headline": True,
        "better": "higher",
        "title": "fw-lfw",
    }
    values = result.model_dump(by_alias=True) | {"row": name, "metrics": [{**metric, "value": accuracy}]}
    return [Result.model_validate(values | {"seed": seed}) for seed in range(3)]


def test_a_result_says_so_on_the_board_and_in_mlflow(tmp_path: Path) -> None:
    chosen = made(planned(tmp_path / "a", CONSENT), tmp_path / "a", "chosen", 0.9)
    plan = planned(tmp_path / "b", {"use": "margin", "recipe": "tiny"})
    plain = [result for name in ("one", "two") for result in made(plan, tmp_path / "b", name, 0.8)]
    assert [r.chosen_on for r in chosen] == [["fw-lfw"]] * 3
    board = build([*chosen, *plain])
    places = {row.name: row.cells["fw-lfw/accuracy"].place for row in board.rows}
    assert places == {"chosen": None, "one": 1, "two": 2}
    text = "\n".join(footers(board))
    assert "chosen on the test benchmarks (fw-lfw), so higher than it would be on others: chosen" in text
    assert "another recipe and choice of the epoch than one: chosen" in text
    assert Content.of(chosen[0]).tags["harness.chosen_on"] == "chosen on the test benchmarks: fw-lfw"
    assert Content.of(plain[0]).tags["harness.chosen_on"] == ""


def test_one_digest_is_not_enough_to_rank_with_the_chosen(tmp_path: Path) -> None:
    chosen = made(planned(tmp_path / "a", CONSENT), tmp_path / "a", "chosen", 0.9)
    others = [r.model_copy(update={"row": name, "chosen_on": []}) for r in chosen for name in ("one", "two")]
    board = build([*chosen, *others])
    places = {row.name: row.cells["fw-lfw/accuracy"].place for row in board.rows}
    assert places == {"chosen": None, "one": 1, "two": 2}
