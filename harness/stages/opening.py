"""Artifacts opened: face sets, recognizers, models, contexts and protocols, as components get them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow.parquet as pq

from harness.arrays import Floats, Ints
from harness.components.base import Crop
from harness.components.model import Model
from harness.components.pairs import LostPairs, PairSet, TemplateSet
from harness.faces.faceset import FaceSet
from harness.plugins import registry
from harness.stages.plans import read_plan
from harness.store.artifacts import Artifact, Store
from harness.store.weights import load_tensors, read_info, weights_content

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer

WEIGHTS_FILE = "weights.safetensors"
PAIRS, TEMPLATES, LOST = "pairs.parquet", "templates.parquet", "lost.parquet"


def open_faces(artifact: Artifact, device: str = "cpu") -> FaceSet:
    """The face set of an artifact."""
    return FaceSet(artifact.folder, Crop(**artifact.manifest.details["crop"]))


def open_recognizer(artifact: Artifact, device: str = "cpu") -> Recognizer:
    """The recognizer of an artifact, on a device."""
    return load_recognizer(artifact.folder / WEIGHTS_FILE, device)


def open_model(artifact: Artifact, device: str = "cpu") -> Model:
    """The model of an artifact; its tensors lie in memory."""
    info = read_info(artifact.folder / WEIGHTS_FILE)
    return Model(info.kind, info.settings, _load_tensors(artifact.folder))


def open_contexts(artifact: Artifact, device: str = "cpu") -> Floats:
    """The contexts of an artifact, float32 [I, D]."""
    contexts: Floats = read_plan(artifact.folder).pool["context"]
    return contexts


def open_people(artifact: Artifact, device: str = "cpu") -> Ints | None:
    """Whose embeddings the contexts of an artifact are, int64 [I]; None if they are nobody's."""
    pool: Mapping[str, Any] = read_plan(artifact.folder).pool
    return pool.get("person")


def open_protocol(
    artifact: Artifact, store: Store
) -> tuple[FaceSet, PairSet | TemplateSet, Literal["pairs", "templates"]]:
    """A protocol's faces, its pairs, and of what these are; the faces may be those of its parent."""
    if (artifact.folder / "items.parquet").exists():
        faces = open_faces(artifact)
    else:
        kind, key = artifact.manifest.parents["source"].split("/")
        faces = open_faces(store.get(kind, key))
    pairs = _arrays(artifact.folder / PAIRS)
    if (artifact.folder / LOST).exists():
        pairs["lost"] = LostPairs(**_arrays(artifact.folder / LOST))
    if (artifact.folder / TEMPLATES).exists():
        return faces, TemplateSet(**_arrays(artifact.folder / TEMPLATES), **pairs), "templates"
    return faces, PairSet(**pairs), "pairs"


def _arrays(path: Path) -> dict[str, Any]:
    """The columns of a table, by name."""
    table = pq.read_table(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


@lru_cache(maxsize=4)
def _load_tensors(folder: Path) -> dict[str, Any]:
    return load_tensors(folder / WEIGHTS_FILE)


@lru_cache(maxsize=4)
def load_recognizer(path: Path, device: str = "cpu") -> Recognizer:
    """The recognizer of a weights file."""
    info = read_info(path)
    cls: Any = registry().load("recognizers", info.kind)
    recognizer: Recognizer = cls(cls.Settings.model_validate(info.settings), Crop(info.view, info.size_px, info.color))
    recognizer.load(load_tensors(path), device)
    recognizer.digest = weights_content(path)
    return recognizer
