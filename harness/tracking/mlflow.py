"""MLflow as a view of result files: an event plugin that fills it as a run goes, and ``sync``, which fills it again.

One experiment holds one parent run per suite and, under it, one run per (suite, row, seed). Runs are found again by a
tag. A run never says two things: a result that only adds to what its run says (a failed row that was completed, one
more evaluator) reopens the run; a result that contradicts it (another parameter, another value) gets a new run, and
the old one is marked as superseded. All times come from the result files, so filling twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import DataError, HarnessError
from harness.hookspecs import hookimpl
from harness.results import FILE_NAME, SUITE_FILE, Result, iterate_results
from harness.tracking.content import Content, logged_curves

if TYPE_CHECKING:
    from harness.graph import SuitePlan

log = logging.getLogger(__name__)

EXPERIMENT = "facegen-harness"  # MLFLOW_EXPERIMENT_NAME wins
STORE_FILE = "mlflow.db"
ARTIFACTS = "mlartifacts"
OWNER_FILE = ".tracking-id"  # names this set of results, so that a shared server can tell two workdirs apart
LOCK_FILE = ".tracking.lock"
LOCK_TIMEOUT_S = 120.0
MAX_ERROR_CHARS = 200

# Limits of MLflow 3 (mlflow/utils/validation.py).
MAX_METRICS_PER_BATCH = 1000
MAX_PARAMS_PER_BATCH = 100

Change = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True)
class SyncReport:
    """What ``sync`` did: runs per kind of change, and the store it filled."""

    created: int
    updated: int
    unchanged: int
    store: str


def store_uri(workdir: Path) -> str:
    """The tracking store of a workdir: MLFLOW_TRACKING_URI, else a database in the workdir."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workdir.resolve() / STORE_FILE}"


def artifact_location(workdir: Path) -> str | None:
    """Where a new experiment puts its files; None lets a tracking server decide.

    MLflow's own default is a folder ``mlruns`` in the current directory.
    """
    remote = store_uri(workdir).startswith(("http:", "https:", "databricks", "uc:"))
    return None if remote else (workdir.resolve() / ARTIFACTS).as_uri()


def sync(workdir: Path) -> SyncReport:
    """Fill MLflow from the result files of a workdir; what is there and unchanged is left alone.

    Raises:
        DataError: a result file is damaged, or the store cannot be written.
    """
    changes: list[Change] = []
    try:
        with _tracker(workdir) as tracker:
            results = list(iterate_results(workdir))
            for folder, result in results:
                changes.append(tracker.track(result, folder))
            for suite in dict.fromkeys(result.suite for _, result in results):
                tracker.close_suite(suite)
    except HarnessError:
        raise
    except Exception as error:
        text = f"MLflow store {store_uri(workdir)}: {_first_line(error)}; the result files are not affected"
        raise DataError(text) from error
    created, updated, unchanged = (changes.count(kind) for kind in ("created", "updated", "unchanged"))
    return SyncReport(created, updated, unchanged, store_uri(workdir))


class MlflowTracking:
    """Event plugin: fills MLflow as rows finish. A failure here is one warning and never stops a run."""

    def __init__(self) -> None:
        self._workdir: Path | None = None
        self._off = False

    @hookimpl
    def suite_started(self, plan: SuitePlan, workdir: Path) -> None:
        """Open the suite's run, so that it can be watched from the start."""
        self._workdir = workdir
        self._attempt(workdir, lambda tracker: tracker.open_suite(plan.suite.name, plan.resolved_yaml))

    @hookimpl
    def row_finished(self, result: Result, folder: Path) -> None:
        """Fill the run of one row and seed."""
        self._attempt(self._workdir or folder.parents[3], lambda tracker: tracker.track(result, folder))

    @hookimpl
    def suite_finished(self, plan: SuitePlan, workdir: Path, results: list[Result]) -> None:
        """Close the suite's run."""
        if results:
            self._attempt(workdir, lambda tracker: tracker.close_suite(plan.suite.name, plan.resolved_yaml))

    def _attempt(self, workdir: Path, action: Callable[[Tracker], object]) -> None:
        if self._off:
            return
        # A server that does not answer must not hold a run up for minutes; sync repeats what was missed.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        try:
            with _tracker(workdir) as tracker:
                action(tracker)
        except Exception as error:
            self._off = True
            log.warning("MLflow tracking is off for this run (%s); `harness sync` fills it later", _first_line(error))
            log.debug("MLflow tracking failed", exc_info=error)


def _first_line(error: BaseException) -> str:
    text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return text if len(text) <= MAX_ERROR_CHARS else text[: MAX_ERROR_CHARS - 1] + "…"


# --- the store --------------------------------------------------------------------------------------------------------


@contextmanager
def _tracker(workdir: Path) -> Iterator[Tracker]:
    """The store of a workdir, locked: a run and a ``sync`` beside it would both create what is missing."""
    from filelock import FileLock

    folder = workdir / "results"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder / LOCK_FILE), timeout=LOCK_TIMEOUT_S):
        yield Tracker(workdir)


def _client(uri: str) -> Any:
    """An MLflow client without MLflow's telemetry and without what it prints and logs."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _owner(workdir: Path) -> str:
    """The name of this set of results; it is copied along with them."""
    path = workdir / "results" / OWNER_FILE
    if not path.exists():
        path.write_text(uuid.uuid4().hex + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


class Tracker:
    """Writes runs into the store of one workdir. Use it under the lock."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._owner = _owner(workdir)
        self._client = _client(store_uri(workdir))
        self._experiment = self._find_experiment()

    def open_suite(self, suite: str, resolved: str | None = None) -> str:
        """Find or create the run of a suite and give it the resolved suite file; returns its id."""
        run = self._find(suite)
        if run is None:
            started = [result.started for _, result in iterate_results(self._workdir, suite)]
            run = self._create((suite,), suite, min(started, default=None), {"harness.kind": "suite"})
        path = self._workdir / "results" / suite / SUITE_FILE
        if resolved is None and path.is_file():
            resolved = path.read_text(encoding="utf-8")
        if resolved is not None:
            digest = hashlib.sha256(resolved.encode()).hexdigest()
            if run.data.tags.get("harness.suite_file") != digest:
                self._client.log_text(run.info.run_id, resolved, SUITE_FILE)
                self._client.set_tag(run.info.run_id, "harness.suite_file", digest)
        return str(run.info.run_id)

    def close_suite(self, suite: str, resolved: str | None = None) -> None:
        """Give the suite's run its end: failed if a row failed."""
        results = [result for _, result in iterate_results(self._workdir, suite)]
        if not results:
            return
        run_id = self.open_suite(suite, resolved)
        status = "FAILED" if any(result.status == "failed" for result in results) else "FINISHED"
        self._end(run_id, status, max(result.finished for result in results))

    def track(self, result: Result, folder: Path) -> Change:
        """Fill the run of one result, unless it holds this very result already."""
        digest = _digest(folder, result)
        key = (result.suite, result.row, str(result.seed))
        run = self._find(*key)
        if run is not None and run.data.tags.get("harness.digest") == digest:
            return "unchanged"
        change: Change = "created" if run is None else "updated"
        content, tags, old = Content.of(result), {"harness.kind": "row"}, None
        if run is not None and content.contradicts(run):
            tags["harness.supersedes"] = run.info.run_id
            old, run = run, None
        if run is None:
            tags["mlflow.parentRunId"] = self.open_suite(result.suite)
            run = self._create(key, f"{result.row}, seed {result.seed}", result.started, tags)
            if old is not None:
                self._supersede(old, run.info.run_id)
        self._fill(run, content, result)
        self._files(run.info.run_id, folder, result)
        self._end(run.info.run_id, "FAILED" if result.status == "failed" else "FINISHED", result.finished)
        self._client.set_tag(run.info.run_id, "harness.digest", digest)  # last: what stopped before is done again
        return change

    def _fill(self, run: Any, content: Content, result: Result) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(result.finished * 1000)
        there = run.data.metrics
        metrics = [Metric(name, value, now, 0) for name, value in content.scalars.items() if name not in there]
        curves = {name: points for name, points in content.curves.items() if name not in logged_curves(run)}
        metrics += [Metric(name, value, now, step) for name, points in curves.items() for step, value in points]
        for batch in _batches(metrics, MAX_METRICS_PER_BATCH):
            self._client.log_batch(run.info.run_id, metrics=batch)
        params = [Param(name, value) for name, value in content.params.items() if name not in run.data.params]
        for batch in _batches(params, MAX_PARAMS_PER_BATCH):
            self._client.log_batch(run.info.run_id, params=batch)
        wanted = {**content.tags, "harness.curves": json.dumps(content.curve_digests())}
        tags = [RunTag(name, value) for name, value in wanted.items() if run.data.tags.get(name, "") != value]
        for batch in _batches(tags, MAX_PARAMS_PER_BATCH):
            self._client.log_batch(run.info.run_id, tags=batch)

    def _files(self, run_id: str, folder: Path, result: Result) -> None:
        for path, target in _artifacts(folder, result):
            self._client.log_artifact(run_id, str(path), target)

    def _create(self, key: Sequence[str], name: str, started: float | None, tags: dict[str, str]) -> Any:
        labels = dict(zip(("harness.suite", "harness.row", "harness.seed"), key, strict=False))
        every = {"harness.id": self._identity(*key), "harness.current": "yes", "mlflow.source.name": "harness"}
        start_ms = None if started is None else int(started * 1000)
        return self._client.create_run(
            self._experiment, start_time=start_ms, tags={**every, **labels, **tags}, run_name=name
        )

    def _supersede(self, run: Any, successor: str) -> None:
        self._client.set_tag(run.info.run_id, "harness.superseded_by", successor)
        self._client.set_tag(run.info.run_id, "harness.current", "no")
        self._client.update_run(run.info.run_id, name=f"{run.info.run_name} (superseded)")

    def _end(self, run_id: str, status: str, finished: float) -> None:
        info = self._client.get_run(run_id).info
        end_ms = int(finished * 1000)
        if info.status != status or info.end_time != end_ms:
            self._client.set_terminated(run_id, status, end_ms)

    def _find(self, *key: str) -> Any | None:
        """The run of a suite (one word) or of a row and seed (three), unless it was superseded or deleted."""
        wanted = f"tags.\"harness.id\" = '{self._identity(*key)}' and tags.\"harness.current\" = 'yes'"
        runs = self._client.search_runs([self._experiment], wanted, max_results=1)
        return runs[0] if runs else None

    def _identity(self, *key: str) -> str:
        return hashlib.sha256("\0".join([self._owner, *key]).encode()).hexdigest()[:32]

    def _find_experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        location = artifact_location(self._workdir)
        found = self._client.get_experiment_by_name(name)
        if found is None:
            kind = {"mlflow.experimentKind": "custom_model_development"}  # opens the runs table, not the traces of LLMs
            return str(self._client.create_experiment(name, artifact_location=location, tags=kind))
        if "MLFLOW_TRACKING_URI" not in os.environ and found.artifact_location != location:
            raise DataError(
                f"{self._workdir / STORE_FILE}: made for another folder ({found.artifact_location}); delete it and "
                f"{ARTIFACTS}, then `harness sync` fills it again"
            )
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def _artifacts(folder: Path, result: Result) -> list[tuple[Path, str | None]]:
    """The files of a result that exist, with the artifact folder they go to."""
    listed: list[tuple[str, str | None]] = [(FILE_NAME, None)]
    listed += [(name, "figures") for name in result.figures] + [(name, "tables") for name in result.tables]
    return [(folder / name, target) for name, target in listed if (folder / name).is_file()]


def _digest(folder: Path, result: Result) -> str:
    """Digest of the result file and of the files it names."""
    digest = hashlib.sha256()
    for path, _ in _artifacts(folder, result):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
