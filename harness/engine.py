"""Runs the graph of a suite: finds or builds each artifact, and writes a result for each row."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness import disk
from harness.assemble import assemble, same_outcome, stage_record, terms, verdicts
from harness.errors import DataError, HarnessError, StageError
from harness.graph import STAGES, RowPlan, Stage, StageId, SuitePlan
from harness.plugins import registry
from harness.results import FILE_NAME, SUITE_FILE, Result, read_result, result_folder, write_result
from harness.store.artifacts import Artifact, Manifest, Spent, Store, now
from harness.store.machine import cores, resolve_device
from harness.store.workers import ERRORS, STALL_S, Outcome, Pool, Task

_TICK = 0.2  # seconds between looks at locks that others hold
_PATIENCE = 30.0  # seconds that running tasks get to save a checkpoint after Ctrl-C
_WAIT_TOLD_S = 5.0  # of waiting for another process, after which that is told; then after twice as long, and so on
WARM = "harness.stages.warm"


@dataclass
class _Build:
    """A stage that is being built."""

    spec: Stage
    lock: FileLock
    waiting_for: int = 0  # shards that are not whole yet
    items: int = 0  # of a sharded stage
    done: dict[int, int] = field(default_factory=dict)  # items done, by shard


@dataclass
class _Wait:
    """A stage that another process builds."""

    since: float
    tell: float  # after so many seconds


class Engine:
    """One run of a suite.

    Args:
        plan: what to do.
        workdir: where everything lies that a run makes.
        workers: worker processes; default: one per core, or one on a GPU.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        only: rows to run; default: all.
        until: the last kind of stage to run; default: all, and results are written.
        listeners: objects with hooks for the events of this run (``harness.hookspecs``).
        stall_s: seconds without progress after which a stage fails.
        memory_bytes: what one worker may hold; default: nearly all that the machine has.
    """

    def __init__(
        self,
        plan: SuitePlan,
        workdir: Path,
        workers: int | None = None,
        device: str = "auto",
        only: tuple[str, ...] = (),
        until: str = "",
        listeners: Sequence[object] = (),
        stall_s: float = STALL_S,
        memory_bytes: int | None = None,
    ) -> None:
        self.plan, self.workdir, self.until, self.stall_s = plan, workdir, until, stall_s
        self.device = resolve_device(device)
        self.store = Store(workdir / "store")
        self.events = registry().events(listeners)
        self.rows = [row for row in plan.row_plans if not only or row.row in only]
        count = workers or (1 if self.device == "cuda" else cores())
        self.pool = Pool(count, self._on_event, stall_s, memory_bytes, WARM)
        self.finished: dict[StageId, tuple[Artifact, bool]] = {}  # artifact, whether it was found
        self.failed: dict[StageId, str] = {}
        self.checking: dict[StageId, Artifact] = {}  # found, and read to see whether it is what was written
        self.building: dict[StageId, _Build] = {}
        self.waiting: dict[StageId, _Wait] = {}
        self.ending: dict[StageId, tuple[FileLock, int]] = {}  # failed stages whose other shards still run
        self.wanted: dict[StageId, Stage] = {}
        self.missing: set[StageId] = set()  # those of them that were not in the store at the start
        self.results: list[Result] = []
        self.warned: set[tuple[str, str]] = set()  # stage and text of what gates said

    def run(self) -> list[Result]:
        """Run to the end; rows that fail do not stop the others.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when running tasks have saved their state.
            StageError: a stage failed in a run that ends before the rows' results, which would tell of it.
        """
        self._keep_suite()
        for row in self.rows:
            for stage in row.stages:
                for needed in self.plan.ancestors(stage) if self.until else [stage]:
                    if not self.until or STAGES.index(needed.kind) <= STAGES.index(self.until):
                        self._want(needed)
        told = {"missing": frozenset(self.missing), "workers": self.pool.size}
        self.events.tell("suite_started", plan=self.plan, workdir=self.workdir, **told)
        pending = list(self.rows)
        try:
            while pending and not self._complete(pending):
                self._start_ready()
                for outcome in self.pool.step(_TICK):
                    self._on_outcome(outcome)
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            self.pool.close()
            for lock in [
                *(build.lock for build in self.building.values()),
                *(lock for lock, _ in self.ending.values()),
            ]:
                lock.release()
            self.events.tell("suite_finished", plan=self.plan, workdir=self.workdir, results=self.results)
        if self.until and self.failed:
            raise StageError("; ".join(dict.fromkeys(self.failed.values())))
        return self.results

    def _keep_suite(self) -> None:
        """Write the resolved suite beside the rows' results, and once more as that of this start."""
        folder = self.workdir / "results" / self.plan.suite.name
        (folder / "starts").mkdir(parents=True, exist_ok=True)
        disk.write_text(folder / SUITE_FILE, self.plan.resolved_yaml)
        started = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
        disk.write_text(folder / "starts" / f"{started}Z-{os.getpid()}.yaml", self.plan.resolved_yaml)

    # --- what is wanted -----------------------------------------------------------------------------------------------

    def _want(self, stage: Stage) -> None:
        self.plan.want(stage, self._is_there, self.wanted)

    def _is_there(self, stage: Stage) -> bool:
        there = self._find(stage) is not None
        if not there:
            self.missing.add(stage.id)
        return there

    def _find(self, stage: Stage) -> Artifact | None:
        """The artifact of a stage; a damaged manifest is as good as none."""
        with contextlib.suppress(DataError):
            return self.store.find(*stage.id)
        return None

    def _complete(self, pending: list[RowPlan]) -> bool:
        """Write the results of rows that are through; True when nothing is left to do."""
        if not self.until:
            for row in [row for row in pending if self._through(row)]:
                pending.remove(row)
                self._finish_row(row)
        return all(id in self.finished or id in self.failed for id in self.wanted)

    def _through(self, row: RowPlan) -> bool:
        ids = [stage.id for stage in row.stages]
        return any(id in self.failed for id in ids) or all(id in self.finished for id in ids)

    # --- what is started ----------------------------------------------------------------------------------------------

    def _start_ready(self) -> None:
        for stage in list(self.wanted.values()):
            at_work = stage.id in self.building or stage.id in self.checking
            if stage.id in self.finished or stage.id in self.failed or at_work:
                continue
            gates = self.plan.gates.get(stage.id, {})
            parents = [parent for parent in [*stage.parents.values(), *gates] if parent in self.wanted]
            broken = [parent for parent in parents if parent in self.failed]
            if broken:
                self.failed[stage.id] = self.failed[broken[0]]
            elif all(parent in self.finished for parent in parents) and not self._refused(stage):
                self._start(stage)

    def _refused(self, stage: Stage) -> bool:
        """Whether a gate keeps the stage from starting; gates that only warn speak here too."""
        for verdict in verdicts(self.plan, stage, self.finished):
            if verdict.refused:
                self.failed[stage.id] = f"{stage.label}: not started: {verdict.text}"
                return True
            if (stage.label, verdict.text) not in self.warned:  # asked again while another process has the lock
                self.warned.add((stage.label, verdict.text))
                self.events.tell("stage_warned", stage=stage.label, text=verdict.text)
        return False

    def _start(self, stage: Stage) -> None:
        artifact = self._find(stage)
        if artifact is None:
            lock = self.store.claim(*stage.id)
            if lock is None:
                self._wait(stage)
                return
            self.waiting.pop(stage.id, None)
            artifact = self._find(stage)
            if artifact is None:
                if self.store.folder(*stage.id).exists():
                    self._set_aside(stage, "its manifest is damaged")
                self.building[stage.id] = _Build(stage, lock)
                self._submit(stage, "prepare")
                return
            lock.release()
        self.checking[stage.id] = artifact
        arguments = (*stage.id, self.store.root)
        self.pool.submit(Task("harness.stages.phases:check_artifact", arguments, (stage.id, "check", 0), "check"))

    def _wait(self, stage: Stage) -> None:
        """Another process builds it: look again at the next tick, say so, and not for ever."""
        wait = self.waiting.setdefault(stage.id, _Wait(now(), _WAIT_TOLD_S))
        waited = now() - wait.since
        who = f"process {self.store.holder(*stage.id)}"
        if waited > wait.tell:
            wait.tell *= 2
            self.events.tell("stage_warned", stage=stage.label, text=f"waits for {who}, which builds it")
        if waited > self.stall_s and now() - self.store.worked_on(*stage.id) > self.stall_s:
            text = f"{who} holds its lock and has written nothing for {self.stall_s / 60:.0f} minutes; end that process"
            self.failed[stage.id] = f"{stage.label}: {text}"

    def _set_aside(self, stage: Stage, fault: str) -> None:
        place = self.store.set_aside(*stage.id)
        text = f"{fault}; set aside as {place}, and built again"
        self.events.tell("stage_warned", stage=stage.label, text=text)

    def _submit(self, stage: Stage, phase: str, index: int = 0) -> None:
        args = (stage, phase, index, self.store.root, self.device)
        self.pool.submit(Task("harness.stages.phases:run_phase", args, (stage.id, phase, index), stage.id))

    # --- what came of it ----------------------------------------------------------------------------------------------

    def _on_event(self, tag: Any, kind: str, data: dict[str, Any]) -> None:
        id, phase, index = tag
        if kind == "quiet":
            stage = self.plan.stages[id]
            who = f" of {stage.component}" if stage.component else ""
            text = f"no progress for {data['seconds']:.0f} s; process {data['pid']}{who} is {data['state']}"
            self.events.tell("stage_warned", stage=stage.label, text=text)
        build = self.building.get(id)
        if build is None or kind != "progress":  # None: another shard of it has failed
            return
        if phase == "shard":
            build.done[index] = data["done"]
            data = {"done": sum(build.done.values()), "total": build.items, "unit": data["unit"]}
        self.events.tell("stage_progress", stage=build.spec.label, **data)

    def _on_outcome(self, outcome: Outcome) -> None:
        id, phase, _shard = outcome.task.tag
        if phase == "check":
            self._checked(self.plan.stages[id], self.checking.pop(id), outcome)
            return
        build = self.building.get(id)
        if build is None:  # another shard of it has failed
            self._end(id, self.ending.pop(id))
            return
        if outcome.error:
            self._fail(build, outcome)
            return
        made = outcome.value["value"]
        if phase == "prepare" and made["shards"]:
            missing = made["missing"]
            build.waiting_for, build.items = len(missing), made["items"]
            size = made["shard_items"]
            build.done = {i: min(size, build.items - i * size) for i in range(made["shards"]) if i not in missing}
            for number in missing:
                self._submit(build.spec, "shard", number)
        elif phase == "shard":
            build.waiting_for -= 1
        if phase == "finish":
            self._commit(build, made, outcome.value["spent"])
        elif not build.waiting_for:
            self._submit(build.spec, "finish")

    def _checked(self, stage: Stage, artifact: Artifact, outcome: Outcome) -> None:
        """Keep what is as it was written; have the rest built again, with what it needs."""
        if outcome.error in ERRORS:  # of the worker that looked, which says nothing about the artifact
            self.failed[stage.id] = f"{stage.label}: {artifact.folder} could not be checked: {outcome.message}"
            return
        fault = outcome.message or outcome.value
        if not fault:
            self._keep(stage, artifact, cached=True)
            return
        lock = self.store.claim(*stage.id)
        if lock is None:
            return  # another process deals with it; look again at the next tick
        self._set_aside(stage, fault)
        lock.release()
        for parent in stage.parents.values():
            self._want(self.plan.stages[parent])

    def _commit(self, build: _Build, made: dict[str, Any], spent: Spent) -> None:
        spec = build.spec
        manifest = Manifest(
            kind=spec.kind,
            key=spec.key,
            content=made["content"],
            component=spec.component,
            settings=dict(spec.told),
            seed=spec.seed,
            parents={role: "/".join(parent) for role, parent in spec.parents.items()},
            options=spec.options,
            details=made["details"],
            counts=made["counts"],
            curves=spent.curves,
            seconds=spent.seconds,
            device=self.device,
            license=terms(spec),
            created=spent.since,
            finished=now(),
            environment=made["environment"],
            files=made["files"],
        )
        artifact = self.store.commit(manifest)
        build.lock.release()
        del self.building[spec.id]
        self._keep(spec, artifact, cached=False)

    def _keep(self, stage: Stage, artifact: Artifact, cached: bool) -> None:
        self.finished[stage.id] = (artifact, cached)
        self.events.tell("stage_finished", stage=stage.label, record=stage_record(artifact, cached))

    def _fail(self, build: _Build, outcome: Outcome) -> None:
        spec = build.spec
        known = outcome.error in _KNOWN_ERRORS
        text = outcome.message if known else f"{outcome.error}: {outcome.message}"
        if not known and outcome.trace:
            log = self.workdir / "logs" / f"{spec.kind}-{spec.key}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(outcome.trace, encoding="utf-8")
            text += f" (traceback in {log})"
        who = f" ({spec.component})" if spec.component else ""
        self.failed[spec.id] = f"{spec.label}{who}: {text}"
        del self.building[spec.id]
        self._end(spec.id, (build.lock, 1 + self.pool.drop(lambda tag: tag[0] == spec.id)))

    def _end(self, id: StageId, ending: tuple[FileLock, int]) -> None:
        """One task of a failed stage is through; with the last one, others may try to build it."""
        lock, running = ending
        if running > 1:
            self.ending[id] = lock, running - 1
        else:
            lock.release()

    def _finish_row(self, row: RowPlan) -> None:
        folder = result_folder(self.workdir, self.plan.suite.name, row.row, row.seed)
        errors = [self.failed[stage.id] for stage in row.stages if stage.id in self.failed]
        known = {**dict(self._below(row)), **self.finished}
        result = assemble(self.plan, row, known, errors[0] if errors else "", self.device, folder)
        try:
            old = read_result(folder / FILE_NAME)
        except DataError:
            old = None  # there is none, or it is damaged: write it
        if old is not None and same_outcome(old, result):
            result = old
        else:
            write_result(folder, result)
        self.results.append(result)
        self.events.tell("row_finished", result=result, folder=folder)

    def _below(self, row: RowPlan) -> Iterator[tuple[StageId, tuple[Artifact, bool]]]:
        """What lies under a cached stage was not asked for; the result tells of it all the same."""
        for stage in row.stages:
            for ancestor in self.plan.ancestors(stage):
                artifact = None if ancestor.id in self.finished else self._find(ancestor)
                if artifact is not None:
                    yield ancestor.id, (artifact, True)

    def _stop(self) -> None:
        self.pool.request_stop()
        deadline = now() + _PATIENCE
        while self.pool.busy and now() < deadline:
            self.pool.step(_TICK)


def _subclasses(cls: type[Exception]) -> set[str]:
    return {cls.__name__}.union(*(_subclasses(child) for child in cls.__subclasses__()))


# Errors whose message was written for the user: no traceback is needed.
_KNOWN_ERRORS = _subclasses(HarnessError) | ERRORS
