"""The suites of the documentation that repeat published work have each of its settings.

Expected are the numbers of papers and of the authors' code, written out here; what no source says is not compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import Block, blocks, whole_suite, write_stand_ins
from suites import ROOT

from harness.planning.planner import plan_suite
from harness.suites.read import load_suite
from harness.suites.schema import Suite

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/README.md")])
PUBLISHED = ROOT / "docs" / "published-weights.md"

# Of all FR trainings: SGD of the ArcFace line of work, crops of 112 px.
SGD = {"momentum": 0.9, "weight_decay": 5e-4}
# Evaluation code of IDiff-Face and NegFaceDiff: 2 processes x 128 images, base rate 0.1 / 512 * 128 * processes.
REFERENCE = {
    **SGD,
    "backbone": "iresnet",
    "backbone_settings": {"depth": 50, "se": False},
    "head": "cosface",
    "scale": 64,
    "margin": 0.35,
    "batch_size": 256,
    "lr": 0.05,
    "warmup": 0,
    "schedule": "plateau",
    "steps": [],
    "epochs": 200,
    "clip_norm": 5,
    "augmentation": "flip",
    "dtype": "float32",
    "select": "benchmarks",
}
ARCFACE = {**SGD, "head": "arcface", "scale": 64, "margin": 0.5}
RECIPES: dict[str, dict[str, Any]] = {
    "negfacediff-2025": REFERENCE,
    "idiffface-2023": REFERENCE,
    # the same code with its step schedule switched on, and without a look at the benchmarks
    "clean": {
        **{name: value for name, value in REFERENCE.items() if name != "epochs"},
        "schedule": "steps",
        "steps": [22, 30, 35],
        "select": "last",
    },
    "id3-2024": {"backbone": "iresnet", "backbone_settings": {"depth": 50, "se": False}},
    # READMEs of Vec2Face and Vec2Face+, the authors' training project; its float16 is bfloat16 here
    "vec2face-2025": {
        **ARCFACE,
        "backbone": "iresnet",
        "backbone_settings": {"depth": 50, "se": True},
        "batch_size": 128,
        "lr": 0.1,
        "schedule": "steps",
        "steps": [12, 20, 24],
        "epochs": 26,
        "augmentation": "flip+erasing",
        "dtype": "bfloat16",
    },
    # CVLFace: one epoch of 26 is warm-up
    "cvlface-adaface": {
        **SGD,
        "backbone": "ir",
        "backbone_settings": {"depth": 50},
        "head": "adaface",
        "head_settings": {"h": 0.333, "t_alpha": 0.01},
        "scale": 64,
        "margin": 0.4,
        "batch_size": 256,
        "lr": 0.1,
        "warmup": pytest.approx(1 / 26, abs=1e-4),
        "schedule": "steps",
        "steps": [12, 20, 24],
        "epochs": 26,
        "clip_norm": 5,
        "augmentation": "cvlface",
        "dtype": "bfloat16",
        "select": "last",
    },
    # insightface, arcface_torch, base configuration with r50 on one GPU
    "arcface-torch": {
        **ARCFACE,
        "backbone": "iresnet",
        "backbone_settings": {"depth": 50, "se": False},
        "batch_size": 128,
        "lr": 0.1,
        "schedule": "poly",
        "steps": [],
        "epochs": 20,
        "augmentation": "flip",
        "dtype": "bfloat16",
        "select": "last",
    },
    # ADMIS at the CVPR 2024 FRCSyn challenge: 8 x 64 images
    "admis-2024": {
        **ARCFACE,
        "backbone": "ir",
        "backbone_settings": {"depth": 50},
        "batch_size": 512,
        "schedule": "steps",
        "steps": [22, 28, 32],
        "epochs": 40,
    },
}
# Training of IDiff-Face: 8 devices x 64 images, Adam, restarts at 10k, 30k, 70k steps, float16; its moving average is
# one in name only, so the raw weights are what was published.
FIT = {
    "size_px": 128,
    "network": "published",
    "steps": 150_000,
    "batch_size": 512,
    "learning_rate": 1e-4,
    "lr_schedule": "cosine-restarts",
    "flip": True,
    "cpd": 0.25,
    "keep": "raw",
    "dtype": "float16",
}
# Their rows: ancestral sampling over all steps; DDIM with 200 steps and eta 0, away from the farthest context.
ROWS = {
    "idiffface": {"sampler": "ddpm", "dtype": "float32"},
    "negfacediff": {
        "sampler": "ddim",
        "steps": 200,
        "eta": 0,
        "spacing": None,
        "negative": "far",
        "w": 0.5,
        "schedule": "constant",
        "interval": None,
        "dtype": "float32",
    },
}
# The crops of both: MTCNN of facenet-pytorch with its own thresholds and pyramid on pictures of 128 px.
MTCNN = {
    "detect_px": 128,
    "proposal_threshold": 0.6,
    "refine_threshold": 0.7,
    "output_threshold": 0.7,
    "pyramid_factor": 0.709,
}
CROPS = {
    "as-idiffface": {**MTCNN, "min_face_px": 1, "face": "nearest", "bgr": False, "template": "arcface"},
    "as-negfacediff": {**MTCNN, "min_face_px": 60, "face": "largest", "bgr": True, "template": "narrow"},
}
BENCHMARKS = ["lfw", "cfp-fp", "agedb-30", "calfw", "cplfw"]  # whose mean the references' plateau rule follows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files lie that the suites name."""
    folder = tmp_path_factory.mktemp("published")
    write_stand_ins(folder)
    return folder


def resolved(data: dict[str, Any], folder: Path) -> Suite:
    """The suite with every default written out, and a plan made of it."""
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    suite = load_suite(path)
    plan_suite(suite, path)
    return suite


def found(pages: list[Path]) -> list[Block]:
    return [block for page in pages for block in blocks(page) if block.language == "yaml"]


def of_page(word: str) -> dict[str, Any]:
    """The suite of the one block of the page that has a word."""
    (block,) = [block for block in found([PUBLISHED]) if word in block.text]
    return whole_suite(block)


def differing(settings: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """What is otherwise than expected: name to both values."""
    return {name: (settings[name], value) for name, value in expected.items() if settings[name] != value}


def trained(suite: Suite) -> dict[str, Any]:
    """The trainer's settings, those of its parts written out."""
    from harness.builtin.margin import MarginSettings, MarginTrainer

    assert suite.trainer is not None
    return MarginTrainer(MarginSettings(**suite.trainer.settings)).identity()


def recipe(data: dict[str, Any]) -> str:
    return str((data.get("trainer") or {}).get("recipe", ""))


NAMING = [block for block in found(PAGES) if recipe(yaml.safe_load(block.text)) in RECIPES]


def test_pages_name_published_recipes() -> None:
    assert {recipe(yaml.safe_load(block.text)) for block in NAMING} >= {"clean", "negfacediff-2025"}


@pytest.mark.parametrize("block", NAMING, ids=str)
def test_a_suite_that_names_a_recipe_has_its_settings(block: Block, folder: Path) -> None:
    suite = resolved(whole_suite(block), folder)
    assert suite.trainer is not None
    assert not yaml.safe_load(block.text)["trainer"].get("settings"), "the page would change the recipe that it names"
    assert differing(trained(suite), RECIPES[suite.trainer.recipe]) == {}
    assert suite.crop_px == 112
    if suite.trainer.recipe == "negfacediff-2025":
        assert sorted(suite.trainer.protocols) == sorted(BENCHMARKS)


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_in_the_suite_of_the_page(name: str, folder: Path) -> None:
    data = of_page("name: published-idiffface")
    chosen = {"protocols": BENCHMARKS, "consent": "chosen-on-test"} if RECIPES[name] is REFERENCE else {}
    suite = resolved({**data, "trainer": {"use": "margin", "recipe": name, **chosen}}, folder)
    assert differing(trained(suite), RECIPES[name]) == {}


def test_the_sizes_and_rows_are_the_published_ones(folder: Path) -> None:
    suite = resolved(of_page("name: published-idiffface"), folder)
    assert suite.dataset is not None
    assert suite.dataset.contexts is not None
    assert (suite.dataset.identities, suite.dataset.per_identity) == (10_000, 50)
    assert (suite.dataset.spare.identities, suite.dataset.spare.images) == (50, 10)  # 10,050 people, 60 images each
    assert suite.dataset.contexts.use == "uniform"
    for name, expected in ROWS.items():
        assert suite.rows[name].use == name
        assert differing(suite.rows[name].settings, expected) == {}


def test_the_fit_is_the_published_one(folder: Path) -> None:
    models = resolved(of_page("autoencoder: vq"), folder).models
    assert differing(models["mine"].settings, FIT) == {}
    assert differing(models["adagn"].settings, {**FIT, "network": "published-adagn", "cpd": 0.5}) == {}
    assert models["free"].settings["network"] == "published-adagn"


def test_the_crops_are_the_published_ones(folder: Path) -> None:
    rows = resolved(of_page("as-negfacediff"), folder).rows
    for name, expected in CROPS.items():
        aligner = rows[name].aligner
        assert aligner is not None
        assert aligner.use == "mtcnn"
        assert differing(aligner.settings, expected) == {}
        assert differing(rows[name].settings, {**ROWS[rows[name].use], "reference_quirks": True}) == {}


def test_idperturbs_suite_is_the_shipped_configuration(folder: Path) -> None:
    """Its repository: CPD 25, 250,000 steps, 100 images of a person, whole pictures of 128 px shrunk to 112."""
    (block,) = [
        block for block in found([ROOT / "plugins" / "idperturb" / "README.md"]) if "steps: 250000" in block.text
    ]
    suite = resolved(whole_suite(block), folder)
    assert (
        differing(suite.models["ldm"].settings, {"network": "published", "cpd": 0.25, "steps": 250_000, "size_px": 128})
        == {}
    )
    assert differing(suite.rows["idperturb"].settings, {"sampler": "ddim", "lower_bound": 0.4, "safe": True}) == {}
    assert suite.dataset is not None
    assert (suite.dataset.per_identity, suite.aligner.use, suite.crop_px) == (100, "none", 112)


OURS = "†"
# How the table says what a setting calls otherwise; "" is for the epochs themselves.
WORDS = {
    "iresnet": "IResNet-50",
    "ir": "IR-50",
    "poly": "polynomial",
    "steps": "",
    "benchmarks": "best on the benchmarks",
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_table_of_the_page_says_the_same(name: str) -> None:
    page = PUBLISHED.read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}`")]
    cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
    expected = RECIPES[name]
    epochs, _, falls = cells[5].partition("; ")
    numbers = {
        "scale": cells[1].partition(": ")[2].partition(", ")[0],
        "margin": cells[1].partition(", ")[2],
        "batch_size": cells[2],
        "lr": cells[3],
        "epochs": epochs.removeprefix("at most "),
    }
    for setting, text in numbers.items():
        assert text.endswith(OURS) == (setting not in expected), f"{setting}: a dagger is for what no source says"
        if setting in expected:
            assert float(text) == expected[setting], setting
    words = {"head": cells[1].partition(":")[0], "schedule": falls, "augmentation": cells[6], "select": cells[7]}
    for setting, text in words.items():
        assert text.endswith(OURS) == (setting not in expected), f"{setting}: a dagger is for what no source says"
        if setting in expected:
            value = WORDS.get(expected[setting], expected[setting])
            assert text == (value or ", ".join(map(str, expected["steps"]))), setting
    assert cells[0].removesuffix(" with SE") == WORDS[expected["backbone"]]
    assert ("SE" in cells[0]) == expected["backbone_settings"].get("se", False)
    assert (cells[4] == "1 epoch") == (name == "cvlface-adaface")
