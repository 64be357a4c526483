"""Rows that train on the faces of other rows and of sources: what they share, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from suites import write

from harness.assemble import strictest_terms
from harness.errors import InputError
from harness.graph import MixStage, RowPlan, SuitePlan, stage_from_json
from harness.planning.planner import plan_suite
from harness.suites.read import load_suite

TWO = [{"row": "idiffface"}, {"source": "world", "identities": 5}]


def planned(folder: Path, mix: list[dict[str, Any]], **sections: Any) -> SuitePlan:
    path = write(folder, rows={"mixed": {"mix": mix}}, **sections)
    return plan_suite(load_suite(path), path)


def row(plan: SuitePlan, name: str) -> RowPlan:
    return next(each for each in plan.row_plans if each.row == name)


def fault(folder: Path, mix: list[dict[str, Any]]) -> str:
    with pytest.raises(InputError) as caught:
        planned(folder, mix)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_mixture_generates_nothing_of_its_own(tmp_path: Path) -> None:
    plan = planned(tmp_path, TWO)
    mixed, generated = row(plan, "mixed"), row(plan, "idiffface")
    assert mixed.mix is not None
    assert generated.align is not None
    assert mixed.generator == "mix"
    assert mixed.mix.parents["parts:00"] == generated.align.id
    assert len([stage for stage in plan.stages.values() if stage.kind == "generate"]) == 3
    assert mixed.recognizer.parents["dataset"] == mixed.mix.id
    assert stage_from_json(mixed.mix.to_json()).parents == mixed.mix.parents
    separability = next(stage for stage in mixed.evaluations if stage.component == "separability")
    assert separability.dataset == mixed.mix.id  # the union is judged


def test_the_key_follows_parts_sizes_and_order(tmp_path: Path) -> None:
    mixes = [TWO, TWO[::-1], TWO[:1], [{"row": "negfacediff"}, TWO[1]], [TWO[0], {"source": "world", "identities": 6}]]
    found = [row(planned(tmp_path, mix), "mixed") for mix in mixes]
    assert len({each.recognizer.key for each in found}) == len(mixes)
    assert found[0].recognizer.key == row(planned(tmp_path, TWO), "mixed").recognizer.key


def test_a_part_of_a_row_is_named_after_it_and_shares_its_images(tmp_path: Path) -> None:
    plan = planned(tmp_path, [{"row": "authentic", "identities": 4, "per_identity": 3}])
    small = row(plan, "mixed")
    assert small.generator == "authentic"
    assert isinstance(small.mix, MixStage)
    assert small.mix.sizes == ((4, 3),)
    assert row(plan, "authentic").generate in small.parts


def test_the_strictest_terms_of_the_parts_are_those_of_the_mixture(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for person in "ab":
        (pictures / person).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(pictures / person / "1.png")
    sources = {"theirs": {"use": "images", "path": str(pictures), "commercial_use": "no"}}
    free = planned(tmp_path, [{"row": "authentic"}])
    bound = planned(tmp_path, [{"row": "authentic"}, {"source": "theirs"}], sources=sources)
    assert strictest_terms(free, row(free, "mixed")) == "yes"
    assert strictest_terms(bound, row(bound, "mixed")) == "no"


@pytest.mark.parametrize(
    ("mix", "expected"),
    [
        ([{"row": "mixed"}], "rows.mixed.mix.0.row: a row cannot mix itself"),
        ([{"row": "idiffase"}], "rows.mixed.mix.0.row: unknown row 'idiffase'"),
        ([{"source": "wrld"}], "rows.mixed.mix.0.source: unknown source 'wrld'"),
        ([{"row": "idiffface"}, {"row": "idiffface"}], "the same faces are given twice"),
        ([{"row": "idiffface", "identities": 11}], "rows.mixed.mix.0.identities: got 11, and row 'idiffface' has 10"),
        ([{"row": "idiffface", "source": "world"}], "expected exactly one of the keys 'row' and 'source'"),
        ([{"row": "idiffface", "people": 3}], "unknown key 'people'"),
    ],
)
def test_a_wrong_mixture_is_one_line(tmp_path: Path, mix: list[dict[str, Any]], expected: str) -> None:
    assert expected in fault(tmp_path, mix)


def test_a_mixture_is_mixed_only_once(tmp_path: Path) -> None:
    rows = {"again": {"mix": [{"row": "mixed"}]}, "mixed": {"mix": TWO}}
    path = write(tmp_path, rows=rows)
    with pytest.raises(InputError, match="has no images of its own"):
        plan_suite(load_suite(path), path)


def test_the_resolved_suite_is_a_suite(tmp_path: Path) -> None:
    path = write(tmp_path, rows={"mixed": {"mix": TWO}})
    suite = load_suite(path)
    again = tmp_path / "resolved.yaml"
    again.write_text(suite.to_yaml())
    assert load_suite(again).rows["mixed"] == suite.rows["mixed"]
