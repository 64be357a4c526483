"""What a plugin author reads: the base class of each kind of component and the data that crosses the seams.

Nothing here imports torch when it is imported: settings are validated before anything heavy is loaded. All of it can be
imported from ``harness`` itself.
"""

from harness.components.aligner import Aligner
from harness.components.attributes import AttributePredictor
from harness.components.base import Component, Crop, License, NoSettings, Settings
from harness.components.contexts import ContextLaw
from harness.components.evaluator import Evaluator
from harness.components.generator import FittedGenerator, Generator
from harness.components.given import Given
from harness.components.head import Head
from harness.components.images import AlignedBatch, ImageBatch, Request, SamplePlan
from harness.components.metric import Metric, Report
from harness.components.model import Model
from harness.components.pairs import PairSet, TemplateSet
from harness.components.protocol import FaceProtocol, Protocol
from harness.components.recognizer import NetworkRecognizer, Recognizer, TrainableRecognizer
from harness.components.run import Run
from harness.components.source import Source
from harness.components.trainer import Trainer
from harness.stats.uncertainty import Uncertainty

__all__ = [
    "AlignedBatch",
    "Aligner",
    "AttributePredictor",
    "Component",
    "ContextLaw",
    "Crop",
    "Evaluator",
    "FaceProtocol",
    "FittedGenerator",
    "Generator",
    "Given",
    "Head",
    "ImageBatch",
    "License",
    "Metric",
    "Model",
    "NetworkRecognizer",
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
    "TemplateSet",
    "TrainableRecognizer",
    "Trainer",
    "Uncertainty",
]
