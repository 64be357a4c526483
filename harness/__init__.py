"""A plugin-based benchmarking harness for synthetic face recognition data.

Everything a user or a plugin author needs is here by name, and loaded when it is first used::

    import harness

    results = harness.run("suite.yaml")
    harness.leaderboard().to_frame()
    harness.compare("suite/a", "suite/b")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "harness.api": "compare leaderboard plan run",
    "harness.components": (
        "AlignedBatch Aligner AttributePredictor Component ContextLaw Crop Evaluator FaceProtocol FittedGenerator "
        "Generator Given Head ImageBatch License Metric Model NetworkRecognizer NoSettings PairSet Protocol Recognizer "
        "Report Request Run SamplePlan Settings Source TemplateSet TrainableRecognizer Trainer Uncertainty"
    ),
    "harness.faces.crops": "CropTemplate",
    "harness.errors": "DataError HarnessError InputError StageError Stopped",
    "harness.hookspecs": "Register hookimpl",
    "harness.stats.intervals": "mean_uncertainty",
}
EXPORTS = {name: module for module, names in _PLACES.items() for name in names.split()}
"""The module of each name that ``from harness import NAME`` gives."""

if TYPE_CHECKING:
    from harness.api import compare as compare
    from harness.api import leaderboard as leaderboard
    from harness.api import plan as plan
    from harness.api import run as run
    from harness.components import *  # noqa: F403
    from harness.errors import DataError as DataError
    from harness.errors import HarnessError as HarnessError
    from harness.errors import InputError as InputError
    from harness.errors import StageError as StageError
    from harness.errors import Stopped as Stopped
    from harness.faces.crops import CropTemplate as CropTemplate
    from harness.hookspecs import Register as Register
    from harness.hookspecs import hookimpl as hookimpl
    from harness.stats.intervals import mean_uncertainty as mean_uncertainty


def __getattr__(name: str) -> Any:
    if name not in EXPORTS:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *EXPORTS])
