"""``margin``: trains a recognizer with the CosFace loss and one fixed recipe.

Everything random is a function of (run.seed, step): initialization, data order, augmentation and dropout. A training
that was stopped therefore goes on from its checkpoint to the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from harness.builtin.margin_settings import MarginSettings
from harness.components.base import APACHE, Component, Settings
from harness.components.recognizer import Recognizer, TrainableRecognizer
from harness.components.trainer import Trainer
from harness.errors import InputError, first_fault

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.run import Run


class MarginTrainer(Trainer):
    """CosFace (arXiv 1801.09414) with SGD, a fixed schedule and the last epoch's weights."""

    Settings: ClassVar[type[Settings]] = MarginSettings
    license = APACHE
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small-clean": {},  # for about 2,000 images
        # for 1,000 people x 20 images; there, scale 24 gave 88.7 instead of 95.5 percent after four epochs (one seed)
        "demo": {"epochs": 8, "dtype": "bfloat16", "save": "float16"},
        "tiny": {"epochs": 1, "batch_size": 16},
    }

    def uses(self) -> tuple[type[Component], ...]:
        """The backbone."""
        return (backbone_class(self.settings.backbone),)

    def train(self, given: Given, run: Run) -> Recognizer:
        """Train on the kept faces of ``given.dataset``; the recognizer takes the dataset's crop.

        Raises:
            StageError: fewer than two identities or images, or the loss is not finite.
            Stopped: the user asked to stop; a checkpoint is kept.
        """
        from harness.builtin.margin_loop import Loop

        backbone = backbone_class(self.settings.backbone)
        values = backbone_settings(backbone, self.settings.backbone_settings)
        return Loop(self.settings, given.dataset, run, lambda crop: backbone(values, crop)).train()


def backbone_class(name: str) -> type[TrainableRecognizer]:
    """The class of a recognizer by its registered name.

    Raises:
        InputError: the name is unknown, or is not a recognizer that can be trained.
    """
    from harness.plugins import registry

    found = registry().load("recognizers", name)
    if not issubclass(found, TrainableRecognizer):
        raise InputError(f"margin trainer: backbone {name!r} is {found.__name__}, expected a TrainableRecognizer")
    return found


def backbone_settings(cls: type[Recognizer], values: Mapping[str, Any]) -> Any:
    """Validate a backbone's settings.

    Raises:
        InputError: a value is wrong; the message names it.
    """
    try:
        return cls.Settings(**values)
    except ValidationError as error:
        raise InputError(f"margin trainer: backbone_settings.{first_fault(error)}") from error
