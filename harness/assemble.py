"""From a row's artifacts to its result file."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import __version__, disk
from harness.components.base import CommercialUse, Component
from harness.errors import DataError
from harness.gates import Verdict, judge
from harness.graph import (
    AlignStage,
    FitStage,
    GenerateStage,
    MixStage,
    RowPlan,
    Stage,
    StageId,
    SuitePlan,
    WeightsStage,
)
from harness.plugins import import_target, registry
from harness.results import Dataset, DatasetPart, Environment, MetricRecord, Result, StageRecord, strictest
from harness.store.artifacts import Artifact, now

_SECONDS_PER_HOUR = 3600.0
_WARN_SHARE = 0.01  # of pictures with several faces, or with one that was taken far from the middle

Finished = Mapping[StageId, tuple[Artifact, bool]]


def stage_record(artifact: Artifact, cached: bool) -> StageRecord:
    """What a result says of one stage."""
    made = artifact.manifest
    return StageRecord(
        kind=made.kind,
        key=made.key,
        content=made.content,
        component=made.component,
        license=made.license.get("name", ""),
        cached=cached,
        seconds=made.seconds,
        gpu_hours=made.settings.get("devices", 1) * made.seconds / _SECONDS_PER_HOUR if made.device != "cpu" else 0.0,
        images=made.counts.get("images", 0),
        rejected=made.counts.get("rejected", 0),
    )


def assemble(plan: SuitePlan, row: RowPlan, finished: Finished, error: str, device: str, folder: Path) -> Result:
    """Put a row's result together, and its figures and tables beside it.

    Args:
        finished: the artifacts there are, and whether each was found instead of built.
        error: why the row failed; empty when it did not.
        device: where it ran.
        folder: the result's folder.
    """
    there = [finished[stage.id][0] for stage in row.stages if stage.id in finished]
    warnings = [v.text for v in verdicts(plan, row.recognizer, finished) if not v.refused]
    warnings += [*_mixtures(there), *_choices(plan, row, finished)]
    evaluations = [finished[stage.id][0] for stage in row.evaluations if stage.id in finished]
    metrics, doubled = _distinct(evaluations)
    warnings += doubled
    if row.align is not None and row.align.id in finished:
        metrics += _alignment(finished[row.align.id][0], row.align)
    folder.mkdir(parents=True, exist_ok=True)
    figures, tables = _copy_files(there, folder)
    return Result(
        suite=plan.suite.name,
        row=row.row,
        generator=row.generator,
        seed=row.seed,
        status="failed" if error else "done",
        error=error,
        warnings=warnings,
        shipped=list(row.shipped),
        chosen_on=list(row.chosen_on),
        commercial_use=strictest_terms(plan, row),
        recipe="" if row.generator == "recognizer" else plan.recipe,
        method=row.method,
        generator_fits=int(any(isinstance(stage, GenerateStage) and stage.model for stage in _made(row))),
        dataset=_dataset(plan, row, finished),
        parameters=dict(row.parameters),
        metrics=metrics,
        stages=[stage_record(artifact, cached) for artifact, cached in _own(plan, row, finished)],
        curves=_curves(there),
        figures=figures,
        tables=tables,
        started=min((a.manifest.created for a in there), default=now()),
        finished=max((a.manifest.finished for a in there), default=now()),
        environment=environment(there, device),
    )


def verdicts(plan: SuitePlan, training: Stage, finished: Finished) -> Iterable[Verdict]:
    """The gates before an FR training that its dataset's evaluations, as far as they are finished, do not pass."""
    for id, gates in plan.gates.get(training.id, {}).items():
        if id in finished:
            yield from judge(gates, list(_metrics(finished[id][0])))


def same_outcome(old: Result, new: Result) -> bool:
    """Whether two results say the same, whatever was cached and wherever they ran."""

    def essence(result: Result) -> object:
        plain = result.model_dump(mode="json", exclude={"environment"})
        for stage in plain["stages"]:
            del stage["cached"]
        return plain

    return essence(old) == essence(new)


def environment(artifacts: list[Artifact], device: str) -> Environment:
    """What the row's artifacts were made with; of the latest one, where they differ."""
    latest = max(artifacts, key=lambda artifact: artifact.manifest.finished, default=None)
    made = latest.manifest.environment if latest is not None else {}
    return Environment(
        harness=made.get("harness", __version__),
        plugins={p.distribution: p.version for p in registry().loaded if not p.module.startswith("harness.")},
        torch=made.get("torch", ""),
        numpy=made.get("numpy", ""),
        python=made.get("python", platform.python_version()),
        processor=made.get("processor", ""),
        device=device if latest is None else latest.manifest.device,
        commit=made.get("commit", ""),
    )


def _mixtures(artifacts: list[Artifact]) -> Iterator[str]:
    """What was made with several versions or processors within one row, as warnings."""
    for name in ("harness", "torch", "numpy", "python", "processor", "instructions", "gpu"):
        values: dict[str, list[str]] = {}
        for artifact in artifacts:
            if name in artifact.manifest.environment:
                values.setdefault(artifact.manifest.environment[name], []).append(artifact.manifest.kind)
        if len(values) > 1:
            told = "; ".join(f"{value[:40]} ({', '.join(dict.fromkeys(kinds))})" for value, kinds in values.items())
            yield f"made with more than one {name}: {told}"


def _metrics(artifact: Artifact) -> Iterable[MetricRecord]:
    path = artifact.folder / "report.json"
    try:
        records = [MetricRecord.model_validate(record) for record in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:  # pydantic's and JSON's errors are ValueErrors
        raise DataError(f"{path}: damaged report; delete {artifact.folder} and run again") from error
    yield from records


def _distinct(evaluations: list[Artifact]) -> tuple[list[MetricRecord], list[str]]:
    """The metrics of all evaluations, the first of each name; and warnings on those left out."""
    kept: dict[str, MetricRecord] = {}
    owners: dict[str, str] = {}
    warnings = []
    for artifact in evaluations:
        for record in _metrics(artifact):
            who = artifact.manifest.component
            if record.name in kept:
                warnings.append(
                    f"{record.name} of {who} is left out: {owners[record.name]} gives a metric of that name"
                )
                continue
            kept[record.name], owners[record.name] = record, who
    return list(kept.values()), warnings


def _alignment(artifact: Artifact, stage: AlignStage) -> Iterator[MetricRecord]:
    """Detection rate, and the pose of what was found and what was not."""
    counts, made = artifact.manifest.counts, artifact.manifest
    common: dict[str, Any] = {"n": counts["planned"], "protocol": f"{made.component}-{stage.crop_px}px"}
    yield MetricRecord(
        name="alignment/detection_rate",
        value=counts["detected"] / counts["planned"],
        title="detected",
        unit="fraction",
        better="higher",
        headline=True,
        **common,
    )
    for name in ("several_faces", "off_center"):
        if name in counts:  # not every aligner counts
            value = counts[name] / counts["planned"]
            yield MetricRecord(
                name=f"alignment/{name}", value=value, title=name.replace("_", " "), unit="fraction", **common
            )
    for name, value in made.details.get("pose", {}).items():
        yield MetricRecord(name=f"alignment/{name}", value=value, title=f"{name.replace('_', ' ')}, degrees", **common)


def _choices(plan: SuitePlan, row: RowPlan, finished: Finished) -> Iterator[str]:
    """Alignments under the row in which the choice of a face may have been wrong, as warnings."""
    below = {each.id: each for stage in row.stages for each in plan.ancestors(stage) if isinstance(each, AlignStage)}
    for id, stage in below.items():
        counts = finished[id][0].manifest.counts if id in finished else {}
        which = "align" if row.align is not None and id == row.align.id else stage.label  # rows share stages
        several, off = counts.get("several_faces", 0), counts.get("off_center", 0)
        if max(several, off) > _WARN_SHARE * counts.get("planned", 0):
            yield (
                f"{which}: {several} of {counts['planned']} pictures show several faces, and in {off} the face "
                "that was taken is not in the middle; items.parquet says in which (faces, off_center)"
            )


def _own(plan: SuitePlan, row: RowPlan, finished: Finished) -> Iterable[tuple[Artifact, bool]]:
    """The row's stages and the fits under them; sources, protocols and other shared things cost it nothing."""
    fits = {a.id: a for stage in row.stages for a in plan.ancestors(stage) if isinstance(a, FitStage)}
    for stage in [*fits.values(), *_made(row)]:
        if stage.id in finished:
            yield finished[stage.id]


def _curves(artifacts: list[Artifact]) -> dict[str, list[tuple[int, float]]]:
    trained = [artifact.manifest for artifact in artifacts if artifact.manifest.kind == "train"]
    return {f"train/{name}": points for made in trained for name, points in made.curves.items()}


def _copy_files(artifacts: list[Artifact], folder: Path) -> tuple[list[str], list[str]]:
    """Link the artifacts' figures and tables into the result's folder."""
    names: dict[str, list[str]] = {"figures": [], "tables": []}
    for artifact in artifacts:
        for kind, listed in names.items():
            for path in sorted((artifact.folder / kind).glob("*")):
                prefix = "aligned-" if artifact.manifest.kind == "align" else ""
                name = f"{kind}/{prefix}{path.name}"
                disk.link(path, folder / name)
                listed.append(name)
    return names["figures"], names["tables"]


def terms(stage: Stage) -> dict[str, str]:
    """The terms of a stage's artifact: of its component, of a weights file, or what a source's settings say."""
    if isinstance(stage, WeightsStage):
        return {"name": stage.settings["license"], "commercial_use": stage.settings["commercial_use"]}
    if isinstance(stage, MixStage):
        return {"name": "the parts' own terms", "commercial_use": "yes"}  # adds none to theirs
    cls: type[Component] = import_target(stage.target)
    return {
        "name": cls.license.name,
        "commercial_use": stage.settings.get("commercial_use", cls.license.commercial_use),
    }


def strictest_terms(plan: SuitePlan, row: RowPlan) -> CommercialUse:
    """Of all that lies under the row, whether or not the store still has it."""
    used = {ancestor.id: ancestor for stage in row.stages for ancestor in plan.ancestors(stage)}
    return strictest(terms(stage)["commercial_use"] for stage in used.values())


def _made(row: RowPlan) -> tuple[Stage, ...]:
    """The row's stages and those that made its parts."""
    return (*row.parts, *row.stages)


def _dataset(plan: SuitePlan, row: RowPlan, finished: Finished) -> Dataset | None:
    size = plan.suite.dataset
    if row.mix is not None:
        made = finished.get(row.mix.id)
        return None if made is None else _mixed(made[0], row.mix)
    if size is None or row.generator == "recognizer":
        return None
    images = size.identities * size.per_identity
    return Dataset(identities=size.identities, per_identity=size.per_identity, images=images, contexts=row.contexts)


def _mixed(artifact: Artifact, stage: MixStage) -> Dataset:
    counts, listed = artifact.manifest.counts, artifact.manifest.details["parts"]
    parts = [DatasetPart(name=name, **part) for name, part in zip(stage.names, listed, strict=True)]
    return Dataset(
        identities=counts["identities"],
        per_identity=counts["per_identity"],
        images=counts["images"],
        parts=parts if len(parts) > 1 else [],
    )
