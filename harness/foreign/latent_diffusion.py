"""The latent diffusion model that IDiff-Face published, as a weights file of ours.

Every name and shape must be the network's: a missing, extra or misshapen tensor is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.diffusion.latent import KIND, UNET, LatentDiffusion
from harness.diffusion.schedule import Schedule, linear_schedule, published_vectors
from harness.diffusion.unet import PUBLISHED_CONFIG, ConditionalUNet, UNetConfig
from harness.diffusion.vq import VQAutoencoder, VQConfig
from harness.diffusion.weights import load_strict, take_prefix
from harness.errors import DataError, InputError
from harness.foreign.checkpoints import Terms, origin, read_foreign
from harness.store.weights import WeightsInfo, read_info, weights_content, write_weights

SIZE_PX = 128  # side of IDiff-Face's images. Source: IDiff-Face configuration
AUTOENCODER_FACTOR = 4  # of VQ-f4
PUBLISHED_PREFIX = "eps_model."  # of the network's tensors in IDiff-Face checkpoints
SCHEDULE_TOLERANCE = 1e-4  # relative, between a checkpoint's vectors and ours


@dataclass(frozen=True)
class LatentFiles:
    """What IDiff-Face's authors publish or use, file by file; ``entry`` chooses a table within the U-Net's."""

    unet: Path
    encoder: Path
    decoder: Path
    entry: str = ""


def import_latent_diffusion(
    files: LatentFiles,
    out: Path,
    terms: Terms,
    size_px: int = SIZE_PX,
    recognizer: Path | None = None,
    unet_config: UNetConfig | None = None,
    vq_config: VQConfig | None = None,
) -> WeightsInfo:
    """Write the weights file of a published IDiff-Face model: its U-Net, its schedule and the VQ-f4 autoencoder.

    Args:
        files: the checkpoints.
        out: the weights file to write.
        size_px: side of the images that the model was trained on.
        recognizer: weights file (ours) of the recognizer that gave the model its contexts; None leaves it open, and
            then nothing checks that a suite's contexts come from the same one.
        unet_config, vq_config: other sizes than the published ones.

    Raises:
        DataError: a file cannot be read, a tensor is missing, unexpected or misshapen, or the schedule is another one.
        InputError: the size does not fit the networks, or ``recognizer`` holds something else.
    """
    conditioned = "" if recognizer is None else _recognizer_content(recognizer)
    parts = _latent_parts(files, size_px, unet_config or PUBLISHED_CONFIG, vq_config)
    weights = {f"{UNET}{name}": tensor for name, tensor in parts.unet.state_dict().items()}
    info = WeightsInfo(
        role="model",
        kind=KIND,
        settings=parts.settings(),
        recognizer=conditioned,
        license=terms.license,
        commercial_use=terms.commercial_use,
        provenance={"imported": {name: origin(getattr(files, name)) for name in ("unet", "encoder", "decoder")}},
    )
    write_weights(out, parts.tensors(weights, torch.float32), info)
    return info


def _latent_parts(files: LatentFiles, size_px: int, config: UNetConfig, vq_config: VQConfig | None) -> LatentDiffusion:
    factor = AUTOENCODER_FACTOR * 2 ** (len(config.is_attention) - 1)
    if size_px % factor:
        raise InputError(f"size_px must be a multiple of {factor} for this model, got {size_px}")
    unet, schedule = load_published_idiffface(read_foreign(files.unet, files.entry), str(files.unet), config)
    with torch.device("meta"):
        autoencoder = VQAutoencoder(vq_config)
    load_strict(autoencoder.encoder, read_foreign(files.encoder), str(files.encoder))
    load_strict(autoencoder.decoder, read_foreign(files.decoder), str(files.decoder))
    return LatentDiffusion(unet, autoencoder, schedule, size_px)


def load_published_idiffface(
    tensors: Mapping[str, Tensor], what: str, config: UNetConfig = PUBLISHED_CONFIG
) -> tuple[ConditionalUNet, Schedule]:
    """Build the network and the schedule of a published IDiff-Face checkpoint (raw or EMA state dict).

    Raises:
        DataError: tensors do not fit, or the schedule is not the linear one.
    """
    vectors = {name: tensor for name, tensor in tensors.items() if not name.startswith(PUBLISHED_PREFIX)}
    if "betas" not in vectors:
        raise DataError(f"{what}: no tensor 'betas'; expected a state dict of the IDiff-Face diffusion wrapper")
    schedule = linear_schedule(len(vectors["betas"]))
    expected = published_vectors(schedule)
    for name in sorted(expected.keys() | vectors.keys()):
        if name not in expected or name not in vectors or vectors[name].shape != expected[name].shape:
            raise DataError(f"{what}: schedule vector {name!r} is missing, unexpected or not of length {schedule.T}")
        if not torch.allclose(vectors[name].float(), expected[name], rtol=SCHEDULE_TOLERANCE, atol=0.0):
            raise DataError(f"{what}: {name!r} is not that of the linear schedule with T = {schedule.T}")
    with torch.device("meta"):
        unet = ConditionalUNet(config)
    load_strict(unet, take_prefix(tensors, PUBLISHED_PREFIX), what)
    return unet.eval(), schedule


def _recognizer_content(path: Path) -> str:
    info = read_info(path)
    if info.role != "recognizer":
        raise InputError(f"{path}: holds a {info.role}, expected the recognizer that gave the model its contexts")
    return weights_content(path)
