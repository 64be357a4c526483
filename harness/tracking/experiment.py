"""The experiment that the runs of a workdir are in, and which runs of it are in others of the same database."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import DataError
from harness.tracking.uris import ARTIFACTS, artifact_location, own_store
from harness.tracking.views import BOARD_TAG, KIND, Summary, experiment_tags

EXPERIMENT = "facegen-harness"  # MLFLOW_EXPERIMENT_NAME wins
EXPERIMENT_TAG = "harness.experiment"  # that name, also on the experiments of further workdirs in one database

T = TypeVar("T")


def twice(action: Callable[[], T]) -> T:
    """Do it once more if it fails: of two runs that make the same thing at once, one fails, and then finds it."""
    from mlflow.exceptions import MlflowException

    try:
        return action()
    except MlflowException:
        return action()


def find_experiment(client: Any, workdir: Path) -> str:
    """The experiment whose files lie in this workdir, or with the server; made if there is none.

    Raises:
        DataError: the workdir's own database was made for another folder.
    """
    return twice(lambda: _find_or_make(client, workdir))


def _find_or_make(client: Any, workdir: Path) -> str:
    name = experiment_name()
    location = artifact_location(workdir)
    found = client.get_experiment_by_name(name)
    if found is not None and location is not None and found.artifact_location != location:
        if (own := own_store(workdir)) is not None:
            raise DataError(
                f"{own}: made for another folder ({found.artifact_location}); delete it and "
                f"{ARTIFACTS}, then `harness sync` fills it again"
            )
        # The database is shared, and this experiment's files lie in another workdir.
        name = f"{name}-{hashlib.sha256(location.encode()).hexdigest()[:8]}"
        found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, location, KIND | {EXPERIMENT_TAG: experiment_name()}))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def all_experiments(client: Any, workdir: Path, own: str) -> list[str]:
    """Where runs of these results can be: in a shared database a copy of them may have been filled before."""
    if artifact_location(workdir) is None:
        return [own]
    found = [each for each in client.search_experiments() if each.tags.get(EXPERIMENT_TAG) == experiment_name()]
    return sorted({own, *(str(each.experiment_id) for each in found)})


def tell_experiment(client: Any, experiment: str, key: str, summary: Summary) -> None:
    """Let the experiment say what is to be said of one suite, beside all others.

    Args:
        key: tells the suite from others, also from those of other workdirs.
    """
    _tell(client, experiment, {BOARD_TAG + key: summary.text()})
    tags = client.get_experiment(experiment).tags
    _tell(client, experiment, experiment_tags(tags, experiment))


def _tell(client: Any, experiment: str, wanted: dict[str, str]) -> None:
    there = client.get_experiment(experiment).tags
    for name, value in wanted.items():
        if there.get(name) != value:
            twice(partial(client.set_experiment_tag, experiment, name, value))


def experiment_name() -> str:
    """The name that the user chose, or ours."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
