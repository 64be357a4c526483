"""The plan: weights files that do not fit are refused, and keys depend on what results depend on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from suites import write

from harness.cli import main
from harness.errors import InputError
from harness.graph import RowPlan, Stage, SuitePlan, WeightsStage, stage_from_json
from harness.planning.planner import plan_suite
from harness.store.weights import WeightsInfo, weights_content, write_weights
from harness.suites.read import load_suite

CNN = {"kind": "small-cnn", "role": "recognizer", "settings": {"width": 8}, "size_px": 32}


def planned(path: Path, *overrides: str) -> SuitePlan:
    return plan_suite(load_suite(path, overrides), path)


def roles(row: RowPlan) -> dict[str, Stage]:
    """A row's stages by what they are for."""
    made = {"generate": row.generate, "align": row.align, "recognizer": row.recognizer}
    evaluations = {f"evaluate:{index}": stage for index, stage in enumerate(row.evaluations)}
    return {role: stage for role, stage in (made | evaluations).items() if stage is not None}


def keys(plan: SuitePlan, row: str, seed: int = 0) -> dict[str, str]:
    """Keys of a row's stages by role, and of all that they rest on by kind."""
    stages = next(roles(p) for p in plan.row_plans if (p.row, p.seed) == (row, seed))
    out = {role: stage.key for role, stage in stages.items()}
    for stage in stages.values():
        for below in plan.ancestors(stage):
            if below.kind in ("fit", "contexts", "source"):
                out[f"{below.kind} {below.label}"] = below.key
    return out


def fault(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        planned(path, *overrides)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def file(path: Path, value: float = 0.0, **info: Any) -> str:
    """A small weights file; returns its content digest."""
    write_weights(path, {"a": torch.full((2, 3), value)}, WeightsInfo(**info))
    return weights_content(path)


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, str]:
    """Content digests of cond, judge and ldm, which lie as files in the folder."""
    cond = file(tmp_path / "cond.safetensors", 1.0, view="raw", **CNN)
    judge = file(tmp_path / "judge.safetensors", 2.0, view="arcface", **CNN)
    ldm = file(tmp_path / "ldm.safetensors", role="model", kind="latent-diffusion/1", settings={}, recognizer=cond)
    return {"cond": cond, "judge": judge, "ldm": ldm}


FILES = {
    "recognizers": {"cond": {"weights": "cond.safetensors"}, "judge": {"weights": "judge.safetensors"}},
    "models": {"ldm": {"weights": "ldm.safetensors"}},
}


def test_weights_files_are_read_in_the_plan(tmp_path: Path, weights: dict[str, str]) -> None:
    plan = planned(write(tmp_path, **FILES))
    contents = [stage.content for stage in plan.stages.values() if isinstance(stage, WeightsStage)]
    assert sorted(contents) == sorted(weights.values())
    # a fit and a file give the model to the same stage: only parents differ
    generate = next(row.generate for row in plan.row_plans if row.row == "idiffface")
    assert generate is not None
    assert generate.parents["model"].kind == "weights"


@pytest.mark.usefixtures("weights")
class TestWeights:
    def test_a_model_kind_that_the_generator_does_not_accept(self, tmp_path: Path) -> None:
        message = fault(write(tmp_path, **FILES, rows={"other": {"use": "id3", "model": "ldm"}}))
        assert message.endswith("rows.other.model: got a model of kind 'latent-diffusion/1', id3 accepts id3/1")

    def test_the_command_line_says_so_too(self, tmp_path: Path) -> None:
        path = write(tmp_path, **FILES, rows={"other": {"use": "id3", "model": "ldm"}})
        done = CliRunner().invoke(main, ["plan", str(path), "--workdir", str(tmp_path / "work")])
        assert done.exit_code == 2
        assert done.output.count("\n") == 1
        assert not (tmp_path / "work").exists()

    def test_a_model_whose_recognizer_is_not_in_the_suite(self, tmp_path: Path, weights: dict[str, str]) -> None:
        file(tmp_path / "ldm.safetensors", role="model", kind="latent-diffusion/1", settings={}, recognizer="f" * 64)
        message = fault(write(tmp_path, **FILES))
        assert "models.ldm: was fitted with recognizer ffffffffffff, which no entry of recognizers holds" in message

    def test_recognizer_weights_as_a_model(self, tmp_path: Path) -> None:
        message = fault(write(tmp_path, **{**FILES, "models": {"ldm": {"weights": "cond.safetensors"}}}))
        assert "models.ldm.weights: " in message
        assert message.endswith("cond.safetensors' holds a recognizer, expected a model")

    def test_a_model_as_a_recognizer(self, tmp_path: Path) -> None:
        message = fault(write(tmp_path, recognizers={"judge": {"weights": "ldm.safetensors"}}))
        assert "recognizers.judge.weights: " in message
        assert message.endswith("holds a model, expected a recognizer")

    def test_an_architecture_that_nobody_registered(self, tmp_path: Path) -> None:
        file(tmp_path / "judge.safetensors", **{**CNN, "kind": "small-cn", "view": "arcface"})
        message = fault(write(tmp_path, **FILES))
        assert "recognizers.judge.weights: unknown recognizer 'small-cn'" in message
        assert "did you mean 'small-cnn'?" in message

    def test_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "judge.safetensors").write_bytes(b"not weights at all")
        assert "recognizers.judge.weights: " in fault(write(tmp_path, **FILES))
        (tmp_path / "judge.safetensors").write_bytes((tmp_path / "cond.safetensors").read_bytes()[:-1])
        assert "cut or damaged" in fault(write(tmp_path, **FILES))

    def test_the_judge_may_not_be_the_conditioning_weights_under_another_name(self, tmp_path: Path) -> None:
        # the same tensors, described as taking aligned faces
        file(tmp_path / "judge.safetensors", 1.0, view="arcface", license="other", **CNN)
        message = fault(write(tmp_path, **FILES))
        assert "evaluate.1.judge: 'judge' gives the contexts, so it may not judge" in message

    def test_the_judge_may_not_be_what_a_model_was_fitted_with(self, tmp_path: Path, weights: dict[str, str]) -> None:
        info = {"role": "model", "kind": "latent-diffusion/1", "settings": {}, "recognizer": weights["judge"]}
        file(tmp_path / "other.safetensors", 3.0, **info)
        models = {**FILES["models"], "other": {"weights": "other.safetensors"}}
        message = fault(write(tmp_path, recognizers=FILES["recognizers"], models=models))
        assert "evaluate.1.judge: 'judge' gives the contexts, so it may not judge" in message

    def test_contexts_come_from_the_recognizer_of_the_model(self, tmp_path: Path) -> None:
        file(tmp_path / "third.safetensors", 4.0, view="raw", **CNN)
        recognizers = {**FILES["recognizers"], "third": {"weights": "third.safetensors"}}
        path = write(tmp_path, recognizers=recognizers, models=FILES["models"])
        message = fault(path, "dataset.contexts.recognizer=third")
        assert "dataset.contexts.recognizer: got 'third', expected the recognizer that rows.idiffface.model" in message


def test_the_judge_may_not_be_the_same_training_under_another_name(tmp_path: Path) -> None:
    same = {"train": "margin", "source": "world", "view": "raw", "recipe": "tiny"}
    message = fault(write(tmp_path, recognizers={"judge": same}))
    assert "evaluate.1.judge: 'judge' gives the contexts" in message


def test_a_protocol_that_needs_a_source(tmp_path: Path) -> None:
    assert "protocols.mine.source: this key is missing" in fault(
        write(tmp_path, protocols={"mine": {"use": "pairs"}}), "evaluate.0.protocols=[fw-lfw, mine]"
    )
    assert "protocols.fw-lfw.source: fw-lfw takes none" in fault(write(tmp_path), "protocols.fw-lfw.source=world")


def test_a_source_without_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    rows = {"mine": {"use": "images", "path": "empty"}}
    assert "sources.mine: " in fault(write(tmp_path, rows=rows))


def test_rows_share_what_they_can(tmp_path: Path) -> None:
    plan = planned(write(tmp_path))
    a, b = keys(plan, "idiffface"), keys(plan, "negfacediff")
    shared = [role for role in a if role.startswith(("fit", "contexts", "source"))]
    assert {role.split()[0] for role in shared} == {"fit", "contexts", "source"}
    assert all(a[role] == b[role] for role in shared)
    assert a["generate"] != b["generate"]
    assert a["recognizer"] != b["recognizer"]


def test_parents_come_before_their_children(tmp_path: Path) -> None:
    seen: set[tuple[str, str]] = set()
    for stage in planned(write(tmp_path), "seeds=[0, 1]").stages.values():
        assert seen.issuperset(stage.parents.values())
        seen.add(stage.id)


def differing(path: Path, override: str, row: str = "negfacediff") -> set[str]:
    """Which of a row's keys an override changes."""
    before, after = keys(planned(path), row), keys(planned(path, override), row)
    return {role.split()[0] for role in before if before[role] != after[role]}


FREE = {"fit": "unconditional", "source": "world", "settings": {"size_px": 32}}
TWO_STAGE = {"use": "two-stage", "model": "free", "recognizer": "cond"}


class TestTwoStage:
    def suite(self, folder: Path, **contexts: Any) -> Path:
        return write(folder, models={"free": FREE}, dataset={"contexts": {**TWO_STAGE, **contexts}})

    def test_the_contexts_rest_on_the_unconditional_model(self, tmp_path: Path) -> None:
        plan = planned(self.suite(tmp_path))
        (contexts,) = (stage for stage in plan.stages.values() if stage.kind == "contexts")
        assert plan.stages[contexts.parents["model"]].label == "model free"
        assert set(contexts.parents) == {"recognizer", "model"}
        (again,) = (
            s for s in planned(self.suite(tmp_path), "models.free.seed=3").stages.values() if s.kind == "contexts"
        )
        assert again.key != contexts.key

    def test_a_conditional_model_is_refused(self, tmp_path: Path) -> None:
        message = fault(self.suite(tmp_path, model="ldm"))
        assert "dataset.contexts.model: got a model of kind 'latent-diffusion/1', two-stage accepts" in message

    def test_the_model_is_missing(self, tmp_path: Path) -> None:
        assert "dataset.contexts.model: this key is missing" in fault(self.suite(tmp_path, model=""))

    def test_a_law_that_takes_no_model(self, tmp_path: Path) -> None:
        message = fault(self.suite(tmp_path, use="uniform"))
        assert "dataset.contexts.model: uniform takes none; remove it" in message

    def test_the_settings_of_its_sampler_are_checked(self, tmp_path: Path) -> None:
        message = fault(self.suite(tmp_path, sampler="dpm-solver++", eta=0.5))
        assert "dataset.contexts: eta 0.5" in message

    def test_an_unconditional_model_makes_no_row(self, tmp_path: Path) -> None:
        path = self.suite(tmp_path)
        assert "idiffface accepts latent-diffusion/1" in fault(path, "rows.idiffface.model=free")


class TestPeople:
    """Whose embeddings the contexts are: given to an evaluator where they are people of its own source."""

    def people(self, folder: Path, drawn_from: str, compared_with: str, row: str = "idiffface") -> Stage | None:
        contexts = {"use": "authentic", "source": drawn_from, "recognizer": "cond"}
        evaluate = [{"use": "distributions", "judge": "judge", "source": compared_with}]
        everyone = {"use": "faceworld", "range": "spare", "identities": 20, "per_identity": 4, "size_px": 32}
        plan = planned(write(folder, sources={"everyone": everyone}, dataset={"contexts": contexts}, evaluate=evaluate))
        (stage,) = next(p for p in plan.row_plans if p.row == row).evaluations
        found = stage.parents.get("people")
        return None if found is None else plan.stages[found]

    def test_the_same_source(self, tmp_path: Path) -> None:
        contexts = self.people(tmp_path, "everyone", "everyone")
        assert contexts is not None
        assert contexts.kind == "contexts"

    def test_another_source_or_no_contexts(self, tmp_path: Path) -> None:
        assert self.people(tmp_path / "a", "everyone", "world") is None
        assert self.people(tmp_path / "b", "everyone", "everyone", "authentic") is None


class TestAutoencoder:
    def suite(self, folder: Path, autoencoder: str) -> Path:
        file(folder / "vq.safetensors", role="model", kind="latent-diffusion/1", settings={})
        own = {
            "fit": "idiffface",
            "source": "world",
            "recognizer": "cond",
            "settings": {"size_px": 32},
            "autoencoder": autoencoder,
        }
        return write(folder, models={"vq": {"weights": "vq.safetensors"}, "ldm": own})

    def test_a_fit_rests_on_the_weights_it_takes_over(self, tmp_path: Path) -> None:
        plan = planned(self.suite(tmp_path, "vq"))
        (fit,) = (stage for stage in plan.stages.values() if stage.kind == "fit")
        assert fit.parents["autoencoder"].kind == "weights"
        assert fit.key != keys(planned(write(tmp_path / "other")), "idiffface")["fit model ldm"]

    def test_a_fitted_entry_is_refused(self, tmp_path: Path) -> None:
        message = fault(self.suite(tmp_path, "ldm"))
        assert "models.ldm.autoencoder: 'ldm' is fitted itself, expected an entry of models with weights" in message

    def test_an_unknown_entry(self, tmp_path: Path) -> None:
        assert "did you mean 'vq'?" in fault(self.suite(tmp_path, "vqq"))


TO_THE_END = {"generate", "align", "recognizer", "evaluate:0", "evaluate:1"}


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        ("evaluate.0.far=0.1", {"evaluate:0"}),
        ("evaluate.1.max_identities=5", {"evaluate:1"}),
        ("protocols.fw-lfw.pairs=400", {"evaluate:0"}),
        ("rows.negfacediff.settings.batch_size=3", set()),
        ("rows.negfacediff.settings.w=0.7", TO_THE_END),
        ("rows.idiffface.settings.steps=7", set()),
        ("trainer.settings.epochs=2", {"recognizer", "evaluate:0"}),
        ("recognizers.judge.seed=2", {"evaluate:1"}),
        ("models.ldm.seed=2", {"fit", *TO_THE_END}),
        ("models.ldm.settings.batch_size=8", {"fit", *TO_THE_END}),
        ("dataset.contexts.scale=0.5", {"contexts", *TO_THE_END}),
        ("dataset.spare.images=1", TO_THE_END),
        ("dataset.spare.identities=1", {"contexts", *TO_THE_END}),
        ("aligner=landmarks", {"align", "recognizer", "evaluate:0", "evaluate:1"}),
        ("sources.world.mode=mild", {"source", "contexts", "fit", *TO_THE_END}),
        ("sources.world.range=train", set()),  # the default, written out
        ("name=other", set()),
    ],
)
def test_what_changes_a_key(tmp_path: Path, override: str, changes: set[str]) -> None:
    assert differing(write(tmp_path), override) == changes


def test_the_seed_changes_all_but_what_rows_share(tmp_path: Path) -> None:
    plan = planned(write(tmp_path), "seeds=[0, 5]")
    a, b = (keys(plan, "idiffface", seed) for seed in (0, 5))
    assert all(a[role] != b[role] for role in TO_THE_END)
    assert a["fit model ldm"] == b["fit model ldm"]
    assert a["source source world"] == b["source source world"]
    assert a["contexts contexts seed 0"] != b["contexts contexts seed 5"]


def photos(folder: Path, value: int) -> Path:
    for person in range(2):
        (folder / f"s{person}").mkdir(parents=True)
        for sample in range(3):
            image = np.full((16, 16, 3), value + 10 * person + sample, dtype=np.uint8)
            Image.fromarray(image).save(folder / f"s{person}" / f"{sample}.png")
    return folder


def test_keys_do_not_depend_on_where_things_lie(tmp_path: Path, weights: dict[str, str]) -> None:
    first, second = tmp_path, tmp_path / "elsewhere" / "deep"
    second.mkdir(parents=True)
    for name in ("cond", "judge", "ldm"):
        shutil.copy(first / f"{name}.safetensors", second)
    photos(first / "faces", 0)
    shutil.copytree(first / "faces", second / "pictures")
    one = planned(write(first, **FILES, rows={"mine": {"use": "images", "path": "faces"}}))
    two = planned(write(second, **FILES, rows={"mine": {"use": "images", "path": "pictures"}}))
    assert list(one.stages) == list(two.stages)
    photos(second / "others", 100)
    three = planned(write(second, **FILES, rows={"mine": {"use": "images", "path": "others"}}))
    assert keys(three, "mine")["generate"] != keys(one, "mine")["generate"]
    assert keys(three, "idiffface") == keys(one, "idiffface")


def test_the_recipe_digest_covers_trainer_and_crop(tmp_path: Path) -> None:
    path = write(tmp_path)
    plan = planned(path)
    assert plan.recipe == planned(path, "aligner=landmarks", "rows.idiffface.settings.steps=3").recipe
    assert plan.recipe != planned(path, "trainer.settings.epochs=2").recipe
    assert plan.recipe != planned(path, "crop_px=40").recipe


def test_a_recognizer_row_is_evaluated_only(tmp_path: Path) -> None:
    plan = planned(write(tmp_path, rows={"own": {"recognizer": "judge"}}))
    row = plan.row_plans[-1]
    assert set(roles(row)) == {"recognizer", "evaluate:0"}  # separability has no dataset to judge
    assert row.generator == "recognizer"


COMPARED = [{"use": "leakage", "judge": "judge", "source": "world"}]


def test_an_evaluator_that_compares_gets_the_dataset_and_the_source(tmp_path: Path) -> None:
    plan = planned(write(tmp_path, evaluate=COMPARED))
    row = plan.row_plans[0]
    assert row.align is not None
    parents = row.evaluations[0].parents
    assert parents["dataset"] == row.align.id
    assert plan.stages[parents["source"]].label == "align source world"
    assert not row.evaluations[0].looks_at
    # the same source under separability replaces the dataset
    replaced = planned(write(tmp_path, evaluate=[{**COMPARED[0], "use": "separability"}]))
    stage = replaced.row_plans[0].evaluations[0]
    assert stage.dataset == parents["source"]
    assert stage.source is None
    assert stage.looks_at == "world"


def test_metrics_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = [{"use": "separability", "judge": "judge"}, {"use": "separability", "judge": "other"}]
    more = {"other": {"train": "margin", "source": "others", "recipe": "tiny", "seed": 2}}
    message = fault(write(tmp_path, evaluate=twice, recognizers=more))
    assert "evaluate.1: separability is in evaluate.0 already" in message
    again = [{"use": "verification", "protocols": ["fw-lfw"]}, {"use": "verification", "protocols": ["b", "fw-lfw"]}]
    other = {"b": {"use": "fw-cfp", "pairs": 200, "size_px": 32}}
    message = fault(write(tmp_path, evaluate=again, protocols=other))
    assert "evaluate.1: verification on fw-lfw is in evaluate.0 already" in message
    again[1]["protocols"] = ["b"]
    assert planned(write(tmp_path, evaluate=again, protocols=other)).stages


def test_an_evaluator_that_compares_needs_a_source_and_a_judge(tmp_path: Path) -> None:
    path = write(tmp_path, evaluate=[{"use": "leakage", "judge": "judge"}])
    assert "evaluate.0.source: this key is missing; leakage needs the faces of a source" in fault(path)
    path = write(tmp_path, evaluate=[{"use": "fidelity", "source": "world"}])
    assert "evaluate.0.judge: this key is missing; fidelity needs a recognizer that judges" in fault(path)
    path = write(tmp_path, evaluate=[{"use": "consistency", "judge": "cond"}])
    assert "'cond' gives the contexts, so it may not judge" in fault(path)


def test_a_key_that_a_component_has_no_use_for(tmp_path: Path) -> None:
    models = {"free": {"fit": "unconditional", "source": "world", "recognizer": "cond", "settings": {"size_px": 32}}}
    path = write(tmp_path, models=models, rows={"free": {"use": "unconditional", "model": "free"}})
    assert "models.free.recognizer: unconditional takes none; remove it" in fault(path)
    assert "rows.toy.model: toy takes none" in fault(write(tmp_path, rows={"toy": {"use": "toy", "model": "ldm"}}))
    rows = {"authentic": {"use": "authentic"}}
    assert "rows.authentic.source: this key is missing; authentic needs the faces of a source" in fault(
        write(tmp_path, rows=rows)
    )


def test_stages_survive_json(tmp_path: Path) -> None:
    stages = planned(write(tmp_path, models={"free": FREE})).stages.values()
    assert {stage.kind for stage in stages} >= {"source", "fit", "contexts", "generate", "align", "train", "evaluate"}
    for stage in stages:
        assert stage_from_json(json.loads(json.dumps(stage.to_json()))) == stage
