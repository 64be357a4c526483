"""VQ-f4, the published autoencoder, from the files that hold it.

Every name and shape must be the network's: a missing, extra or misshapen tensor is an error that names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.diffusion.kinds import VQ_F4
from harness.diffusion.latent import autoencoder_tensors, described
from harness.diffusion.vq import VQAutoencoder, VQConfig
from harness.diffusion.weights import load_strict
from harness.foreign.checkpoints import Terms, origin, read_foreign
from harness.store.weights import WeightsInfo, write_weights

# Of the autoencoder's tensors in a latent diffusion checkpoint. Source: the public latent diffusion models
LATENT_PREFIX = "first_stage_model."
_DECODER = ("decoder.", "quantize.", "post_quant_conv.")


@dataclass(frozen=True)
class VQFiles:
    """The files of the two halves, as IDiff-Face splits them; twice the same one for a checkpoint that holds both.

    ``entry`` chooses a table within a file that holds several.
    """

    encoder: Path
    decoder: Path
    entry: str = ""

    def origins(self) -> dict[str, dict[str, str]]:
        """Names and digests, for the provenance."""
        if self.encoder == self.decoder:
            return {"autoencoder": origin(self.encoder)}
        return {"encoder": origin(self.encoder), "decoder": origin(self.decoder)}


def read_vq_f4(files: VQFiles, config: VQConfig | None = None) -> VQAutoencoder:
    """The autoencoder, with its weights.

    Args:
        files: state dicts, or the public latent diffusion checkpoint, of which only the autoencoder is read.
        config: another size than the published one.

    Raises:
        DataError: a file cannot be read, or a tensor is missing, unexpected or misshapen.
    """
    with torch.device("meta"):
        autoencoder = VQAutoencoder(config)
    encoder, decoder = _halves(files)
    load_strict(autoencoder.encoder, encoder, str(files.encoder))
    load_strict(autoencoder.decoder, decoder, str(files.decoder))
    return autoencoder.eval()


def _halves(files: VQFiles) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of encoder and decoder. What is neither's stays with the encoder, which refuses it by name."""
    found = read_foreign(files.encoder, files.entry, LATENT_PREFIX)
    if files.encoder != files.decoder:
        return found, read_foreign(files.decoder, files.entry, LATENT_PREFIX)
    decoder = {name: tensor for name, tensor in found.items() if name.startswith(_DECODER)}
    return {name: tensor for name, tensor in found.items() if name not in decoder}, decoder


def import_vq_f4(files: VQFiles, out: Path, terms: Terms, config: VQConfig | None = None) -> WeightsInfo:
    """Write the weights file of VQ-f4 alone, whose autoencoder a fit can take over.

    Args:
        files: the checkpoints.
        out: the weights file to write.
        config: another size than the published one.

    Raises:
        DataError: a file cannot be read, or a tensor is missing, unexpected or misshapen.
    """
    autoencoder = read_vq_f4(files, config)
    info = WeightsInfo(
        role="model",
        kind=VQ_F4,
        settings=described(autoencoder),
        license=terms.license,
        commercial_use=terms.commercial_use,
        provenance={"imported": files.origins()},
    )
    write_weights(out, autoencoder_tensors(autoencoder), info)
    return info
