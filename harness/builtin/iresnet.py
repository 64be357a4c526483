"""Recognizers of the FR literature for crops of 112 px: ``iresnet``, ``ir`` and ``mobilefacenet``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from harness.components.base import APACHE, Crop, Settings
from harness.components.recognizer import TrainableRecognizer
from harness.errors import InputError

SIZE_PX = 112  # of the crop; the last layers are made for the 7 x 7 maps that it becomes
WIDTH = 512  # D


class Of112(TrainableRecognizer):
    """A recognizer whose network takes crops of 112 px alone."""

    def __init__(self, settings: Settings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes or Crop("arcface", SIZE_PX))
        if self.takes.size_px != SIZE_PX:
            who = type(self).__name__.lower()
            raise InputError(f"{who} takes crops of {SIZE_PX} px, got {self.takes.size_px}; set the crop's size to it")

    @property
    def width(self) -> int:
        """D, the width of an embedding."""
        return WIDTH


class IResNetSettings(Settings):
    """Settings of ``iresnet``."""

    depth: Literal[18, 34, 50, 100] = Field(50, description="layers: 18 (24 M weights), 34, 50 (44 M) or 100 (65 M)")
    se: bool = Field(False, description="squeeze-and-excitation in every block, as in Vec2Face's training project")


class IResNet(Of112):
    """IResNet with 512-wide embeddings; names and shapes are those of published ElasticFace and insightface weights.

    This is the architecture alone: weights that others publish keep their own terms. With squeeze-and-excitation, the
    names of its layers are ours.

    Source: ArcFace, arXiv 1801.07698, section 3.1.
    """

    Settings: ClassVar[type[Settings]] = IResNetSettings
    license = APACHE

    def __init__(self, settings: IResNetSettings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes)
        from harness.training.backbones.iresnet import IResNetwork

        self.network = IResNetwork(self.settings.depth, self.settings.se).eval()


class IRSettings(Settings):
    """Settings of ``ir``."""

    depth: Literal[18, 50, 100] = Field(50, description="layers; TFace and CVLFace train 50")


class IR(Of112):
    """The IR network of TFace and CVLFace, with 512-wide embeddings."""

    Settings: ClassVar[type[Settings]] = IRSettings
    license = APACHE

    def __init__(self, settings: IRSettings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes)
        from harness.training.backbones.ir import IRNetwork

        self.network = IRNetwork(self.settings.depth, WIDTH).eval()


class MobileFaceNetSettings(Settings):
    """Settings of ``mobilefacenet``."""

    width: int = Field(WIDTH, ge=8, le=1024, description="D, values of an embedding; arXiv 1804.07573: 128")


class MobileFaceNet(Of112):
    """MobileFaceNet, for devices with little memory; arXiv 1804.07573."""

    Settings: ClassVar[type[Settings]] = MobileFaceNetSettings
    license = APACHE

    def __init__(self, settings: MobileFaceNetSettings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes)
        from harness.training.backbones.mobilefacenet import MobileFaceNetwork

        self.network = MobileFaceNetwork(self.settings.width).eval()

    @property
    def width(self) -> int:
        """D, the width of an embedding."""
        width: int = self.settings.width
        return width
