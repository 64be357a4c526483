"""Checkpoints that other code wrote, turned into our weights files, strictly.

Pickles are read with torch's restricted unpickler, which builds tensors and plain containers and nothing else; a file
that holds more is refused. Every name and shape must be the network's: a missing, extra or misshapen tensor is an error
that names it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.components.base import CommercialUse, Crop
from harness.components.recognizer import Recognizer
from harness.errors import DataError, InputError
from harness.store.weights import WeightsInfo, read_info, weights_content, write_weights

if TYPE_CHECKING:
    import torch

    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.unet import UNetConfig
    from harness.diffusion.vq import VQConfig

PARALLEL = "module."  # what torch's DataParallel puts before every name
SIZE_PX = 128  # side of IDiff-Face's images. Source: IDiff-Face configuration
FIRST_STAGE_FACTOR = 4  # of VQ-f4


@dataclass(frozen=True)
class Terms:
    """Under which terms the imported weights may be used; leaderboard rows show them."""

    license: str = "unknown"
    commercial_use: CommercialUse = "unknown"


def read_foreign(path: Path, entry: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, safetensors or pickle (``.pt``, ``.pth``, ``.ckpt``).

    Args:
        path: the file.
        entry: which table of a file that holds several, such as ``state_dict``; not needed where there is one.

    Raises:
        DataError: the file cannot be read, holds more than tensors, or no single table of tensors can be told.
    """
    tensors = _table(_read_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path), entry, path)
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as safetensors ({error})") from error
    return tensors


def _unpickle(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # torch raises nearly every kind for files that are no checkpoints
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise DataError(
                f"{path}: holds {found[1]}, which a file of weights must not; unpickling it could run any code. Get "
                "the weights as safetensors, or have someone who trusts the file save its state dict alone"
            ) from error
        raise DataError(
            f"{path}: not a checkpoint of tensors that torch can read safely ({type(error).__name__}); expected a "
            "state dict saved by torch.save, or safetensors"
        ) from error


def _table(loaded: Any, entry: str, path: Path) -> dict[str, torch.Tensor]:
    """The table of tensors in what was unpickled."""
    if entry:
        if not isinstance(loaded, Mapping) or entry not in loaded:
            raise DataError(f"{path}: no entry {entry!r}; it holds {_listed(loaded)}")
        loaded = loaded[entry]
    if _is_table(loaded):
        return dict(loaded)
    tables = [name for name, value in loaded.items() if _is_table(value)] if isinstance(loaded, Mapping) else []
    if len(tables) == 1:
        return dict(loaded[tables[0]])
    if tables:
        raise DataError(f"{path}: holds several tables of tensors; choose one with --entry: {', '.join(tables)}")
    raise DataError(f"{path}: expected tensors by name, found {_listed(loaded)}")


def _is_table(value: Any) -> bool:
    import torch

    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())


def _listed(loaded: Any) -> str:
    if not isinstance(loaded, Mapping):
        return f"a {type(loaded).__name__}"
    shown = [f"{name} ({type(value).__name__})" for name, value in list(loaded.items())[:5]]
    return ", ".join(shown) + (f" and {len(loaded) - 5} more" if len(loaded) > 5 else "") or "nothing"


def import_recognizer(
    source: Path, out: Path, kind: str, recognizer: Recognizer, terms: Terms, entry: str = ""
) -> WeightsInfo:
    """Write the weights file of a recognizer.

    Args:
        source: the checkpoint.
        out: the weights file to write.
        kind: the registered name of the recognizer's architecture.
        recognizer: built with its settings and the crop that its weights take.

    Raises:
        DataError: the checkpoint cannot be read, or a tensor is missing, unexpected or misshapen.
    """
    try:
        recognizer.load(read_foreign(source, entry))
    except DataError as error:
        raise DataError(_at(source, error)) from error
    info = WeightsInfo(
        role="recognizer",
        kind=kind,
        settings=recognizer.settings.model_dump(mode="json"),
        view=recognizer.takes.view,
        size_px=recognizer.takes.size_px,
        license=terms.license,
        commercial_use=terms.commercial_use,
        provenance={"imported": {"weights": _origin(source)}},
    )
    write_weights(out, recognizer.state(), info)
    return info


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
    import torch

    from harness.diffusion.latent import KIND, UNET
    from harness.diffusion.unet import PUBLISHED_CONFIG

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
        provenance={"imported": {name: _origin(getattr(files, name)) for name in ("unet", "encoder", "decoder")}},
    )
    write_weights(out, parts.tensors(weights, torch.float32), info)
    return info


def _latent_parts(files: LatentFiles, size_px: int, config: UNetConfig, vq_config: VQConfig | None) -> LatentDiffusion:
    import torch

    from harness.diffusion.latent import LatentDiffusion
    from harness.diffusion.vq import VQAutoencoder
    from harness.diffusion.weights import load_published_idiffface, load_strict

    factor = FIRST_STAGE_FACTOR * 2 ** (len(config.is_attention) - 1)
    if size_px % factor:
        raise InputError(f"size_px must be a multiple of {factor} for this model, got {size_px}")
    unet, schedule = load_published_idiffface(read_foreign(files.unet, files.entry), str(files.unet), config)
    with torch.device("meta"):
        stage = VQAutoencoder(vq_config)
    load_strict(stage.encoder, read_foreign(files.encoder), str(files.encoder))
    load_strict(stage.decoder, read_foreign(files.decoder), str(files.decoder))
    return LatentDiffusion(unet, stage, schedule, size_px)


def build_recognizer(kind: str, cls: type[Recognizer], values: Mapping[str, Any], crop: Crop) -> Recognizer:
    """A recognizer from plain settings.

    Raises:
        InputError: a setting is wrong; the message names it.
    """
    from pydantic import ValidationError

    try:
        settings = cls.Settings.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{kind}: {where}: {first['msg']}") from error
    return cls(settings, crop)


def _recognizer_content(path: Path) -> str:
    info = read_info(path)
    if info.role != "recognizer":
        raise InputError(f"{path}: holds a {info.role}, expected the recognizer that gave the model its contexts")
    return weights_content(path)


def _origin(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _at(path: Path, error: DataError) -> str:
    text = str(error)
    return text if text.startswith(str(path)) else f"{path}: {text}"
