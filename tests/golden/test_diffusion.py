"""Our diffusion library computes what the public reference implementations compute.

Errors are max|difference| / max|reference|.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from harness.diffusion.autoencoder import VQAutoencoder, VQConfig
from harness.diffusion.guidance import Weight, adaptive, reverse_adaptive, with_negative
from harness.diffusion.samplers import SAMPLERS, bind
from harness.diffusion.schedule import Schedule, linear_schedule
from harness.diffusion.unet import (
    PUBLISHED_ADAGN_CONFIG,
    PUBLISHED_CONFIG,
    PUBLISHED_UNCONDITIONAL_CONFIG,
    ConditionalUNet,
    UNetConfig,
)
from harness.diffusion.weights import load_strict, take_prefix
from harness.foreign.latent_diffusion import PUBLISHED_PREFIX, load_published_idiffface
from harness.foreign.published_schedule import RECIPE

TOLERANCE = 1e-5
SCHEDULE_TOLERANCE = 1e-6
GUIDED = [
    "ddim_w0",
    "ddim_neg_w0.25",
    "ddim_neg_w0.5",
    "ddim_neg_w1.0",
    "ddim_null_w0.5",
    "ddim_adaptive_w0.5",
    "ddim_reverse_adaptive_w0.5",
    "ddpm_w0",
    "ddpm_neg_w0.5",
]


def relative_error(ours: Tensor, reference: Tensor) -> float:
    assert ours.shape == reference.shape
    return float((ours - reference).abs().max() / reference.abs().max())


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


class Fixture:
    """The small U-Net with its inputs, outputs and settings."""

    def __init__(self, path: Path) -> None:
        tensors, metadata = read(path)
        self.io = take_prefix(tensors, "io.")
        self.unet = ConditionalUNet(UNetConfig.from_dict(json.loads(metadata["config"])))
        load_strict(self.unet, take_prefix(tensors, "unet."), path.name)
        self.unet.eval()
        self.schedule: Schedule = linear_schedule(int(metadata["T"]))
        self.ddim_steps = int(metadata["ddim_steps"])


@pytest.fixture(scope="module")
def small(golden_dir: Path) -> Fixture:
    return Fixture(golden_dir / "idiffface_small.safetensors")


@pytest.mark.parametrize("name", ["betas", "alpha_bars"])
def test_schedule(small: Fixture, name: str) -> None:
    ours = getattr(small.schedule, name)
    assert relative_error(ours, small.io[f"schedule.{name}"]) <= SCHEDULE_TOLERANCE


@pytest.mark.parametrize("name", ["eps", "eps_no_context", "eps_zero_context"])
def test_unet(small: Fixture, name: str) -> None:
    io = small.io
    contexts = {
        "eps": io["context"],
        "eps_no_context": None,
        "eps_zero_context": torch.zeros_like(io["context"]),
    }
    with torch.no_grad():
        eps = small.unet(io["x"], io["t"], contexts[name])
    assert relative_error(eps, io[name]) <= TOLERANCE


def _guided(small: Fixture, key: str, *, once: bool) -> Tensor:
    io, T = small.io, small.schedule.T
    w = float(key.rpartition("_w")[2])
    weight: Weight = w
    if "reverse_adaptive" in key:
        weight = reverse_adaptive(w, T)
    elif "adaptive" in key:
        weight = adaptive(w, T)
    context: Any = io["context"]
    negative: Any = torch.zeros_like(context) if "null" in key else io["negative_context"]
    with torch.no_grad():
        if once:
            context, negative = small.unet.contextualize(context), small.unet.contextualize(negative)
        name = key.partition("_")[0]
        return SAMPLERS[name](
            bind(with_negative(small.unet, negative, weight), context),
            io["x_T"],
            small.schedule,
            steps=small.ddim_steps if name == "ddim" else T,
            noise=lambda t: io["ddpm_noise"][t],
            reference_quirks=True,
        )


@pytest.mark.parametrize("once", [False, True], ids=["every-step", "context-once"])
@pytest.mark.parametrize("key", GUIDED)
def test_samplers(small: Fixture, key: str, once: bool) -> None:
    assert relative_error(_guided(small, key, once=once), small.io[key]) <= TOLERANCE


def test_every_sampled_output_is_tested(small: Fixture) -> None:
    sampled = {name for name in small.io if name.startswith(("ddim_", "ddpm_"))} - {"ddpm_noise"}
    assert sampled == set(GUIDED)


def test_vq_autoencoder(golden_dir: Path) -> None:
    path = golden_dir / "vq_f4_small.safetensors"
    tensors, metadata = read(path)
    io = take_prefix(tensors, "io.")
    model = VQAutoencoder(VQConfig.from_dict(json.loads(metadata["ddconfig"])))
    load_strict(model, {n: t for n, t in tensors.items() if not n.startswith("io.")}, path.name)
    with torch.no_grad():
        assert relative_error(model.encode(io["image"]), io["latent"]) <= TOLERANCE
        assert relative_error(model.decode_unclamped(io["latent"]), io["decoded"]) <= TOLERANCE
        plain = model.decode_unclamped(io["latent"], quantize=False)
        assert relative_error(plain, io["decoded_without_quantisation"]) <= TOLERANCE


def _shapes(module: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def _listed(path: Path) -> dict[str, Any]:
    keys: dict[str, Any] = json.loads(path.read_text())
    return keys


NETWORKS = {  # key list, part of it, size, parameters
    "CA": ("idiffface", "", PUBLISHED_CONFIG, 216_341_187),
    "AdaGN": ("adagn", "conditional", PUBLISHED_ADAGN_CONFIG, 134_595_939),
    "unconditional": ("adagn", "unconditional", PUBLISHED_UNCONDITIONAL_CONFIG, 132_392_163),
}


def listed_network(folder: Path, network: str) -> dict[str, list[int]]:
    """Names and shapes of the published network's tensors."""
    name, part, *_ = NETWORKS[network]
    keys = _listed(folder / f"{name}_checkpoint_keys.json")
    return keys[part] if part else take_prefix(keys, PUBLISHED_PREFIX)


@pytest.mark.parametrize("network", NETWORKS)
def test_published_network_names_shapes_and_parameters(golden_dir: Path, network: str) -> None:
    *_, config, parameters = NETWORKS[network]
    with torch.device("meta"):
        unet = ConditionalUNet(config)
    assert _shapes(unet) == listed_network(golden_dir, network)
    assert sum(p.numel() for p in unet.parameters()) == parameters


def test_published_schedule_names_and_shapes(golden_dir: Path, vectors: dict[str, Tensor]) -> None:
    listed = _listed(golden_dir / "idiffface_checkpoint_keys.json")
    shapes = {name: list(vector.shape) for name, vector in vectors.items()}
    assert shapes == {name: shape for name, shape in listed.items() if not name.startswith(PUBLISHED_PREFIX)}
    assert list(RECIPE) == list(shapes)


@pytest.mark.parametrize("name", RECIPE)
def test_published_schedule_vectors(vectors: dict[str, Tensor], name: str) -> None:
    assert relative_error(RECIPE[name](vectors), vectors[name]) <= SCHEDULE_TOLERANCE


@pytest.mark.parametrize("network", NETWORKS)
def test_a_published_checkpoint_loads_as_the_network_that_it_is(
    golden_dir: Path, vectors: dict[str, Tensor], network: str
) -> None:
    # one shared zero per tensor: a checkpoint of the right names and shapes without its 865 MB
    listed = listed_network(golden_dir, network)
    tensors = {f"{PUBLISHED_PREFIX}{name}": torch.zeros(()).expand(shape) for name, shape in listed.items()}
    unet, schedule = load_published_idiffface({**vectors, **tensors}, "checkpoint")
    *_, config, parameters = NETWORKS[network]
    assert schedule.T == 1000
    assert unet.config == config
    assert sum(p.numel() for p in unet.parameters()) == parameters


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("conditional", "eps"),
        ("conditional", "eps_no_context"),
        ("conditional", "eps_zero_context"),
        ("unconditional", "eps"),
    ],
)
def test_adagn(golden_dir: Path, kind: str, name: str) -> None:
    path = golden_dir / "adagn_small.safetensors"
    tensors, metadata = read(path)
    unet = ConditionalUNet(UNetConfig.from_dict(json.loads(metadata[f"{kind}.config"]))).eval()
    load_strict(unet, take_prefix(tensors, f"{kind}.unet."), path.name)
    io = take_prefix(tensors, "io.")
    given: Tensor | None = {"eps": io["context"], "eps_zero_context": torch.zeros_like(io["context"])}.get(name)
    with torch.no_grad():
        eps = unet(io["x"], io["t"], given)
        once = unet(io["x"], io["t"], unet.contextualize(given, batch=len(io["x"])))
    assert relative_error(eps, tensors[f"{kind}.io.{name}"]) <= TOLERANCE
    assert torch.equal(once, eps)


def test_published_vq_f4_names_and_shapes(golden_dir: Path) -> None:
    listed = _listed(golden_dir / "vq_f4_checkpoint_keys.json")
    with torch.device("meta"):
        model = VQAutoencoder()
    assert _shapes(model.encoder) == listed["encoder"]
    assert _shapes(model.decoder) == listed["decoder"]
