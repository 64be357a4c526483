"""MLflow as a view of result files: an event plugin that fills it as a run goes, and ``sync``, which fills it again.

One experiment holds one parent run per suite and, under it, one run per (suite, row, seed). Runs are found again by a
tag. A run never says two things: a result that only adds to what its run says (a failed row that was completed, one
more evaluator) reopens the run; a result that contradicts it (another parameter, another value) gets a new run, and
the old one is marked as superseded. All times come from the result files, so filling twice changes nothing.

All of this happens on a thread of its own, so that a store that is slow or hangs never holds up a run.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import disk
from harness.errors import DataError, HarnessError
from harness.hookspecs import hookimpl
from harness.results import FILE_NAME, SUITE_FILE, Result, iterate_results
from harness.tracking.background import Background
from harness.tracking.content import Content, logged_curves
from harness.tracking.store import client, locked, make_database, set_environment
from harness.tracking.uris import (
    ARTIFACTS,
    artifact_location,
    has_secrets,
    one_line,
    own_store,
    shown_store,
    store_uri,
)

if TYPE_CHECKING:
    from harness.graph import SuitePlan

log = logging.getLogger(__name__)

EXPERIMENT = "facegen-harness"  # MLFLOW_EXPERIMENT_NAME wins
EXPERIMENT_TAG = "harness.experiment"  # that name, also on the experiments of further workdirs in one database
OWNER_FILE = ".tracking-id"  # names this set of results, so that a shared server can tell two workdirs apart

# The end of a run waits for MLflow until nothing has come through for QUIET_S, and no longer than END_S in all.
QUIET_S = 20.0
END_S = 60.0
TELL_S = 5.0  # a longer wait says so
SYNC_QUIET_S = 180.0  # `harness sync` has nothing else to do

# Limits of MLflow 3 (mlflow/utils/validation.py).
MAX_METRICS_PER_BATCH = 1000
MAX_PARAMS_PER_BATCH = 100

Change = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True)
class SyncReport:
    """What ``sync`` did: runs per kind of change, damaged result files that it left out, and the store it filled."""

    created: int
    updated: int
    unchanged: int
    damaged: tuple[Path, ...]
    store: str


def sync(workdir: Path) -> SyncReport:
    """Fill MLflow from the result files of a workdir; what is there and unchanged is left alone.

    A damaged result file is named in a warning, and the others go on.

    Raises:
        DataError: the store cannot be written, or does not answer.
    """
    set_environment(workdir)
    store = shown_store(workdir)
    changes: list[Change] = []
    damaged: list[Path] = []
    work = Background("harness-sync")
    work.put(lambda: _fill_all(workdir, changes, damaged, work.advance))
    try:
        through = work.wait(SYNC_QUIET_S, float("inf"))
    finally:
        work.stop()
    if isinstance(work.error, HarnessError):
        raise work.error
    if work.error is not None:
        why = one_line(work.error, store_uri(workdir))
        cause = None if has_secrets(store_uri(workdir)) else work.error  # its traceback would say them
        raise DataError(f"MLflow store {store}: {why}; the result files are not affected") from cause
    if not through:
        raise DataError(f"MLflow store {store}: no answer for {SYNC_QUIET_S:.0f} s; the result files are not affected")
    created, updated, unchanged = (changes.count(kind) for kind in ("created", "updated", "unchanged"))
    return SyncReport(created, updated, unchanged, tuple(damaged), store)


def _fill_all(workdir: Path, changes: list[Change], damaged: list[Path], advance: Callable[[], None]) -> None:
    def leave_out(path: Path, error: DataError) -> None:
        damaged.append(path)
        log.warning("%s", error)

    with locked(workdir):
        make_database(workdir)
        tracker = Tracker(workdir)
        results = list(iterate_results(workdir, on_damaged=leave_out))
        for folder, result in results:
            advance()
            changes.append(tracker.track(result, folder))
        for suite in dict.fromkeys(result.suite for _, result in results):
            advance()
            tracker.close_suite(suite)


class MlflowTracking:
    """Event plugin: fills MLflow as rows finish. A failure here is one warning and never stops or holds up a run."""

    def __init__(self) -> None:
        self._workdir = Path()
        self._work: Background | None = None

    @hookimpl
    def suite_started(self, plan: SuitePlan, workdir: Path) -> None:
        """Open the suite's run, so that it can be watched from the start."""
        set_environment(workdir)
        self._workdir, self._work = workdir, Background("harness-mlflow")
        self._work.put(lambda: importlib.import_module("mlflow"))
        self._work.put(lambda: _prepare(workdir))
        self._put(lambda tracker: tracker.open_suite(plan.suite.name, plan.resolved_yaml))

    @hookimpl
    def row_finished(self, result: Result, folder: Path) -> None:
        """Fill the run of one row and seed."""
        self._warn_of_failure()
        self._put(lambda tracker: tracker.track(result, folder))

    @hookimpl
    def suite_finished(self, plan: SuitePlan, workdir: Path, results: list[Result]) -> None:
        """Close the suite's run, and wait for the store, within limits and until Ctrl-C."""
        if results:
            self._put(lambda tracker: tracker.close_suite(plan.suite.name, plan.resolved_yaml))
        if self._work is None:
            return
        through = _wait(self._work, shown_store(workdir))
        self._work.stop()
        self._warn_of_failure()
        if not through and self._work is not None:
            self._give_up(f"{shown_store(workdir)} did not keep up")
        self._work = None

    def _put(self, action: Callable[[Tracker], object]) -> None:
        workdir = self._workdir

        def act() -> None:
            with locked(workdir):
                action(Tracker(workdir))

        if self._work is not None:
            self._work.put(act)

    def _warn_of_failure(self) -> None:
        if self._work is not None and self._work.error is not None:
            self._give_up(one_line(self._work.error, store_uri(self._workdir)))

    def _give_up(self, why: str) -> None:
        self._work = None
        log.warning("MLflow tracking is off for this run (%s); `harness sync` fills it later", why)


def _prepare(workdir: Path) -> None:
    with locked(workdir):
        make_database(workdir)


def _wait(work: Background, store: str) -> bool:
    """Whether all work was done in time; Ctrl-C ends the wait and nothing else, since the run itself is over."""
    try:
        if work.wait(QUIET_S, TELL_S):
            return True
        log.warning("MLflow is still being filled at %s; this ends after %.0f s, or with Ctrl-C", store, END_S)
        return work.wait(QUIET_S, END_S - TELL_S)
    except KeyboardInterrupt:
        return False


def _owner(workdir: Path) -> str:
    """The name of this set of results; it is copied along with them."""
    path = workdir / "results" / OWNER_FILE
    found = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if not found:
        found = uuid.uuid4().hex
        disk.write_text(path, found + "\n")
    return found


class Tracker:
    """Writes runs into the store of one workdir. Use it under the lock."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._owner = _owner(workdir)
        self._client = client(store_uri(workdir))
        self._experiment = self._find_experiment()
        self._experiments = self._all_experiments()

    def open_suite(self, suite: str, resolved: str | None = None, here: bool = False) -> str:
        """Find or create the run of a suite and give it the resolved suite file; returns its id.

        Args:
            here: whether it must be in this workdir's own experiment, since runs will be put under it.
        """
        path = self._workdir / "results" / suite / SUITE_FILE
        if resolved is None and path.is_file():
            resolved = path.read_text(encoding="utf-8")
        digest = "" if resolved is None else hashlib.sha256(resolved.encode()).hexdigest()
        run, old = self._find(suite), None
        stale = run is None or (bool(digest) and run.data.tags.get("harness.suite_file") != digest)
        if run is not None and (here or stale) and not self._is_here(run):
            run, old = None, run
        if run is None:
            started = [result.started for _, result in self._results(suite)]
            run = self._create((suite,), suite, min(started, default=None), {"harness.kind": "suite"}, old)
        if resolved is not None and run.data.tags.get("harness.suite_file") != digest:
            self._client.log_text(run.info.run_id, resolved, SUITE_FILE)
            self._client.set_tag(run.info.run_id, "harness.suite_file", digest)
        return str(run.info.run_id)

    def close_suite(self, suite: str, resolved: str | None = None) -> None:
        """Give the suite's run its end: failed if a row failed."""
        results = [result for _, result in self._results(suite)]
        if not results:
            return
        run_id = self.open_suite(suite, resolved)
        status = "FAILED" if any(result.status == "failed" for result in results) else "FINISHED"
        self._end(run_id, status, max(result.finished for result in results))

    def track(self, result: Result, folder: Path) -> Change:
        """Fill the run of one result, unless it holds this very result already."""
        digest = _digest(folder, result)
        key = (result.suite, result.row, str(result.seed))
        run, old = self._find(*key), None
        if run is not None and run.data.tags.get("harness.digest") == digest:
            return "unchanged"
        change: Change = "created" if run is None else "updated"
        content = Content.of(result)
        if run is not None and (content.contradicts(run) or not self._is_here(run)):
            run, old = None, run
        if run is None:
            tags = {"harness.kind": "row", "mlflow.parentRunId": self.open_suite(result.suite, here=True)}
            run = self._create(key, f"{result.row}, seed {result.seed}", result.started, tags, old)
        self._fill(run, content, result)
        self._files(run.info.run_id, folder, result)
        self._end(run.info.run_id, "FAILED" if result.status == "failed" else "FINISHED", result.finished)
        self._client.set_tag(run.info.run_id, "harness.digest", digest)  # last: what stopped before is done again
        return change

    def _results(self, suite: str) -> Iterator[tuple[Path, Result]]:
        """The results of a suite that can be read; ``sync`` names the others."""
        return iterate_results(self._workdir, suite, on_damaged=lambda _path, _error: None)

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

    def _create(
        self, key: Sequence[str], name: str, started: float | None, tags: dict[str, str], old: Any | None
    ) -> Any:
        """A new run, which supersedes the old one if there is one."""
        labels = dict(zip(("harness.suite", "harness.row", "harness.seed"), key, strict=False))
        every = {"harness.id": self._identity(*key), "harness.current": "yes", "mlflow.source.name": "harness"}
        if old is not None:
            every["harness.supersedes"] = old.info.run_id
            self._client.update_run(old.info.run_id, name=f"{old.info.run_name} (superseded)")
            self._client.set_tag(old.info.run_id, "harness.current", "no")  # first: two must never be current
        start_ms = None if started is None else int(started * 1000)
        run = self._client.create_run(
            self._experiment, start_time=start_ms, tags={**every, **labels, **tags}, run_name=name
        )
        if old is not None:
            self._client.set_tag(old.info.run_id, "harness.superseded_by", run.info.run_id)
        return run

    def _end(self, run_id: str, status: str, finished: float) -> None:
        info = self._client.get_run(run_id).info
        end_ms = int(finished * 1000)
        if info.status != status or info.end_time != end_ms:
            self._client.set_terminated(run_id, status, end_ms)

    def _find(self, *key: str) -> Any | None:
        """The run of a suite (one word) or of a row and seed (three), unless it was superseded or deleted."""
        wanted = f"tags.\"harness.id\" = '{self._identity(*key)}' and tags.\"harness.current\" = 'yes'"
        runs = self._client.search_runs(self._experiments, wanted, max_results=1)
        return runs[0] if runs else None

    def _is_here(self, run: Any) -> bool:
        """Whether the files of a run lie where this workdir puts them."""
        return str(run.info.experiment_id) == self._experiment

    def _identity(self, *key: str) -> str:
        return hashlib.sha256("\0".join([self._owner, *key]).encode()).hexdigest()[:32]

    def _find_experiment(self) -> str:
        """The experiment whose files lie in this workdir, or with the server; made if there is none."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        location = artifact_location(self._workdir)
        # The kind opens the runs table, not the traces of LLMs.
        tags = {"mlflow.experimentKind": "custom_model_development", EXPERIMENT_TAG: name}
        found = self._client.get_experiment_by_name(name)
        if found is not None and location is not None and found.artifact_location != location:
            if (own := own_store(self._workdir)) is not None:
                raise DataError(
                    f"{own}: made for another folder ({found.artifact_location}); delete it and "
                    f"{ARTIFACTS}, then `harness sync` fills it again"
                )
            # The database is shared, and this experiment's files lie in another workdir.
            name = f"{name}-{hashlib.sha256(location.encode()).hexdigest()[:8]}"
            found = self._client.get_experiment_by_name(name)
        if found is None:
            return str(self._client.create_experiment(name, artifact_location=location, tags=tags))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _all_experiments(self) -> list[str]:
        """Where runs of these results can be: in a shared database a copy of them may have been filled before."""
        if artifact_location(self._workdir) is None:
            return [self._experiment]
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = [e for e in self._client.search_experiments() if e.tags.get(EXPERIMENT_TAG) == name]
        return sorted({self._experiment, *(str(e.experiment_id) for e in found)})


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
