"""Exports with their cards: a face set in one of the formats, a recognizer's weights file."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.data.exports import CARD, Format, Told, export, open_faces
from harness.data.transfer import new_folder
from harness.errors import InputError
from harness.export.cards import dataset_card, recognizer_card
from harness.export.chosen import FACES, MODEL, choose
from harness.store.weights import read_info

WEIGHTS_FILE = "weights.safetensors"


def export_faces(workdir: Path, name: str, folder: Path, format_: Format, seed: int | None, told: Told) -> int:
    """Write a face set and its card into a new folder; the number of images.

    Args:
        name: a folder of a store, or ``SUITE/ROW``: what the row's recognizer was trained on.
        seed: of the row; default: its first.
        told: called with the number of images that are read, and of all.

    Raises:
        InputError, DataError: as :func:`harness.export.chosen.choose` and :func:`harness.data.exports.export`.
    """
    chosen = choose(workdir, name, seed, FACES)
    artifact = chosen.artifact.folder
    card = dataset_card(chosen, open_faces(artifact), format_)
    return export(artifact, folder, format_, card=card, told=told)


def export_recognizer(workdir: Path, name: str, folder: Path, seed: int | None) -> Path:
    """Write a recognizer's weights file and its card into a new folder; where the file is.

    Args:
        name: a folder of a store, or ``SUITE/ROW``.
        seed: of the row; default: its first.

    Raises:
        InputError: there is none, it is no recognizer, or the folder is not empty.
        DataError: it is damaged.
    """
    chosen = choose(workdir, name, seed, MODEL)
    source = chosen.artifact.folder / WEIGHTS_FILE
    if not source.is_file() or (info := read_info(source)).role != "recognizer":
        raise InputError(f"{chosen.artifact.folder}: it holds no recognizer; expected a folder such as store/train/KEY")
    with new_folder(folder) as made:
        shutil.copyfile(source, made / WEIGHTS_FILE)
        (made / CARD).write_text(recognizer_card(chosen, info, WEIGHTS_FILE), encoding="utf-8")
    return folder / WEIGHTS_FILE
