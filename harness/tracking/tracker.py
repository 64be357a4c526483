"""Writes runs: one per suite, and under it one per row and seed.

Runs are found again by a tag. A run never says two things: a result that only adds to what its run says (a failed row
that was completed, one more evaluator) reopens the run; a result that contradicts it (another parameter, another value)
gets a new run, and the old one is marked as superseded. All times come from the result files, so filling twice changes
nothing.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from harness import disk
from harness.errors import HarnessError
from harness.reading import leaderboard
from harness.results import FILE_NAME, REPORT_FILE, SUITE_FILE, Result, iterate_results
from harness.tracking.content import MAX_TAG_CHARS, Content, logged_curves, same
from harness.tracking.datasets import dataset_inputs
from harness.tracking.experiment import all_experiments, find_experiment, tell_experiment, twice
from harness.tracking.models import Registry, logged_model
from harness.tracking.notes import suite_note
from harness.tracking.store import client
from harness.tracking.views import NOTE_TAG, Summary

OWNER_FILE = ".tracking-id"  # names this set of results, so that a shared server can tell two workdirs apart

# Limits of MLflow 3 (mlflow/utils/validation.py): of one request, and of 1,000 items in all.
MAX_METRICS = 800
MAX_PARAMS = 100
MAX_TAGS = 100
PAGE = 1000  # runs per search

Change = Literal["created", "updated", "unchanged"]


class Tracker:
    """Writes runs into the store of one workdir. Use it under the lock, and for as long as that is held."""

    def __init__(self, workdir: Path, uri: str) -> None:
        self._workdir = workdir
        self._owner = _owner(workdir)
        self._client = client(uri)
        self._experiment = find_experiment(self._client, workdir)
        self._experiments = all_experiments(self._client, workdir, self._experiment)
        self._registry = Registry(self._client, self._owner)
        self._known: dict[str, dict[str, Any]] = {}  # runs of whole suites, by their harness.id
        self._opened: dict[str, Any] = {}  # the runs of suites

    def read(self, suite: str) -> None:
        """Read all runs of a suite at once, where many of its results are to be tracked."""
        if "'" in suite:
            return  # no such name can be searched for
        wanted = f"tags.\"harness.suite\" = '{suite}' and tags.\"harness.current\" = 'yes'"
        found: dict[str, Any] = {}
        token = None
        while token != "":
            page = self._client.search_runs(self._experiments, wanted, max_results=PAGE, page_token=token)
            for run in page:
                found.setdefault(run.data.tags["harness.id"], run)
            token = page.token or ""
        self._known[suite] = found

    def open_suite(self, suite: str, resolved: str | None = None, here: bool = False) -> Any:
        """Find or create the run of a suite and give it the resolved suite file.

        Args:
            here: whether it must be in this workdir's own experiment, since runs will be put under it.
        """
        if suite in self._opened and (not here or self._is_here(self._opened[suite])):
            return self._opened[suite]
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
        self._opened[suite] = run
        return run

    def close_suite(self, suite: str, resolved: str | None = None) -> None:
        """Give the suite's run its end, failed if a row failed, and its board."""
        results = [result for _, result in self._results(suite)]
        if not results:
            return
        run = self.open_suite(suite, resolved)
        self._log_report(suite, run)
        self.describe(suite)
        status = "FAILED" if any(result.status == "failed" for result in results) else "FINISHED"
        self._end(run, status, max(result.finished for result in results))

    def describe(self, suite: str) -> None:
        """Write the board of a suite into the descriptions of its run and of the experiment, and the saved views."""
        try:
            board, found = leaderboard.load_results(self._workdir, suite)
        except HarnessError:  # no result can be read yet
            return
        run = self.open_suite(suite)
        experiment, run_id = str(run.info.experiment_id), run.info.run_id
        report = "harness.report" in run.data.tags
        link = f"#/experiments/{experiment}/runs/{run_id}/artifacts/{REPORT_FILE}" if report else ""
        note = suite_note(board, MAX_TAG_CHARS, link)
        if run.data.tags.get(NOTE_TAG) != note:
            self._client.set_tag(run_id, NOTE_TAG, note)
        results = [result for _, result in found]
        kinds = dict.fromkeys(stage.kind for result in results for stage in result.stages)
        summary = Summary.of(board, run_id, max(result.finished for result in results), report, kinds)
        tell_experiment(self._client, experiment, self._identity(suite), summary)

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
        fresh = run is None
        if run is None:
            tags = {"harness.kind": "row", "mlflow.parentRunId": self.open_suite(result.suite, here=True).info.run_id}
            run = self._create(key, f"{result.row}, seed {result.seed}", result.started, tags, old)
        self._fill(run, content, result, fresh)
        for path, target in _artifacts(folder, result):
            self._client.log_artifact(run.info.run_id, str(path), target)
        self._end(run, "FAILED" if result.status == "failed" else "FINISHED", result.finished)
        self._client.set_tag(run.info.run_id, "harness.digest", digest)  # last: what stopped before is done again
        return change

    def _results(self, suite: str) -> Iterator[tuple[Path, Result]]:
        """The results of a suite that can be read; ``sync`` names the others."""
        return iterate_results(self._workdir, suite, on_damaged=lambda _path, _error: None)

    def _fill(self, run: Any, content: Content, result: Result, fresh: bool) -> None:
        from mlflow.entities import Metric, Param, RunTag

        run_id, there, now = run.info.run_id, run.data.metrics, int(result.finished * 1000)
        inputs = dataset_inputs(result, self._workdir / "results" / result.suite)
        if len(run.inputs.dataset_inputs) < len(inputs):
            twice(lambda: self._client.log_inputs(run_id, inputs))
        model = logged_model(self._client, run, result, fresh)
        model_id = None if model is None else model.model_id
        linked = {metric.key for metric in model.metrics or ()} if model is not None else there.keys()
        metrics = [
            Metric(name, value, now, 0, model_id=model_id)
            for name, value in content.scalars.items()
            if name not in there or name not in linked
        ]
        # MLflow shows the latest value: a mean of more members is later.
        metrics += [
            Metric(name, value, now + count, 0, model_id=model_id)
            for name, (value, count) in content.means.items()
            if not same(there.get(name), value) or name not in linked
        ]
        curves = {name: points for name, points in content.curves.items() if name not in logged_curves(run)}
        metrics += [Metric(name, value, now, step) for name, points in curves.items() for step, value in points]
        params = [Param(name, value) for name, value in content.params.items() if name not in run.data.params]
        wanted = {**content.tags, "harness.curves": json.dumps(content.curve_digests())}
        tags = [RunTag(name, value) for name, value in wanted.items() if run.data.tags.get(name, "") != value]
        self._log(run_id, metrics, params, tags)
        if model is not None:
            self._registry.register(run, result, model, fresh)

    def _log(self, run_id: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> None:
        """Log in as few requests as MLflow's limits allow; tags last, since they say which curves are whole."""
        while len(metrics) > MAX_METRICS or len(params) > MAX_PARAMS or len(tags) > MAX_TAGS:
            rest = not metrics and not params
            self._client.log_batch(run_id, metrics[:MAX_METRICS], params[:MAX_PARAMS], tags[:MAX_TAGS] if rest else ())
            metrics, params, tags = metrics[MAX_METRICS:], params[MAX_PARAMS:], tags[MAX_TAGS:] if rest else tags
        if metrics or params or tags:
            self._client.log_batch(run_id, metrics, params, tags)

    def _log_report(self, suite: str, run: Any) -> None:
        """Give the suite's run the report, if there is one."""
        path = self._workdir / "results" / suite / REPORT_FILE
        if not path.is_file():
            return
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if run.data.tags.get("harness.report") != digest:
            self._client.log_artifact(run.info.run_id, str(path))
            self._client.set_tag(run.info.run_id, "harness.report", digest)
            run.data.tags["harness.report"] = digest

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
        if (known := self._known.get(key[0])) is not None:
            known[self._identity(*key)] = run
        return run

    def _end(self, run: Any, status: str, finished: float) -> None:
        end_ms = int(finished * 1000)
        if run.info.status != status or run.info.end_time != end_ms:
            self._client.set_terminated(run.info.run_id, status, end_ms)

    def _find(self, *key: str) -> Any | None:
        """The run of a suite (one word) or of a row and seed (three), unless it was superseded or deleted."""
        if (known := self._known.get(key[0])) is not None:
            return known.get(self._identity(*key))
        wanted = f"tags.\"harness.id\" = '{self._identity(*key)}' and tags.\"harness.current\" = 'yes'"
        runs = self._client.search_runs(self._experiments, wanted, max_results=1)
        return runs[0] if runs else None

    def _is_here(self, run: Any) -> bool:
        """Whether the files of a run lie where this workdir puts them."""
        return str(run.info.experiment_id) == self._experiment

    def _identity(self, *key: str) -> str:
        return hashlib.sha256("\0".join([self._owner, *key]).encode()).hexdigest()[:32]


def _owner(workdir: Path) -> str:
    """The name of this set of results; it is copied along with them."""
    path = workdir / "results" / OWNER_FILE
    found = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if not found:
        found = uuid.uuid4().hex
        disk.write_text(path, found + "\n")
    return found


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
