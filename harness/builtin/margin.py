"""``margin``: trains a recognizer with a margin loss by a recipe.

Everything random is a function of (run.seed, epoch or step): initialization, data order, augmentation, the head's draws
and dropout. A training that was stopped therefore goes on from its checkpoint to the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import ValidationError

from harness.components.base import APACHE, Component, Settings
from harness.components.head import Head
from harness.components.recognizer import Recognizer, TrainableRecognizer
from harness.components.trainer import Trainer
from harness.errors import InputError, first_fault
from harness.plugins import registry
from harness.training.recipes import recipes
from harness.training.settings import MarginSettings

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.run import Run

AnyComponent = TypeVar("AnyComponent", bound=Component)


class MarginTrainer(Trainer):
    """SGD with the margin losses, backbones and schedules of the field."""

    Settings: ClassVar[type[Settings]] = MarginSettings
    license = APACHE
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = recipes()

    def uses(self) -> tuple[type[Component], ...]:
        """The backbone and the head."""
        return backbone_class(self.settings.backbone), head_class(self.settings.head)

    def identity(self) -> dict[str, Any]:
        """The settings, with those of the backbone and of the head written out."""
        backbone, head = self._settings_of_parts()
        parts = {"backbone_settings": backbone.model_dump(mode="json"), "head_settings": head.model_dump(mode="json")}
        return {**super().identity(), **parts}

    @property
    def chosen_on_benchmarks(self) -> bool:
        """Whether the benchmarks choose the epoch."""
        return bool(self.settings.select == "benchmarks")

    def train(self, given: Given, run: Run) -> Recognizer:
        """Train on the kept faces of ``given.dataset``; the recognizer takes the dataset's crop.

        Raises:
            StageError: fewer than two identities or images; the loss is not finite, or at chance after the warm-up.
            Stopped: the user asked to stop; a checkpoint is kept.
        """
        from harness.training.arrays import readable
        from harness.training.loop import Loop

        backbone, head = backbone_class(self.settings.backbone), head_class(self.settings.head)
        backbone_settings, head_settings = self._settings_of_parts()
        return Loop(
            self.settings,
            given.dataset,
            readable(given.dataset, run),
            run,
            lambda crop: backbone(backbone_settings, crop),
            head(head_settings),
            given.pairs if self.chosen_on_benchmarks else None,
        ).train()

    def _settings_of_parts(self) -> tuple[Any, Any]:
        settings = self.settings
        return (
            _validated(backbone_class(settings.backbone), settings.backbone_settings, "backbone_settings"),
            _validated(head_class(settings.head), settings.head_settings, "head_settings"),
        )


def backbone_class(name: str) -> type[TrainableRecognizer]:
    """The class of a recognizer by its registered name.

    Raises:
        InputError: the name is unknown, or is not a recognizer that can be trained.
    """
    return _class("recognizers", name, "backbone", TrainableRecognizer)  # type: ignore[type-abstract]


def head_class(name: str) -> type[Head]:
    """The class of a head by its registered name.

    Raises:
        InputError: the name is unknown.
    """
    return _class("heads", name, "head", Head)  # type: ignore[type-abstract]


def _class(kind: str, name: str, key: str, base: type[AnyComponent]) -> type[AnyComponent]:
    found = registry().load(kind, name)
    if not issubclass(found, base):
        raise InputError(f"margin trainer: {key} {name!r} is {found.__name__}, expected a {base.__name__}")
    return found


def _validated(cls: type[Component], values: Mapping[str, Any], key: str) -> Any:
    """A component's settings.

    Raises:
        InputError: a value is wrong; the message names it.
    """
    try:
        return cls.Settings(**values)
    except ValidationError as error:
        raise InputError(f"margin trainer: {key}.{first_fault(error)}") from error
