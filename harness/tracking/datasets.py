"""What a row was trained and measured on, as MLflow's datasets: name, digest, source and role."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from harness.results import SUITE_FILE, Result, StageRecord
from harness.tracking.content import clean_name

MAX_DIGEST_CHARS = 36  # limit of MLflow 3 (mlflow/utils/validation.py)


def stored(stage: StageRecord) -> str:
    """Where a stage's artifact lies, relative to the workdir."""
    return f"store/{stage.kind}/{stage.key}"


def dataset_inputs(result: Result, suite_folder: Path) -> list[Any]:
    """The training set, and the protocols that rows rank by, as inputs of a run.

    Sources are relative to the workdir, which can move: the artifact of the training set, and the protocol's entry in
    the suite file. The whole content digest is in the profile, since MLflow's own is shorter.

    Args:
        suite_folder: where the suite file lies.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    def made(name: str, digest: str, source: dict[str, Any], profile: dict[str, Any], role: str) -> Any:
        where, what = (json.dumps(value, sort_keys=True, default=str) for value in (source, profile))
        dataset = Dataset(clean_name(name), digest[:MAX_DIGEST_CHARS], "local", where, profile=what)
        return DatasetInput(dataset, [InputTag("mlflow.data.context", role)])

    inputs = []
    for stage in result.stages:
        if stage.kind == "align":
            size = {} if result.dataset is None else result.dataset.model_dump()
            profile = size | {"content": stage.content, "license": stage.license}
            source = {"uri": stored(stage)}
            inputs.append(made(result.row, stage.content, source, profile, "training"))
    entries = _protocols(suite_folder / SUITE_FILE)
    for name, digest in _measured_on(result).items():
        source = {"uri": f"results/{result.suite}/{SUITE_FILE}", "protocol": entries.get(name, name)}
        inputs.append(made(name, digest, source, {"content": digest}, "evaluation"))
    return inputs


def _measured_on(result: Result) -> dict[str, str]:
    """Digests of the protocols that rows rank by; other evaluators look at the training set itself."""
    ranked = [metric for metric in result.metrics if metric.ranked and metric.protocol]
    return {metric.name.split("/")[0]: metric.protocol for metric in ranked}


def _protocols(path: Path) -> dict[str, Any]:
    """The entries of the suite file; none where there is no such file or it cannot be read."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    found = read.get("protocols") if isinstance(read, dict) else None
    return found if isinstance(found, dict) else {}
