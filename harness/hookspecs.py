"""The extension points, in pipeline order: this file is their table of contents.

A plugin is a module named by an entry point in the group ``facegen_harness``. It offers components by name and import
string, so listing is instant and torch is imported only when something runs. Every ``register_*`` hook is called once
at start-up with a ``register(name, target)`` callback, for instance ``register("id3", "harness_id3.generator:ID3")``.
A name that is taken is an error that names both distributions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from harness.graph import StageId, SuitePlan
    from harness.results import Result, StageRecord

PROJECT = "facegen_harness"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Register = Callable[[str, str], None]


@hookspec
def register_sources(register: Register) -> None:
    """Offer sources: authentic images with identities (``harness.components.Source``)."""


@hookspec
def register_crops(register: Register) -> None:
    """Offer crops that recognizers take (``harness.CropTemplate``), by the name that is their view.

    The target is a value, not a class: ``register("dlib-chip", "harness_dlib.chip:CHIP")``.
    """


@hookspec
def register_recognizers(register: Register) -> None:
    """Offer FR architectures (``harness.components.Recognizer``)."""


@hookspec
def register_attribute_predictors(register: Register) -> None:
    """Offer predictors of pose, age and the like for real faces (``harness.components.AttributePredictor``)."""


@hookspec
def register_weights(register: Register) -> None:
    """Offer weights that come with an installed package, used in suites as ``demo:NAME``.

    The target is ``package:path`` of a weights file: ``register("ldm", "harness_idiffface:demo/ldm.safetensors")``.
    Weights that another package holds in a format of its own have a function as their target,
    ``register("dlib", "harness_dlib.published:write")``: it is called with a path and writes the weights file there.
    """


@hookspec
def register_contexts(register: Register) -> None:
    """Offer context laws: where identity vectors come from (``harness.components.ContextLaw``)."""


@hookspec
def register_generators(register: Register) -> None:
    """Offer face generators, the methods under comparison (``harness.components.Generator``)."""


@hookspec
def register_aligners(register: Register) -> None:
    """Offer aligners (``harness.components.Aligner``)."""


@hookspec
def register_heads(register: Register) -> None:
    """Offer heads, the margins of FR losses (``harness.components.Head``)."""


@hookspec
def register_trainers(register: Register) -> None:
    """Offer FR training recipes (``harness.components.Trainer``)."""


@hookspec
def register_protocols(register: Register) -> None:
    """Offer verification protocols: faces and pairs (``harness.components.Protocol``)."""


@hookspec
def register_evaluators(register: Register) -> None:
    """Offer evaluators (``harness.components.Evaluator``)."""


@hookspec
def suite_started(plan: SuitePlan, workdir: Path, missing: frozenset[StageId], workers: int) -> None:
    """A run begins: the plan is valid and nothing has been built yet. Called in the coordinating process.

    ``missing`` are the stages that it has to build, by at most so many ``workers`` at a time.
    """


@hookspec
def stage_progress(stage: str, done: int, total: int, unit: str) -> None:
    """Work goes on in one stage; the first call (``done`` 0) says that it started. ``stage`` is its label."""


@hookspec
def stage_finished(stage: str, record: StageRecord) -> None:
    """An artifact is in the store, newly built or found there (``record.cached``)."""


@hookspec
def stage_warned(stage: str, text: str) -> None:
    """A stage starts although a gate before it was not passed; ``text`` says which."""


@hookspec
def row_finished(result: Result, folder: Path) -> None:
    """A row is done or failed for one seed; its result file and figures lie in ``folder``."""


@hookspec
def suite_finished(plan: SuitePlan, workdir: Path, results: list[Result]) -> None:
    """All rows are done or failed. Also called after an interruption, with the rows that finished."""
