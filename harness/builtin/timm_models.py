"""``timm``: any image model of that library, by name, with an embedding head."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

from pydantic import Field

from harness.components.base import APACHE, Crop, Settings
from harness.components.recognizer import TrainableRecognizer
from harness.errors import InputError, unknown


class TimmSettings(Settings):
    """Settings of ``timm``."""

    model: str = Field("resnet18", description="the model's name in timm, such as resnet50 or vit_small_patch16_224")
    width: int = Field(512, ge=8, le=4096, description="D, values of an embedding")


class Timm(TrainableRecognizer):
    """A model of timm with random weights, whose classifier is a linear layer of D outputs and batch normalization.

    The batch normalization is ours, as in the field's networks. Models that are made for one size of image, such as
    vision transformers, are made for the crop's.

    Raises:
        InputError: timm is not installed, or has no such model, or that model cannot take the crop.
    """

    Settings: ClassVar[type[Settings]] = TimmSettings
    license = APACHE

    def __init__(self, settings: TimmSettings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes)
        if importlib.util.find_spec("timm") is None:
            raise InputError("recognizer timm: timm is not installed; pip install 'facegen-harness[timm]'")
        import timm
        from torch import nn

        name, width = self.settings.model, self.settings.width
        if not timm.is_model(name):
            raise InputError(f"recognizer timm: {unknown('model', name, timm.list_models())[:400]}")
        described = timm.get_pretrained_cfg(name)
        more = {"img_size": self.takes.size_px} if described is not None and described.fixed_input_size else {}
        try:
            model = timm.create_model(name, pretrained=False, num_classes=width, **more)
        except (AssertionError, TypeError, ValueError) as error:
            raise InputError(f"recognizer timm: {name} at {self.takes.size_px} px: {error}") from error
        self.network = nn.Sequential(model, nn.BatchNorm1d(width)).eval()

    @property
    def width(self) -> int:
        """D, the width of an embedding."""
        width: int = self.settings.width
        return width
