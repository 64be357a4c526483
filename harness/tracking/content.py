"""One result in MLflow's words: parameters, metrics, curves and tags, within MLflow's limits.

Of the metrics only those that have a column on the board are here, with their intervals; all are in the result file,
which lies with the run.
"""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.reading.metrics import describe
from harness.results import CHOSEN, Result
from harness.tracking.notes import row_note

# Limits of MLflow 3 (mlflow/utils/validation.py).
MAX_PARAM_CHARS = 6000
MAX_TAG_CHARS = 8000
MAX_KEY_CHARS = 250


@dataclass(frozen=True)
class Content:
    """What a run says: parameters, single numbers, means, curves, and tags.

    Tags may change, and means too: each is kept with the number of its members, since a benchmark can be added.
    """

    params: dict[str, str]
    scalars: dict[str, float]
    means: dict[str, tuple[float, int]]
    curves: dict[str, list[tuple[int, float]]]
    tags: dict[str, str]

    @classmethod
    def of(cls, result: Result) -> Content:
        """Read a result."""
        named = {"suite": result.suite, "row": result.row, "generator": result.generator, "seed": result.seed}
        params = named | result.parameters
        curves = {clean_name(name): points for name, points in result.curves.items()}
        tags = _tags(result) | {"mlflow.note.content": row_note(result)}
        return cls(
            params={clean_name(name): _shorten(_text(value), MAX_PARAM_CHARS) for name, value in params.items()},
            scalars={clean_name(name): value for name, value in _scalars(result)},
            means={clean_name(name): mean for name, mean in _means(result)},
            curves=curves,
            tags={clean_name(name): _shorten(value, MAX_TAG_CHARS) for name, value in tags.items()},
        )

    def contradicts(self, run: Any) -> bool:
        """Whether the run already says something that this content does not say, or says otherwise."""
        params, metrics = run.data.params, run.data.metrics
        free = self.curves.keys() | self.means.keys()
        return (
            any(self.params.get(name) != value for name, value in params.items())
            or any(not same(self.scalars.get(n), v) for n, v in metrics.items() if n not in free)
            or any(self.curve_digests().get(name) != digest for name, digest in logged_curves(run).items())
        )

    def curve_digests(self) -> dict[str, str]:
        """A short digest of each curve, by name; a tag keeps them, since reading curves back is slow."""
        texts = {name: json.dumps(points) for name, points in self.curves.items()}
        return {name: hashlib.sha256(text.encode()).hexdigest()[:8] for name, text in texts.items()}


def logged_curves(run: Any) -> dict[str, str]:
    """The digests of the curves that a run holds."""
    found: dict[str, str] = json.loads(run.data.tags.get("harness.curves") or "{}")
    return found


def clean_name(name: str) -> str:
    """A name that MLflow takes: letters, digits and ``_ . - / space``, one way to write it, 250 characters at most."""
    cleaned = re.sub(r"[^\w.\- /]", "_", name, flags=re.ASCII)
    cleaned = posixpath.normpath(cleaned.strip("/ ") or "_").replace("../", "_/")
    cleaned = "_" if cleaned in {".", ".."} else cleaned
    if len(cleaned) > MAX_KEY_CHARS:
        cleaned = f"{cleaned[: MAX_KEY_CHARS - 9]}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return cleaned


def same(mine: float | None, theirs: float | None) -> bool:
    """Whether two numbers are equal; no number equals none."""
    if mine is None or theirs is None:
        return False
    return mine == theirs or (math.isnan(mine) and math.isnan(theirs))


def _scalars(result: Result) -> Iterator[tuple[str, float]]:
    shown = describe([result])
    for metric in result.metrics:
        if not shown[metric.name].headline:
            continue
        yield metric.name, metric.value
        if metric.interval is not None:
            yield f"{metric.name}.low", metric.interval[0]
            yield f"{metric.name}.high", metric.interval[1]
    if result.status == "failed":
        return  # costs so far would contradict those of the completed row
    for kind in dict.fromkeys(stage.kind for stage in result.stages):
        yield f"stages/{kind}/seconds", sum(stage.seconds for stage in result.stages if stage.kind == kind)
    yield "stages/seconds", sum(stage.seconds for stage in result.stages)
    yield "stages/gpu_hours", sum(stage.gpu_hours for stage in result.stages)


def _means(result: Result) -> Iterator[tuple[str, tuple[float, int]]]:
    for name, about in describe([result]).items():
        if about.members:
            yield name, (about.of_result(result), len(about.members))


def _tags(result: Result) -> dict[str, str]:
    environment = result.environment
    size = result.dataset
    tags = {
        "harness.status": result.status,
        "harness.error": result.error,
        "harness.recipe": result.recipe,
        "harness.dataset": "" if size is None else size.size,
        "harness.commercial_use": result.commercial_use,
        "harness.shipped": ", ".join(result.shipped),
        "harness.chosen_on": f"{CHOSEN}: {', '.join(result.chosen_on)}" if result.chosen_on else "",
        "harness.generator_fits": str(result.generator_fits),
        "harness.version": environment.harness,
        "harness.plugins": ", ".join(f"{name} {version}" for name, version in sorted(environment.plugins.items())),
        "harness.torch": environment.torch,
        "harness.device": environment.device,
        "harness.commit": environment.commit,
    }
    for metric in result.metrics:
        tags.setdefault(f"harness.protocol.{metric.name.split('/')[0]}", metric.protocol)
    for stage in result.stages:
        name = f"harness.content.{stage.kind}"
        tags[name] = f"{tags[name]}, {stage.content}" if name in tags else stage.content
    return tags


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
