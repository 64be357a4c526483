"""What a plugin author reads: the base class of each kind of component and the data that crosses the seams.

Nothing here imports torch when it is imported: settings are validated before anything heavy is loaded.
"""

from harness.components.aligner import Aligner
from harness.components.attributes import AttributePredictor
from harness.components.base import Component, Crop, License, NoSettings, Settings
from harness.components.contexts import ContextLaw
from harness.components.data import (
    AlignedBatch,
    ImageBatch,
    Metric,
    Model,
    PairSet,
    Report,
    Request,
    SamplePlan,
    Subject,
    TemplateSet,
)
from harness.components.evaluator import Evaluator
from harness.components.generator import Generator
from harness.components.protocol import Protocol
from harness.components.recognizer import Recognizer
from harness.components.run import Run
from harness.components.source import Source
from harness.components.trainer import Trainer

__all__ = [
    "AlignedBatch",
    "Aligner",
    "AttributePredictor",
    "Component",
    "ContextLaw",
    "Crop",
    "Evaluator",
    "Generator",
    "ImageBatch",
    "License",
    "Metric",
    "Model",
    "NoSettings",
    "PairSet",
    "Protocol",
    "Recognizer",
    "Report",
    "Request",
    "Run",
    "SamplePlan",
    "Settings",
    "Source",
    "Subject",
    "TemplateSet",
    "Trainer",
]
