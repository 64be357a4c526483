"""The table of recipes: every one is whole, says where it is from, and has the numbers of its source."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from harness.builtin.margin import MarginTrainer
from harness.errors import InputError
from harness.planning.planner import _recipe
from harness.suites.schema import Suite
from harness.training.recipes import TABLE
from harness.training.settings import MarginSettings

RECIPES = MarginTrainer.recipes
# Batch, epochs, rate, epochs at which it falls, head, scale, margin. Source: the papers' and projects' own settings
PUBLISHED = {
    "negfacediff-2025": (256, 200, 0.05, [], "cosface", 64, 0.35),
    "idiffface-2023": (256, 200, 0.05, [], "cosface", 64, 0.35),
    "vec2face-2025": (128, 26, 0.1, [12, 20, 24], "arcface", 64, 0.5),
    "cvlface-adaface": (256, 26, 0.1, [12, 20, 24], "adaface", 64, 0.4),
    "arcface-torch": (128, 20, 0.1, [], "arcface", 64, 0.5),
    "admis-2024": (512, 40, 0.1, [22, 28, 32], "arcface", 64, 0.5),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_whole(name: str) -> None:
    trainer = MarginTrainer(MarginSettings(**RECIPES[name]))
    assert trainer.identity()["backbone_settings"], "the defaults of the backbone are written out"
    assert trainer.uses()


def test_every_recipe_has_a_source_and_names_settings_that_are_ours() -> None:
    table = yaml.safe_load(TABLE.read_text())
    assert table.keys() == RECIPES.keys()
    for name, recipe in table.items():
        assert set(recipe) <= {"source", "settings", "ours"}, name
        assert len(recipe["source"]) > 20, name


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name: str) -> None:
    s = MarginSettings(**RECIPES[name])
    assert (s.batch_size, s.epochs, s.lr, s.steps, s.head, s.scale, s.margin) == PUBLISHED[name]
    assert (s.momentum, s.weight_decay, s.clip_norm) == (0.9, 5e-4, 5)


def test_only_the_reference_protocol_chooses_on_benchmarks() -> None:
    chosen = {name for name in RECIPES if MarginTrainer(MarginSettings(**RECIPES[name])).chosen_on_benchmarks}
    assert chosen == {"negfacediff-2025", "idiffface-2023"}


def test_fast_costs_a_third_of_clean() -> None:
    clean, fast = (MarginSettings(**RECIPES[name]) for name in ("clean", "fast"))
    assert fast.epochs / clean.epochs == pytest.approx(1 / 3, abs=0.02)
    assert (fast.backbone, fast.backbone_settings, fast.batch_size) == (
        clean.backbone,
        clean.backbone_settings,
        clean.batch_size,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "steps"}, "schedule is steps and steps"),
        ({"steps": [3]}, "schedule is cosine and steps"),
        ({"schedule": "steps", "steps": [4, 2]}, "expected epochs in rising order"),
        ({"schedule": "plateau"}, "set select to held-out or benchmarks"),
        ({"augmentation": "flip", "flip": 0.1}, "belong to augmentation flip\\+gains, not to flip"),
        ({"devices": 3}, "batch_size 64 cannot be shared by 3 devices"),
    ],
)
def test_settings_that_do_not_fit_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MarginSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "sphereface"}, "unknown head 'sphereface', expected one of adaface, arcface"),
        ({"head_settings": {"h": 1}}, r"head_settings\.h"),
        ({"head": "adaface", "head_settings": {"t_alpha": 2}}, r"head_settings\.t_alpha"),
        ({"backbone_settings": {"depth": 3}}, r"backbone_settings\.depth"),
    ],
)
def test_wrong_heads_and_backbones_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MarginTrainer(MarginSettings(**settings)).identity()


def suite(**settings: Any) -> Suite:
    entry = {"use": "margin", "settings": MarginSettings(**settings).model_dump(mode="json")}
    rows, evaluate = {"a": {"use": "toy"}}, [{"use": "separability"}]
    return Suite.model_validate({"name": "s", "trainer": entry, "rows": rows, "evaluate": evaluate})


def test_the_recipe_digest_tells_what_differs_and_not_how_it_is_written() -> None:
    plain = suite(backbone="iresnet")
    assert _recipe(plain) == _recipe(suite(backbone="iresnet", backbone_settings={"depth": 50}))
    others = [
        suite(backbone="iresnet", backbone_settings={"se": True}),
        suite(backbone="iresnet", head="arcface"),
        suite(backbone="iresnet", dtype="bfloat16"),
        suite(backbone="iresnet", select="held-out"),
        suite(backbone="iresnet", augmentation="flip"),
    ]
    assert len({_recipe(each) for each in [plain, *others]}) == 6
