"""Evaluation: an evaluator's report, with its figures and tables as files."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.components.data import Metric, Report, Subject
from harness.errors import StageError
from harness.stages.context import Stage
from harness.stages.learn import check_complete
from harness.stages.protocol import open_protocol
from harness.store.keys import digest


def finish(stage: Stage) -> dict[str, Any]:
    """Evaluate, and write the report."""
    protocols, digests = {}, {}
    for role, reference in stage.spec.parents.items():
        if role.startswith("protocol:"):
            artifact = stage.store.get(*reference)
            name = role.partition(":")[2]
            protocols[name] = open_protocol(artifact, stage.store)
            digests[name] = str(artifact.manifest.details["digest"])
    dataset, judge = stage.faces("dataset"), stage.recognizer("judge")
    if dataset is not None:
        check_complete(stage, dataset)
    subject = Subject(stage.recognizer(), dataset, stage.faces("source"), judge, protocols)
    report: Report = stage.component.evaluate(subject, stage.run)
    if judge is not None:
        rule = [stage.spec.component, judge.digest, dataclasses.asdict(judge.takes), dict(report.rule)]
        digests[""] = digest(rule)
    metrics = [_record(metric, digests, stage.spec.component) for metric in report.metrics]
    for name, png in report.figures.items():
        (stage.folder / "figures").mkdir(exist_ok=True)
        (stage.folder / "figures" / f"{name}.png").write_bytes(png)
    for name, columns in report.tables.items():
        (stage.folder / "tables").mkdir(exist_ok=True)
        pq.write_table(pa.table(dict(columns)), stage.folder / "tables" / f"{name}.parquet")
    (stage.folder / "report.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return {"content": digest(metrics), "counts": {"metrics": len(metrics)}, "details": {}}


def _record(metric: Metric, digests: dict[str, str], component: str) -> dict[str, Any]:
    if not math.isfinite(metric.value):
        raise StageError(f"{component}: {metric.name} is {metric.value}; an evaluator gives finite numbers or an error")
    record = dataclasses.asdict(metric)
    record["protocol"] = digests.get(metric.protocol, "")
    return record
