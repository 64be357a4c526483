"""The recognizers of rows as MLflow's models, and in its registry: what they are and where they lie, never weights.

A row and seed is a logged model, to which the run's metrics are linked. A row is a registered model ``SUITE.ROW``,
whose alias ``seed-N`` names the version of that seed's current run.
"""

from __future__ import annotations

from typing import Any

from harness.results import Result, StageRecord
from harness.tracking.content import clean_name
from harness.tracking.datasets import stored

OWNER_TAG = "harness.owner"


def logged_model(client: Any, run: Any, result: Result, fresh: bool) -> Any | None:
    """The logged model of a run, made if there is none; None where the row trained no recognizer.

    Args:
        fresh: whether the run was made just now, so that it can have no model.
    """
    from mlflow.entities import LoggedModelOutput

    if (stage := _trained(result)) is None:
        return None
    info = run.info
    there = [] if fresh else client.search_logged_models([info.experiment_id], f"source_run_id = '{info.run_id}'")
    if there:
        model = there[0]
    else:
        name = _name(f"{result.row}-seed-{result.seed}").replace(".", "-")
        model = client.create_logged_model(
            info.experiment_id,
            name,
            info.run_id,
            _tags(result, stage) | {"mlflow.note.content": _pointer(stage)},
            model_type="face recognizer",
        )
    if str(model.status) != "READY":
        client.finalize_logged_model(model.model_id, "READY")
    if fresh or model.model_id not in {output.model_id for output in run.outputs.model_outputs}:
        client.log_outputs(info.run_id, [LoggedModelOutput(model.model_id, 0)])
    return model


class Registry:
    """The registered models of one set of results.

    Args:
        owner: whose results these are; another's model of the same name is left alone.
    """

    def __init__(self, client: Any, owner: str) -> None:
        self._client, self._owner = client, owner
        self._names: dict[tuple[str, str], str] = {}

    def register(self, run: Any, result: Result, model: Any, fresh: bool) -> None:
        """Put a run's model into the registry, and let the alias of its seed name it; arguments as for logged_model."""
        stage = _trained(result)
        assert stage is not None
        there = [] if fresh else self._client.search_model_versions(f"run_id = '{run.info.run_id}'")
        version = (
            there[0]
            if there
            else self._client.create_model_version(
                self._name(result),
                model.artifact_location,  # an empty place; MLflow wants one
                run.info.run_id,
                _tags(result, stage),
                description=f"Seed {result.seed}. {_pointer(stage)}",
                await_creation_for=0,
                model_id=model.model_id,
            )
        )
        self._client.set_registered_model_alias(version.name, f"seed-{result.seed}", version.version)

    def _name(self, result: Result) -> str:
        """The name of the row's registered model, which is made if there is none."""
        key = (result.suite, result.row)
        if key not in self._names:
            name = _name(f"{result.suite}.{result.row}")
            about = f"Recognizers of row {result.row}, suite {result.suite}: one per seed, and per change of a result."
            if not self._is_mine(name, about):
                name = f"{name}-{self._owner[:8]}"
                self._is_mine(name, about)
            self._names[key] = name
        return self._names[key]

    def _is_mine(self, name: str, about: str) -> bool:
        """Whether a registered model is of these results; made if there is none of that name."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name, {OWNER_TAG: self._owner}, about)
        except MlflowException:  # there is one; another process may have made it just now
            return bool(self._client.get_registered_model(name).tags.get(OWNER_TAG) == self._owner)
        return True


def _trained(result: Result) -> StageRecord | None:
    """The stage that trained the recognizer of a finished row; None where it existed already, or the row failed."""
    stages = [stage for stage in result.stages if stage.kind == "train"]
    return stages[-1] if stages and result.status == "done" else None


def _tags(result: Result, stage: StageRecord) -> dict[str, str]:
    return {
        "harness.weights": stored(stage),
        "harness.content": stage.content,
        "harness.recipe": result.recipe,
        "harness.commercial_use": result.commercial_use,
    }


def _pointer(stage: StageRecord) -> str:
    return f"The weights are not kept here: they lie in the workdir of the run, under {stored(stage)}."


def _name(text: str) -> str:
    return clean_name(text).replace("/", "-")
