"""A stage at work: its description, its component, what that is given, and the folder it builds in."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

from harness.components.base import Component
from harness.components.given import Given
from harness.components.roles import Role
from harness.components.run import Emit, Run
from harness.errors import DataError, StageError
from harness.graph import Stage
from harness.plugins import import_target
from harness.stages.opening import open_contexts, open_faces, open_model, open_people, open_protocol, open_recognizer
from harness.stages.unchanged import Unchanged
from harness.store.artifacts import WORK, Artifact, Spent, Store, now
from harness.store.weights import WeightsInfo, taken_otherwise

_SPENT = "spent.jsonl"  # one line per phase that ran
_FILE_NAME = re.compile(r"\w[\w .-]{0,127}")

AnyStage = TypeVar("AnyStage", bound=Stage, covariant=True)


class Work(Generic[AnyStage]):
    """One stage at work.

    Attributes:
        stage: what to build.
        folder: where it is built.
        run: what its component gets to know of the world.
        unchanged: what of the given must be as it was when the phase ends.
    """

    def __init__(self, stage: AnyStage, store: Store, device: str, emit: Emit, should_stop: Callable[[], bool]) -> None:
        self.stage, self.store, self.device, self.emit = stage, store, device, emit
        self.unchanged = Unchanged(stage.component)
        self._given: dict[frozenset[Role], Given] = {}
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.folder = store.building(*stage.id)

        def forward(kind: str, data: dict[str, Any]) -> None:
            if kind == "log" and data["finite"]:  # a gap in the curve: JSON has no infinity
                self.curves.setdefault(data["name"], []).append((data["step"], data["value"]))
            if kind == "picture":
                (self.folder / "figures").mkdir(exist_ok=True)
                (self.folder / "figures" / f"{file_name(data['name'])}.png").write_bytes(data["png"])
                return
            emit(kind, data)

        self.run = Run(stage.seed, device, forward, self.folder / WORK, should_stop)

    def spend(self, since: float, seconds: float) -> None:
        """Note what one phase took and logged, done or interrupted, so that a later process can add it up."""
        line = json.dumps({"since": since, "seconds": seconds, "curves": self.curves}) + "\n"
        path = self.folder / WORK / _SPENT
        with contextlib.suppress(OSError):  # a full disk has its own error
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(line)

    def spent(self) -> Spent:
        """What the stage took so far, over all its phases, processes and interruptions."""
        spent = Spent(now(), 0.0, {})
        path = self.folder / WORK / _SPENT
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                noted = json.loads(line)
            except ValueError:
                continue  # written by a process that was killed at it
            spent.since = min(spent.since, noted["since"])
            spent.seconds += noted["seconds"]
            for name, points in noted["curves"].items():
                kept = [point for point in spent.curves.get(name, []) if point[0] < points[0][0]]
                spent.curves[name] = kept + [(step, value) for step, value in points]
        return spent

    @cached_property
    def component(self) -> Any:
        """The component, with its settings."""
        cls: type[Component] = import_target(self.stage.target)
        return cls(cls.schema(self.stage.kind).model_validate(self.stage.settings))

    def artifact(self, role: str) -> Artifact | None:
        """The artifact in a role, or None when the stage has none there."""
        id = self.stage.parents.get(role)
        return None if id is None else self.store.get(*id)

    def given(self, needs: frozenset[Role]) -> Given:
        """What the component asked for, opened; what the stage has no artifact for is left out.

        Raises:
            DataError: the model was fitted with another recognizer than the suite gives.
        """
        if needs in self._given:
            return self._given[needs]
        values: dict[str, Any] = {}
        for role in needs & _OPENERS.keys():
            artifact = self.artifact(role)
            if artifact is not None:
                values[role] = _OPENERS[role](artifact, self.device)
        for role in needs & {"pairs", "templates"}:
            values[role] = self._protocols(role)
        if {"model", "recognizer"} <= values.keys():
            self._check_recognizer()
        for role in ("model", "autoencoder", "contexts"):
            if role in values:
                self.unchanged.watch(role, values[role] if role == "contexts" else values[role].tensors)
        self._given[needs] = Given(**values)
        return self._given[needs]

    def _protocols(self, role: str) -> dict[str, Any]:
        """The protocols that give ``role``, by their names in the suite."""
        found = {}
        for name in self.protocol_names:
            faces, pairs, gives = open_protocol(self.protocol(name), self.store)
            if gives == role:
                found[name] = faces, pairs
        return found

    @property
    def protocol_names(self) -> list[str]:
        """The protocols that the stage reads, by their names in the suite."""
        return [role.partition(":")[2] for role in self.stage.parents if role.startswith("protocols:")]

    def protocol(self, name: str) -> Artifact:
        """The artifact of a protocol."""
        return self.store.get(*self.stage.parents[f"protocols:{name}"])

    def _check_recognizer(self) -> None:
        model, recognizer = self.artifact("model"), self.artifact("recognizer")
        assert model is not None
        assert recognizer is not None
        fitted, given = (WeightsInfo.model_validate(each.manifest.details["info"]) for each in (model, recognizer))
        if fitted.recognizer and fitted.recognizer != recognizer.manifest.content:
            raise DataError("the model was fitted with another recognizer than the suite gives; fit it again")
        if fitted.recognizer and (text := taken_otherwise(fitted, given)):
            raise DataError(f"the model was fitted with this recognizer, but {text}; fit it again")


_OPENERS: dict[Role, Callable[[Artifact, str], Any]] = {
    "source": open_faces,
    "dataset": open_faces,
    "recognizer": open_recognizer,
    "judge": open_recognizer,
    "model": open_model,
    "autoencoder": open_model,
    "contexts": open_contexts,
    "people": open_people,
}


def file_name(name: str) -> str:
    """A component's name for a figure or a table, as a file's name: it cannot leave its folder.

    Raises:
        StageError: it is empty, too long, or holds anything but letters, digits and ``. _ -`` and spaces.
    """
    if not _FILE_NAME.fullmatch(name):
        raise StageError(f"{name!r} names a figure or table; expected letters, digits, '.', '_', '-', at most 128")
    return name
