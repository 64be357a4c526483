"""What the reference writes is imported by the command, computes what it did there, and a suite plans on it.

The checkpoints are made of fixtures: the reference's schedule vectors and names, small networks with random weights.
The published sizes are replaced by theirs, and nothing of ours takes part in making a file.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors import safe_open
from torch import Tensor

from harness.cli.weights import weights
from harness.components import Model
from harness.diffusion.latent import LatentDiffusion, load_autoencoder
from harness.diffusion.unet import UNetConfig
from harness.diffusion.vq import VQAutoencoder, VQConfig
from harness.errors import DataError, InputError
from harness.foreign import latent_diffusion, vq_f4
from harness.planning.planner import plan_suite
from harness.store.weights import load_tensors, read_info
from harness.suites.read import load_suite

PUBLISHED = {  # network: fixture, part of it, the constant that holds its size
    "CA": ("idiffface_small", "", "PUBLISHED_CONFIG"),
    "AdaGN": ("adagn_small", "conditional.", "PUBLISHED_ADAGN_CONFIG"),
    "unconditional": ("adagn_small", "unconditional.", "PUBLISHED_UNCONDITIONAL_CONFIG"),
}
SUITE: dict[str, Any] = {
    "name": "published",
    "crop_px": 32,
    "sources": {"world": {"use": "faceworld", "identities": 12, "per_identity": 8, "size_px": 32}},
    "recognizers": {"cond": {"weights": "demo:cond"}, "judge": {"weights": "demo:judge"}},
    "dataset": {"identities": 10, "per_identity": 4, "contexts": {"use": "uniform", "recognizer": "cond"}},
    "aligner": "none",
    "trainer": {"use": "margin", "recipe": "tiny"},
    "evaluate": [{"use": "separability", "judge": "judge"}],
}


class Files:
    """Small published files in a folder."""

    def __init__(self, golden: Path, folder: Path, vectors: dict[str, Tensor], patch: pytest.MonkeyPatch) -> None:
        self.golden, self.folder, self.vectors, self.patch = golden, folder, vectors, patch
        self.vq, metadata = self.read("vq_f4_small")
        config = VQConfig.from_dict(json.loads(metadata["ddconfig"]))
        patch.setattr(vq_f4, "VQAutoencoder", lambda given: VQAutoencoder(given or config))
        for half in ("encoder", "decoder"):
            torch.save(below(self.vq, f"{half}."), folder / f"{half}.pt")

    def read(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        with safe_open(self.golden / f"{name}.safetensors", framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118

    def checkpoint(self, network: str) -> dict[str, Tensor]:
        """The state dict of a small network, whose size replaces the published one."""
        name, part, constant = PUBLISHED[network]
        tensors, metadata = self.read(name)
        config = UNetConfig.from_dict(json.loads(metadata[f"{part}config"]))
        self.patch.setattr(latent_diffusion, constant, config)
        return self.vectors | {f"eps_model.{n}": t for n, t in below(tensors, f"{part}unet.").items()}

    def convert(self, checkpoint: dict[str, Tensor], *more: str) -> Path:
        """Write the checkpoint, and import it by the command."""
        torch.save(checkpoint, self.folder / "ema.ckpt")
        halves = [part for half in ("encoder", "decoder") for part in (f"--{half}", str(self.folder / f"{half}.pt"))]
        unet = ["--unet", str(self.folder / "ema.ckpt")]
        return self.run("latent-diffusion", *unet, *halves, "--size-px", "64", *more)

    def run(self, kind: str, *arguments: str) -> Path:
        out = self.folder / "out.safetensors"
        done = CliRunner().invoke(weights, ["import", "--as", kind, *arguments, "-o", str(out)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return out

    def suite(self, **sections: Any) -> Path:
        path = self.folder / "suite.yaml"
        path.write_text(yaml.safe_dump({**SUITE, **sections}, sort_keys=False), encoding="utf-8")
        return path


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def relative_error(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).abs().max() / reference.abs().max())


@pytest.fixture
def files(golden_dir: Path, tmp_path: Path, vectors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(golden_dir, tmp_path, vectors, monkeypatch)


@pytest.mark.parametrize("network", PUBLISHED)
def test_the_network_is_known_by_its_names_and_computes_the_same(files: Files, network: str) -> None:
    out = files.convert(files.checkpoint(network))
    info = read_info(out)
    assert info.kind == f"latent-diffusion{'-unconditional' if network == 'unconditional' else ''}/1"
    parts = LatentDiffusion.from_model(Model(info.kind, info.settings, load_tensors(out)))
    name, part, _ = PUBLISHED[network]
    tensors, _ = files.read(name)
    with torch.no_grad():
        eps = parts.unet(tensors["io.x"], tensors["io.t"], tensors["io.context"])
        latent = parts.autoencoder.encode(files.vq["io.image"])
    assert relative_error(eps, tensors[f"{part}io.eps" if part else "io.eps"]) <= 1e-5
    assert relative_error(latent, files.vq["io.latent"]) <= 1e-5


def test_a_suite_plans_on_it(files: Files) -> None:
    files.convert(files.checkpoint("CA"))
    models = {"cpd25": {"weights": "out.safetensors"}}
    rows = {"a": {"use": "idiffface", "model": "cpd25"}, "b": {"use": "negfacediff", "model": "cpd25"}}
    path = files.suite(models=models, rows=rows)
    plan = plan_suite(load_suite(path), path)
    assert [row.generate.parents["model"].kind for row in plan.row_plans if row.generate] == ["weights", "weights"]


def test_two_stage_contexts_come_of_the_unconditional_one(files: Files) -> None:
    files.convert(files.checkpoint("unconditional"))
    dataset = {**SUITE["dataset"], "contexts": {"use": "two-stage", "model": "free", "recognizer": "cond"}}
    models = {"free": {"weights": "out.safetensors"}, "ldm": {"weights": "demo:ldm"}}
    path = files.suite(models=models, dataset=dataset, rows={"a": {"use": "idiffface", "model": "ldm"}})
    plan = plan_suite(load_suite(path), path)
    (contexts,) = (stage for stage in plan.stages.values() if stage.kind == "contexts")
    assert contexts.parents["model"].kind == "weights"
    with pytest.raises(InputError, match="idiffface accepts latent-diffusion/1"):
        plan_suite(load_suite(path, ["rows.a.model=free"]), path)


def test_the_dropout_of_its_training_can_be_noted(files: Files) -> None:
    out = files.convert(files.checkpoint("AdaGN"), "--set", "cpd=0.5")
    assert read_info(out).settings["unet"]["context_dropout_probability"] == 0.5
    out.unlink()
    with pytest.raises(InputError, match="unconditional model, so it takes neither a recognizer nor a cpd"):
        files.convert(files.checkpoint("unconditional"), "--set", "cpd=0.5")


@pytest.mark.parametrize("t", [0, 1, 500, 999])
@pytest.mark.parametrize("change", [lambda v: v * 1.001, lambda v: v * 0.999, lambda v: v + 1e-3])
@pytest.mark.parametrize(
    "name",
    [
        "betas",
        "alphas",
        "sigmas",
        "sqrt_alphas_inv",
        "alpha_bars",
        "sqrt_alpha_bars",
        "sqrt_one_minus_alpha_bars",
        "one_minus_alphas_over_sqrt_one_minus_alpha_bars",
    ],
)
def test_a_changed_schedule_is_refused_by_vector_step_and_values(
    vectors: dict[str, Tensor], name: str, change: Callable[[Tensor], Tensor], t: int
) -> None:
    changed = {**vectors, name: vectors[name].clone()}
    changed[name][t] = change(vectors[name][t])
    network = {"eps_model.x": torch.zeros(1)}
    with pytest.raises(
        DataError, match=f"file: schedule vector '{name}' is .* at step {t}, expected .*, as"
    ) as refused:
        latent_diffusion.load_published_idiffface({**changed, **network}, "file")
    said = re.search(r"is (\S+) at step \d+, expected (\S+), as", str(refused.value))
    assert said is not None
    # the last digit of what is computed here depends on the processor
    told = [float(said[1]), float(said[2])]
    assert told == pytest.approx([float(changed[name][t]), float(vectors[name][t])], rel=1e-6)


def test_the_eighth_vector_is_not_what_exact_betas_give(vectors: dict[str, Tensor]) -> None:
    """The reference rounds 1 - alphas in float32 before it divides, 1.66e-4 away at the first step."""
    exact = vectors["betas"].double() / vectors["sqrt_one_minus_alpha_bars"].double()
    own = vectors["one_minus_alphas_over_sqrt_one_minus_alpha_bars"].double()
    assert float((own / exact - 1).abs().max()) == pytest.approx(1.66e-4, rel=0.01)
    with pytest.raises(DataError, match="'one_minus_alphas_over_sqrt_one_minus_alpha_bars' is"):
        latent_diffusion.load_published_idiffface(
            {**vectors, "one_minus_alphas_over_sqrt_one_minus_alpha_bars": exact, "eps_model.x": torch.zeros(1)}, "file"
        )


class Callback:
    """Stands for a framework's object in a training checkpoint."""

    def __init__(self) -> None:
        self.best = torch.ones(2)


def training_checkpoint(files: Files) -> dict[Any, Any]:
    """A latent diffusion checkpoint as frameworks write it: the autoencoder is one part of it."""
    autoencoder = below(files.vq, "encoder.") | below(files.vq, "decoder.")
    state = {f"first_stage_model.{name}": tensor for name, tensor in autoencoder.items()}
    state |= {"betas": torch.ones(1000), "model.diffusion_model.out.weight": torch.ones(3, 4)}
    return {
        "epoch": 634,
        "state_dict": state,
        "callbacks": {Callback: {"best_model_score": torch.ones(1), "self": Callback()}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(5)}}, "param_groups": [{"lr": 1e-4}]}],
        "hyper_parameters": Callback(),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_vq_f4_of_a_training_checkpoint_is_a_file_that_fits_take_over(files: Files, zipped: bool) -> None:
    torch.save(training_checkpoint(files), files.folder / "ldm.ckpt", _use_new_zipfile_serialization=zipped)
    out = files.run("vq-f4", str(files.folder / "ldm.ckpt"), "--license", "MIT")
    info = read_info(out)
    assert (info.role, info.kind, info.license) == ("model", "vq-f4/1", "MIT")
    assert set(info.provenance["imported"]) == {"autoencoder"}
    autoencoder = load_autoencoder(Model(info.kind, info.settings, load_tensors(out)))
    with torch.no_grad():
        assert relative_error(autoencoder.encode(files.vq["io.image"]), files.vq["io.latent"]) <= 1e-5
    own = {"source": "world", "autoencoder": "vq", "settings": {"size_px": 32, "network": "demo"}}
    models = {
        "vq": {"weights": "out.safetensors"},
        "a": {"fit": "idiffface", "recognizer": "cond", **own},
        "b": {"fit": "id3", "recognizer": "cond", **own},
    }
    rows = {"a": {"use": "idiffface", "model": "a"}, "b": {"use": "id3", "model": "b"}}
    path = files.suite(models=models, rows=rows)
    plan = plan_suite(load_suite(path), path)
    fits = [stage for stage in plan.stages.values() if stage.kind == "fit"]
    assert [stage.parents["autoencoder"].kind for stage in fits] == ["weights", "weights"]
    with pytest.raises(InputError, match="got a model of kind 'vq-f4/1', idiffface accepts latent-diffusion/1"):
        plan_suite(load_suite(path, ["rows.a.model=vq"]), path)


def test_vq_f4_of_two_files_is_the_same(files: Files) -> None:
    torch.save(training_checkpoint(files), files.folder / "ldm.ckpt")
    whole = load_tensors(files.run("vq-f4", str(files.folder / "ldm.ckpt")))
    (files.folder / "out.safetensors").unlink()
    halves = ["--encoder", str(files.folder / "encoder.pt"), "--decoder", str(files.folder / "decoder.pt")]
    two = load_tensors(files.run("vq-f4", *halves))
    assert whole.keys() == two.keys()
    assert all(torch.equal(whole[name], tensor) for name, tensor in two.items())


def test_the_autoencoder_of_a_model_can_come_of_a_training_checkpoint(files: Files) -> None:
    torch.save(training_checkpoint(files), files.folder / "ldm.ckpt")
    torch.save(files.checkpoint("CA"), files.folder / "ema.ckpt")
    ldm, unet = str(files.folder / "ldm.ckpt"), str(files.folder / "ema.ckpt")
    out = files.run("latent-diffusion", "--unet", unet, "--encoder", ldm, "--decoder", ldm)
    assert set(read_info(out).provenance["imported"]) == {"unet", "autoencoder"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("first_stage_model.quant_conv.weight", None, r"missing quant_conv\.weight"),
        ("first_stage_model.quantize.embedding.weight", torch.ones(2, 3), r"embedding\.weight has shape \[2, 3\]"),
        ("first_stage_model.loss.weight", torch.ones(2), r"unexpected loss\.weight \[2\]"),
    ],
)
def test_another_autoencoder_is_refused_by_name(files: Files, name: str, value: Tensor | None, message: str) -> None:
    checkpoint = training_checkpoint(files)
    state = {**checkpoint["state_dict"], name: value}
    checkpoint["state_dict"] = {key: tensor for key, tensor in state.items() if tensor is not None}
    torch.save(checkpoint, files.folder / "ldm.ckpt")
    with pytest.raises(DataError, match=rf"ldm\.ckpt: .*{message}"):
        files.run("vq-f4", str(files.folder / "ldm.ckpt"))
    assert not (files.folder / "out.safetensors").exists()


def test_sizes_other_than_the_published_ones_are_refused(files: Files) -> None:
    checkpoint = files.checkpoint("CA")
    small = latent_diffusion.PUBLISHED_CONFIG
    files.patch.setattr(latent_diffusion, "PUBLISHED_CONFIG", dataclasses.replace(small, context_tokens=3))
    with pytest.raises(DataError, match="do not fit ConditionalUNet"):
        files.convert(checkpoint)
