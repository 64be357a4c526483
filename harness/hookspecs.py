"""The extension points, in pipeline order: this file is their table of contents, and docs/hooks.md is made from it.

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
HOOKS = 1
"""Version of this interface: of the hooks and of the base classes of ``harness.components``.

It rises when a plugin has to be changed; a hook or an argument more is no reason. A module says which one it was
written for with ``HARNESS_HOOKS = 1``.
"""
OLDEST_HOOKS = 1
"""Plugins that were written for this version or a later one are taken."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Register = Callable[[str, str], None]


@hookspec
def register_sources(register: Register) -> None:
    """Sources of authentic images with identities: a dataset on disk, or a world that is drawn.

    Targets are subclasses of ``harness.Source``, named in a suite under ``sources``.
    """


@hookspec
def register_crops(register: Register) -> None:
    """Crops that recognizers take: where the five landmarks of a face lie in the picture that they see.

    Targets are values of ``harness.CropTemplate``, five points and the side of the crop that they are given for, such
    as ``harness_dlib.chip:CHIP``; the name is what a recognizer's crop calls its view. An aligner warps every face to
    the crop of the recognizer that looks at it. Pictures that are not aligned have the view ``raw``.
    """


@hookspec
def register_recognizers(register: Register) -> None:
    """Architectures of FR models.

    Targets are subclasses of ``harness.Recognizer``; a trainer builds them by name (``settings: {backbone:
    small-cnn}``), and a weights file names the one that it fits. docs/writing-a-recognizer.md is a complete one.
    """


@hookspec
def register_attribute_predictors(register: Register) -> None:
    """Predictors of head pose, age and the like for sources of real faces, which do not come with them.

    Targets are subclasses of ``harness.AttributePredictor``; a fit that is conditioned on attributes names them, as in
    ``settings: {predictors: [landmark-pose, my-age]}`` of ``id3``.
    """


@hookspec
def register_weights(register: Register) -> None:
    """Weights that come with an installed package, used in a suite as ``{weights: demo:NAME}``.

    The target is ``package:path`` of a weights file, such as ``harness_idiffface:demo/ldm.safetensors``. Where another
    package holds them in a format of its own, it is a function, such as ``harness_dlib.published:write``, which is
    called with a path and writes a weights file there. The leaderboard marks rows that rest on one.
    """


@hookspec
def register_contexts(register: Register) -> None:
    """Context laws: where the identity vectors come from that a generator is conditioned on.

    Targets are subclasses of ``harness.ContextLaw``, named under ``dataset.contexts``; all rows of a suite share what
    is drawn. ``two-stage`` embeds faces that an unconditional model draws (``{use: two-stage, model: NAME, recognizer:
    NAME}``), ``file`` holds vectors that others drew (``{use: file, path: FILE, recognizer: NAME}``).
    """


@hookspec
def register_generators(register: Register) -> None:
    """Face generators, the methods under comparison.

    Targets are subclasses of ``harness.Generator``, named in ``rows.NAME.use`` and, if they can be fitted
    (``harness.FittedGenerator``), in ``models.NAME.fit``. docs/writing-a-plugin.md is a complete one.
    """


@hookspec
def register_aligners(register: Register) -> None:
    """Aligners find the face and warp it to the reference landmarks of the crop, or say why not.

    Targets are subclasses of ``harness.Aligner``, named in ``aligner``, for the suite, a row or a recognizer.
    """


@hookspec
def register_heads(register: Register) -> None:
    """Heads put the margin into the loss of FR training.

    Targets are subclasses of ``harness.Head``, named in the settings of ``margin`` (``settings: {head: adaface,
    head_settings: {h: 0.333}}``).
    """


@hookspec
def register_trainers(register: Register) -> None:
    """Recipes that turn an aligned dataset into a recognizer.

    Targets are subclasses of ``harness.Trainer``, named in ``trainer.use`` and ``recognizers.NAME.train``.
    """


@hookspec
def register_protocols(register: Register) -> None:
    """Verification protocols: evaluation faces with their pairs.

    Targets are subclasses of ``harness.Protocol``, named under ``protocols``.
    """


@hookspec
def register_evaluators(register: Register) -> None:
    """Evaluators turn a recognizer, a dataset or both into metrics.

    Targets are subclasses of ``harness.Evaluator``, named under ``evaluate``.
    """


@hookspec
def suite_started(plan: SuitePlan, workdir: Path, missing: frozenset[StageId], workers: int) -> None:
    """A run begins: the plan is valid and nothing has been built.

    ``plan`` is the ``harness.graph.SuitePlan``, with the resolved suite, its stages and rows; ``workdir`` the folder
    that holds everything the run makes; ``missing`` are the stages that are not in the store yet, which at most
    ``workers`` processes build at a time.
    """


@hookspec
def stage_progress(stage: str, done: int, total: int, unit: str) -> None:
    """Work goes on in one stage.

    ``stage`` is its label, such as ``id3 seed 0: generate``; ``done`` of ``total`` in ``unit`` (``images``, ``steps``)
    are finished. The first call has ``done`` 0 and says that the stage started; ``total`` is 0 while it is unknown.
    """


@hookspec
def stage_finished(stage: str, record: StageRecord) -> None:
    """An artifact is in the store.

    ``stage`` is the label of its stage, ``record`` is a ``harness.results.StageRecord``: kind, key, content digest,
    seconds, counts, and whether it was built now or found there (``cached``).
    """


@hookspec
def stage_warned(stage: str, text: str) -> None:
    """A stage starts although a gate before it, one that only warns, was not passed.

    ``stage`` is the label of the FR training, ``text`` says which gate.
    """


@hookspec
def row_finished(result: Result, folder: Path) -> None:
    """A row is done or failed for one seed.

    ``result`` is the ``harness.results.Result`` that was written as ``results.json`` into ``folder``, with figures and
    tables beside it.
    """


@hookspec
def suite_finished(plan: SuitePlan, workdir: Path, results: list[Result]) -> None:
    """All rows are done or failed.

    ``plan`` and ``workdir`` are those of ``suite_started``. Also called after an interruption; ``results`` then holds
    the rows that finished.
    """
