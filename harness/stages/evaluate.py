"""Evaluation: an evaluator's report, with its figures and tables as files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.components.given import Given
from harness.components.metric import Metric, Report
from harness.data.published import PAIRS, differs
from harness.errors import StageError, unknown
from harness.graph import EvaluateStage
from harness.stages.completeness import check_complete
from harness.stages.work import Work, file_name
from harness.store.keys import digest

# What of a metric was measured; the rest says how it is to be read, and has no part in a report's content.
_MEASURED = ("name", "value", "n", "interval", "interval_over", "method", "std_folds", "protocol", "note")


def finish(work: Work[EvaluateStage]) -> dict[str, Any]:
    """Evaluate, and write the report."""
    stage, needs = work.stage, work.component.needs
    given = work.given(needs)
    if "dataset" in needs:
        check_complete(stage, given.dataset)
    report: Report = work.component.evaluate(given, work.run)
    digests = {name: str(work.protocol(name).manifest.details["digest"]) for name in work.protocol_names}
    digests[""] = _judging_rule(work, given, report)
    remarks = _remarks(work, given)
    metrics = [_record(metric, digests, stage, remarks.get(metric.benchmark, [])) for metric in report.metrics]
    _write_files(work, report)
    (work.folder / "report.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    content = digest([{name: metric[name] for name in _MEASURED} for metric in metrics])
    return {"content": content, "counts": {"metrics": len(metrics)}, "details": {}}


def _remarks(work: Work[EvaluateStage], given: Given) -> dict[str, list[str]]:
    """By protocol, what is told with each of its metrics: that a published benchmark has other numbers of pairs."""
    found = {}
    for role in sorted(work.component.needs & {"pairs", "templates"}):
        for name, (_, pairs) in getattr(given, role).items():
            released = work.protocol(name).manifest.component
            benchmark = released if released in PAIRS else name.lower()
            listed = [pairs.same] if pairs.lost is None else [pairs.same, pairs.lost.same]
            genuine, count = sum(int(same.sum()) for same in listed), sum(map(len, listed))
            found[name] = differs(benchmark, genuine, count - genuine)
    return found


def _write_files(work: Work[EvaluateStage], report: Report) -> None:
    def path(kind: str, name: str, suffix: str = "") -> Path:
        (work.folder / kind).mkdir(exist_ok=True)
        return work.folder / kind / (file_name(_prefixed(name, work.stage.looks_at, "-")) + suffix)

    for name, png in report.figures.items():
        path("figures", name, ".png").write_bytes(png)
    for name, columns in report.tables.items():
        pq.write_table(pa.table(dict(columns)), path("tables", name, ".parquet"))
    for name, text in report.texts.items():
        path("tables", name).write_text(text, encoding="utf-8")


def _judging_rule(work: Work[EvaluateStage], given: Given, report: Report) -> str:
    """Digest of how faces were judged, for metrics that belong to no protocol."""
    judge = given.judge if work.stage.judge is not None else None
    rule: list[Any] = [work.stage.component, dataclasses.asdict(judge.takes) if judge else None, dict(report.rule)]
    if judge is not None and not work.stage.own_judge:
        rule.append(judge.digest)
        # settings that are the architecture's defaults are left out, as earlier results have it
        rule += filter(None, [judge.settings.model_dump(mode="json", exclude_defaults=True)])
    dataset, source = work.artifact("dataset"), work.artifact("source")
    if work.stage.looks_at and dataset is not None:  # the same faces for every row
        rule.append(dataset.manifest.content)
    if source is not None:  # a comparison with other authentic faces is another measure
        rule.append(source.manifest.content)
    return digest(rule)


def _record(
    metric: Metric, digests: dict[str, str], stage: EvaluateStage, remarks: Sequence[str] = ()
) -> dict[str, Any]:
    """The metric as a result file holds it; ``remarks`` are of its protocol."""
    who = stage.component
    if not math.isfinite(metric.value):
        raise StageError(f"{who}: {metric.name} is {metric.value}; an evaluator gives finite numbers or an error")
    if metric.benchmark not in digests:
        raise StageError(f"{who}: {metric.name}: {unknown('protocol', metric.benchmark, filter(None, digests))}")
    record = {field.name: getattr(metric, field.name) for field in dataclasses.fields(metric)}
    sure = record.pop("uncertainty")
    record |= dataclasses.asdict(sure)
    record["note"] = "; ".join(filter(None, [sure.note, metric.note, *remarks]))
    record["name"] = _prefixed(metric.name, stage.looks_at, "/")
    if metric.pairs:
        record["pairs"] = _prefixed(metric.pairs, stage.looks_at, "-")
    record["protocol"] = digests[record.pop("benchmark")]
    return record


def _prefixed(name: str, prefix: str, separator: str) -> str:
    """The name with its first part replaced by the prefix, if there is one: ``held-out/fdr``."""
    return f"{prefix}{separator}{name.partition(separator)[2] or name}" if prefix else name
