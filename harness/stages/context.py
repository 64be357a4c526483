"""What a stage's work has at hand: its spec, its component, its parents and the folder it builds in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.components.base import Component, Crop
from harness.components.data import Model, SamplePlan
from harness.components.run import Emit, Run
from harness.errors import DataError, StageError
from harness.faces.faceset import FaceSet
from harness.plugins import import_target, registry
from harness.store.artifacts import WORK, Artifact, Spent, Store, now
from harness.store.stage import StageSpec
from harness.store.weights import load_tensors, read_info, weights_content

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer

WEIGHTS_FILE = "weights.safetensors"
_SPENT = "spent.jsonl"  # one line per phase that ran


class Stage:
    """One stage at work.

    Attributes:
        spec: what to build.
        folder: where it is built.
        run: what its component gets to know of the world.
    """

    def __init__(self, spec: StageSpec, store: Store, device: str, emit: Emit, should_stop: Callable[[], bool]) -> None:
        self.spec, self.store, self.device, self.emit = spec, store, device, emit
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.folder = store.building(spec.kind, spec.key)

        def forward(kind: str, data: dict[str, Any]) -> None:
            if kind == "log" and data["finite"]:  # a gap in the curve: JSON has no infinity
                self.curves.setdefault(data["name"], []).append((data["step"], data["value"]))
            if kind == "picture":
                (self.folder / "figures").mkdir(exist_ok=True)
                (self.folder / "figures" / f"{data['name']}.png").write_bytes(data["png"])
                return
            emit(kind, data)

        self.run = Run(spec.seed, device, forward, self.folder / WORK, should_stop)

    def spend(self, since: float, seconds: float) -> None:
        """Note what one phase took and logged, done or interrupted, so that a later process can add it up."""
        line = json.dumps({"since": since, "seconds": seconds, "curves": self.curves}) + "\n"
        path = self.folder / WORK / _SPENT
        with contextlib.suppress(OSError):  # a full disk has its own error
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(line)

    def spent(self) -> Spent:
        """What the stage took so far, over all its phases, processes and interruptions."""
        spent = Spent(now(), 0.0, {})
        path = self.folder / WORK / _SPENT
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                noted = json.loads(line)
            except ValueError:
                continue  # written by a process that was killed at it
            spent.since = min(spent.since, noted["since"])
            spent.seconds += noted["seconds"]
            for name, points in noted["curves"].items():
                kept = [point for point in spent.curves.get(name, []) if point[0] < points[0][0]]
                spent.curves[name] = kept + [(step, value) for step, value in points]
        return spent

    @cached_property
    def component(self) -> Any:
        """The component, with its settings."""
        cls: type[Component] = import_target(self.spec.target)
        return cls(cls.schema(self.spec.kind).model_validate(self.spec.settings))

    def parent(self, role: str) -> Artifact | None:
        """The artifact in a role, or None when the stage has none there."""
        reference = self.spec.parents.get(role)
        return None if reference is None else self.store.get(*reference)

    def faces(self, role: str) -> FaceSet | None:
        """The face set in a role."""
        artifact = self.parent(role)
        return None if artifact is None else open_faces(artifact)

    def recognizer(self, role: str = "recognizer") -> Recognizer | None:
        """The recognizer in a role, loaded."""
        artifact = self.parent(role)
        return None if artifact is None else load_recognizer(artifact.folder / WEIGHTS_FILE, self.device)

    def first_stage(self) -> Model | None:
        """The model whose first stage a fit takes over."""
        artifact = self.parent("first_stage")
        if artifact is None:
            return None
        info = read_info(artifact.folder / WEIGHTS_FILE)
        return Model(info.kind, info.settings, _load_tensors(artifact.folder))

    def model(self) -> Model | None:
        """The generator's model: a fitted one with its recognizer, or a source's faces for rows of existing images."""
        artifact, faces = self.parent("model"), self.faces("source")
        if artifact is not None:
            info = read_info(artifact.folder / WEIGHTS_FILE)
            recognizer = self.recognizer()
            if recognizer is not None and info.recognizer and recognizer.digest != info.recognizer:
                raise DataError("the model was fitted with another recognizer than the suite gives; fit it again")
            return Model(info.kind, info.settings, _load_tensors(artifact.folder), recognizer)
        return None if faces is None else Model("faces/1", faces=faces)


def open_faces(artifact: Artifact) -> FaceSet:
    """The face set of an artifact."""
    crop = artifact.manifest.details["crop"]
    return FaceSet(artifact.folder, Crop(**crop))


@lru_cache(maxsize=4)
def _load_tensors(folder: Path) -> dict[str, Any]:
    return load_tensors(folder / WEIGHTS_FILE)


@lru_cache(maxsize=4)
def load_recognizer(path: Path, device: str = "cpu") -> Recognizer:
    """The recognizer of a weights file."""
    info = read_info(path)
    cls: Any = registry().load("recognizers", info.kind)
    recognizer: Recognizer = cls(cls.Settings.model_validate(info.settings), Crop(info.view, info.size_px))
    recognizer.load(load_tensors(path), device)
    recognizer.digest = weights_content(path)
    return recognizer


# A sample plan on disk: one parquet file with a row per image, one with a row per identity of the pool.


def write_plan(folder: Path, plan: SamplePlan) -> None:
    """Write a sample plan; ``plan.parquet`` last, since its presence says that the plan is whole."""
    if not len(plan):
        raise StageError("the plan holds no image; expected at least one identity and one sample")
    pq.write_table(_columns(plan.pool), folder / "pool.parquet")
    items = {"identity": plan.identities, "sample": plan.samples}
    partial = folder / "plan.partial"
    pq.write_table(_columns(plan.items, **items), partial)
    partial.replace(folder / "plan.parquet")


def read_plan(folder: Path, start: int = 0, stop: int | None = None) -> SamplePlan:
    """Read a sample plan, or a slice of its rows."""
    items = pq.read_table(folder / "plan.parquet", memory_map=True)
    items = items.slice(start, None if stop is None else stop - start)
    arrays = {name: _array(items[name]) for name in items.column_names}
    pool = pq.read_table(folder / "pool.parquet")
    identities, samples = arrays.pop("identity"), arrays.pop("sample")
    return SamplePlan(identities, samples, arrays, {name: _array(pool[name]) for name in pool.column_names})


def plan_length(folder: Path) -> int:
    """How many images the plan in a folder has."""
    return int(pq.read_metadata(folder / "plan.parquet").num_rows)


def _columns(columns: Any, **more: Any) -> pa.Table:
    return pa.table({name: _arrow(np.asarray(column)) for name, column in {**more, **columns}.items()})


def _arrow(column: Any) -> pa.Array:
    if column.ndim == 1:
        return pa.array(column)
    flat = pa.array(np.ascontiguousarray(column).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(column.shape[1:])))


def _array(column: pa.ChunkedArray) -> Any:
    """A column as an array of its own, writable as torch wants it."""
    if not pa.types.is_fixed_size_list(column.type):
        return np.array(column.to_numpy())
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.array(flat).reshape(len(column), column.type.list_size)
