"""The latent diffusion model that IDiff-Face published, as a weights file of ours.

Every name and shape must be the network's: a missing, extra or misshapen tensor is an error that names it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.diffusion.kinds import LATENT_DIFFUSION, UNCONDITIONAL
from harness.diffusion.latent import UNET, LatentDiffusion
from harness.diffusion.schedule import Schedule, linear_schedule
from harness.diffusion.unet import (
    PUBLISHED_ADAGN_CONFIG,
    PUBLISHED_CONFIG,
    PUBLISHED_UNCONDITIONAL_CONFIG,
    ConditionalUNet,
    UNetConfig,
)
from harness.diffusion.vq import VQConfig
from harness.diffusion.weights import load_strict, take_prefix
from harness.errors import DataError, InputError
from harness.foreign.checkpoints import Terms, origin, read_foreign
from harness.foreign.published_schedule import check_schedule
from harness.foreign.vq_f4 import VQFiles, read_vq_f4
from harness.store.weights import WeightsInfo, how_taken, read_info, weights_content, write_weights

SIZE_PX = 128  # side of IDiff-Face's images. Source: IDiff-Face configuration
AUTOENCODER_FACTOR = 4  # of VQ-f4
PUBLISHED_PREFIX = "eps_model."  # of the network's tensors in IDiff-Face checkpoints
_RESIDUAL_CONTEXT = ".res.context_emb."  # within the names of an AdaGN network that has a context


@dataclass(frozen=True)
class LatentFiles:
    """What IDiff-Face's authors publish or use, file by file; ``entry`` chooses a table within the U-Net's.

    ``encoder`` and ``decoder`` may be one file that holds both.
    """

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
    cpd: float | None = None,
) -> WeightsInfo:
    """Write the weights file of a published IDiff-Face model: its U-Net, its schedule and the VQ-f4 autoencoder.

    Args:
        files: the checkpoints.
        out: the weights file to write.
        size_px: side of the images that the model was trained on.
        recognizer: weights file (ours) of the recognizer that gave the model its contexts; None leaves it open, and
            then nothing checks that a suite's contexts come from the same one.
        unet_config, vq_config: other sizes than the published ones; which of the published networks it is, the names
            of its tensors tell.
        cpd: contextual partial dropout of its training, which the checkpoint does not say and sampling does not use;
            None notes that of the published main model.

    Raises:
        DataError: a file cannot be read, a tensor is missing, unexpected or misshapen, or the schedule is another one.
        InputError: the size does not fit the networks, ``recognizer`` holds something else or the model has no
            contexts.
    """
    conditioned = {} if recognizer is None else _conditioned(recognizer)
    parts = _latent_parts(files, size_px, unet_config, vq_config, cpd)
    conditional = parts.unet.config.is_context_conditional
    if not conditional and (recognizer is not None or cpd is not None):
        raise InputError(f"{files.unet}: an unconditional model, so it takes neither a recognizer nor a cpd")
    weights = {f"{UNET}{name}": tensor for name, tensor in parts.unet.state_dict().items()}
    origins = VQFiles(files.encoder, files.decoder).origins()
    info = WeightsInfo(
        role="model",
        kind=LATENT_DIFFUSION if conditional else UNCONDITIONAL,
        settings=parts.settings(),
        **conditioned,
        license=terms.license,
        commercial_use=terms.commercial_use,
        provenance={"imported": {"unet": origin(files.unet), **origins}},
    )
    write_weights(out, parts.tensors(weights, torch.float32), info)
    return info


def _latent_parts(
    files: LatentFiles, size_px: int, config: UNetConfig | None, vq_config: VQConfig | None, cpd: float | None
) -> LatentDiffusion:
    tensors = read_foreign(files.unet, files.entry)
    config = config or published_config(tensors)
    if cpd is not None:
        config = dataclasses.replace(config, context_dropout_probability=cpd)
    factor = AUTOENCODER_FACTOR * 2 ** (len(config.is_attention) - 1)
    if size_px % factor:
        raise InputError(f"size_px must be a multiple of {factor} for this model, got {size_px}")
    unet, schedule = load_published_idiffface(tensors, str(files.unet), config)
    autoencoder = read_vq_f4(VQFiles(files.encoder, files.decoder), vq_config)
    return LatentDiffusion(unet, autoencoder, schedule, size_px)


def published_config(tensors: Mapping[str, Tensor]) -> UNetConfig:
    """Which of the published networks a checkpoint is of, by the names of its tensors."""
    names = [name for name in tensors if name.startswith(PUBLISHED_PREFIX)]
    if not any(name.startswith(f"{PUBLISHED_PREFIX}context_emb.") for name in names):
        return PUBLISHED_UNCONDITIONAL_CONFIG
    return PUBLISHED_ADAGN_CONFIG if any(_RESIDUAL_CONTEXT in name for name in names) else PUBLISHED_CONFIG


def load_published_idiffface(
    tensors: Mapping[str, Tensor], what: str, config: UNetConfig | None = None
) -> tuple[ConditionalUNet, Schedule]:
    """Build the network and the schedule of a published IDiff-Face checkpoint (raw or EMA state dict).

    Args:
        tensors: its state dict.
        what: where it comes from, for the errors.
        config: another size than the published one of its kind.

    Raises:
        DataError: tensors do not fit, or the schedule is not the linear one.
    """
    network = take_prefix(tensors, PUBLISHED_PREFIX)
    if not network:
        text = f"no tensor below {PUBLISHED_PREFIX!r}; expected a state dict of the IDiff-Face diffusion wrapper"
        raise DataError(f"{what}: {text}")
    vectors = {name: tensor for name, tensor in tensors.items() if not name.startswith(PUBLISHED_PREFIX)}
    steps = check_schedule(vectors, what)
    with torch.device("meta"):
        unet = ConditionalUNet(config or published_config(tensors))
    load_strict(unet, network, what)
    return unet.eval(), linear_schedule(steps)


def _conditioned(path: Path) -> dict[str, Any]:
    """What a weights file says of the recognizer that gave the model its contexts."""
    info = read_info(path)
    if info.role != "recognizer":
        raise InputError(f"{path}: holds a {info.role}, expected the recognizer that gave the model its contexts")
    return {"recognizer": weights_content(path), "recognizer_took": how_taken(info)}
