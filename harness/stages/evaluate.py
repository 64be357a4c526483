"""Evaluation: an evaluator's report, with its figures and tables as files."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.components.data import Metric, PairSet, Report, Subject, TemplateSet
from harness.components.recognizer import Recognizer
from harness.errors import StageError
from harness.faces.faceset import FaceSet
from harness.stages.context import Stage
from harness.stages.learn import check_complete
from harness.stages.protocol import open_protocol
from harness.store.keys import digest


def finish(stage: Stage) -> dict[str, Any]:
    """Evaluate, and write the report."""
    protocols: dict[str, tuple[FaceSet, PairSet]] = {}
    templates: dict[str, tuple[FaceSet, TemplateSet]] = {}
    digests: dict[str, str] = {}
    for role, reference in stage.spec.parents.items():
        if role.startswith("protocol:"):
            artifact = stage.store.get(*reference)
            name = role.partition(":")[2]
            faces, pairs = open_protocol(artifact, stage.store)
            if isinstance(pairs, PairSet):
                protocols[name] = faces, pairs
            else:
                templates[name] = faces, pairs
            digests[name] = str(artifact.manifest.details["digest"])
    dataset, judge = stage.faces("dataset"), stage.recognizer("judge")
    if dataset is not None:
        check_complete(stage, dataset)
    subject = Subject(stage.recognizer(), dataset, judge, protocols, templates, stage.faces("source"))
    report: Report = stage.component.evaluate(subject, stage.run)
    digests[""] = _judging_rule(stage, judge, report)
    prefix = stage.spec.options.get("faces_of", "")
    metrics = [_record(metric, digests, stage.spec.component, prefix) for metric in report.metrics]
    for name, png in report.figures.items():
        (stage.folder / "figures").mkdir(exist_ok=True)
        (stage.folder / "figures" / f"{_prefixed(name, prefix, '-')}.png").write_bytes(png)
    for name, columns in report.tables.items():
        (stage.folder / "tables").mkdir(exist_ok=True)
        path = stage.folder / "tables" / f"{_prefixed(name, prefix, '-')}.parquet"
        pq.write_table(pa.table(dict(columns)), path)
    (stage.folder / "report.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return {"content": digest(metrics), "counts": {"metrics": len(metrics)}, "details": {}}


def _judging_rule(stage: Stage, judge: Recognizer | None, report: Report) -> str:
    """Digest of how faces were judged, for metrics that belong to no protocol."""
    rule: list[Any] = [stage.spec.component, dataclasses.asdict(judge.takes) if judge else None, dict(report.rule)]
    if judge is not None and not stage.spec.options.get("own_judge"):
        rule.append(judge.digest)
    faces = stage.parent("dataset")
    if "faces_of" in stage.spec.options and faces is not None:  # the same faces for every row
        rule.append(faces.manifest.content)
    source = stage.parent("source")
    if source is not None:  # a comparison with other authentic faces is another measure
        rule.append(source.manifest.content)
    return digest(rule)


def _record(metric: Metric, digests: dict[str, str], component: str, prefix: str) -> dict[str, Any]:
    if not math.isfinite(metric.value):
        raise StageError(f"{component}: {metric.name} is {metric.value}; an evaluator gives finite numbers or an error")
    record = dataclasses.asdict(metric)
    record["name"] = _prefixed(metric.name, prefix, "/")
    if metric.protocol not in digests:
        known = ", ".join(filter(None, digests)) or "none"
        raise StageError(f"{component}: {metric.name} names protocol {metric.protocol!r}, expected one of {known}")
    record["protocol"] = digests[metric.protocol]
    return record


def _prefixed(name: str, prefix: str, separator: str) -> str:
    """The name with its first part replaced by the prefix, if there is one: ``held-out/fdr``."""
    return f"{prefix}{separator}{name.partition(separator)[2] or name}" if prefix else name
