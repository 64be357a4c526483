"""Stages that give vectors or weights: contexts, weights files, fits and FR training. None of them has shards."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.components.data import Ints, Model, SamplePlan
from harness.components.recognizer import Recognizer
from harness.components.run import Run
from harness.errors import StageError
from harness.faces.faceset import OK, FaceSet
from harness.stages.context import WEIGHTS_FILE, Stage, write_plan
from harness.stages.helpers import helpers
from harness.store.keys import digest
from harness.store.weights import WeightsInfo, read_info, weights_content, write_weights

if TYPE_CHECKING:
    import pyarrow as pa
    import torch


def finish(stage: Stage) -> dict[str, Any]:
    """Do the whole work of the stage."""
    work = {"contexts": _contexts, "weights": _weights, "fit": _fit, "train": _train}
    return work[stage.spec.kind](stage)


def _contexts(stage: Stage) -> dict[str, Any]:
    count = stage.spec.options["count"]
    recognizer = stage.recognizer()
    assert recognizer is not None
    model = {"model": stage.model()} if stage.component.accepts else {}
    contexts = stage.component.draw(count, stage.faces("source"), recognizer, stage.run, **model)
    if contexts.shape != (count, recognizer.width) or not np.isfinite(contexts).all():
        raise StageError(f"contexts are {list(contexts.shape)}, expected finite [{count}, {recognizer.width}]")
    everyone = np.arange(count, dtype=np.int64)
    table = np.ascontiguousarray(contexts, dtype=np.float32)
    write_plan(stage.folder, SamplePlan(everyone, np.zeros_like(everyone), pool={"context": table}))
    # Rounded: the last bits of an embedding depend on the processor.
    return {"content": digest(np.round(table, 5).tolist()), "counts": {"contexts": count}, "details": {}}


def _weights(stage: Stage) -> dict[str, Any]:
    """Take a weights file into the store: a copy, since its owner may write over the original."""
    target = stage.folder / WEIGHTS_FILE
    shutil.copyfile(stage.spec.local["path"], target)
    info = read_info(target)
    return {"content": weights_content(target), "counts": {}, "details": {"info": info.model_dump(mode="json")}}


def _fit(stage: Stage) -> dict[str, Any]:
    devices = getattr(stage.component.settings, "devices", 1)
    with helpers(stage.spec, stage.store.root, stage.device, devices, stage.emit):
        model = fit(stage, stage.run)
    recognizer = stage.recognizer()
    info = WeightsInfo(
        role="model",
        kind=model.kind,
        settings=dict(model.settings),
        recognizer="" if recognizer is None else recognizer.digest,
        **_terms(stage),
    )
    return _save(stage, model.tensors, info)


def fit(stage: Stage, run: Run) -> Model:
    """What the stage's generator fits to the stage's source."""
    source, given = stage.faces("source"), stage.first_stage()
    assert source is not None
    further = {} if given is None else {"first_stage": given}
    model: Model = stage.component.fit(source, stage.recognizer(), run, **further)
    return model


def _train(stage: Stage) -> dict[str, Any]:
    dataset = stage.faces("dataset")
    assert dataset is not None
    check_complete(stage, dataset)
    trained: Recognizer = stage.component.train(dataset, stage.run, None)
    from harness.plugins import import_target, registry

    names = registry().names["recognizers"].values()
    alike = [n for n in names if n.target.endswith(f":{type(trained).__qualname__}")]  # others stay unimported
    kind = next((n.name for n in alike if import_target(n.target) is type(trained)), "")
    if not kind:
        raise StageError(f"{stage.spec.component} gave a {type(trained).__qualname__}, which no plugin registered")
    info = WeightsInfo(
        role="recognizer",
        kind=kind,
        settings=trained.settings.model_dump(mode="json"),
        view=trained.takes.view,
        size_px=trained.takes.size_px,
        **_terms(stage),
    )
    return _save(stage, trained.state(), info)


def check_complete(stage: Stage, dataset: FaceSet) -> None:
    """Refuse a dataset with fewer complete identities than the suite asks for.

    Raises:
        StageError: with the counts, and the spare that would have been enough at the rates seen.
    """
    wanted = stage.spec.options.get("identities")
    if wanted is None or len(np.unique(dataset.identities)) >= wanted:
        return
    per_identity = stage.spec.options["per_identity"]
    planned, found = found_per_identity(dataset.items)
    complete = int(np.count_nonzero(found >= per_identity))
    raise StageError(
        f"{complete} of {len(planned)} identities have {per_identity} aligned images, {wanted} are needed "
        f"({found.sum()} of {planned.sum()} faces were found); {_advice(planned, found, wanted, per_identity)}"
    )


def found_per_identity(items: pa.Table) -> tuple[Ints, Ints]:
    """How many images of each identity were planned, and in how many a face was found."""
    labels = np.unique(items["identity"].to_numpy(), return_inverse=True)[1]
    fine = np.asarray(items["status"].to_pylist(), dtype=object) == OK
    return np.bincount(labels), np.bincount(labels, weights=fine).astype(np.int64)


def enough_spare(planned: Ints, found: Ints, identities: int, per_identity: int) -> tuple[int | None, int | None]:
    """The spare that would have been enough, if further images were found as often as those that were made.

    Args:
        planned, found: images of each identity, as in :func:`found_per_identity`.
        identities, per_identity: what is needed.

    Returns:
        the least ``spare.images`` with the identities that there are, then the least ``spare.identities`` with the
        images per identity that there are; None where no number would be enough.
    """
    complete = int(np.count_nonzero(found >= per_identity))
    more = -(-identities * len(found) // complete) - identities if complete else None
    seen = np.flatnonzero(found)
    if len(seen) < identities:
        return None, more
    needed = np.sort(-(-per_identity * planned[seen] // found[seen]))  # images of each identity, by its own rate
    return int(needed[identities - 1]) - per_identity, more


def _advice(planned: Ints, found: Ints, identities: int, per_identity: int) -> str:
    images, people = enough_spare(planned, found, identities, per_identity)
    ways = [f"dataset.spare.images {images}"] if images is not None else []
    ways += [f"dataset.spare.identities {people}"] if people is not None else []
    if not ways:
        return "no spare would have been enough: in too many identities no face was found at all"
    return f"if further images were found as often, {' or '.join(ways)} would have been enough"


def _terms(stage: Stage) -> dict[str, Any]:
    license = type(stage.component).license
    provenance = {"component": stage.spec.component, "seed": stage.spec.seed, "settings": stage.spec.settings}
    return {"license": license.name, "commercial_use": license.commercial_use, "provenance": provenance}


def _save(stage: Stage, tensors: Mapping[str, torch.Tensor], info: WeightsInfo) -> dict[str, Any]:
    path = stage.folder / WEIGHTS_FILE
    write_weights(path, tensors, info)
    return {
        "content": weights_content(path),
        "counts": {"parameters": sum(tensor.numel() for tensor in tensors.values())},
        "details": {"info": info.model_dump(mode="json")},
    }
