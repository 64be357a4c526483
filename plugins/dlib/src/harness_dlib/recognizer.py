"""``dlib``: the recognizer."""

from __future__ import annotations

from harness import Crop, InputError, License, NetworkRecognizer, NoSettings
from harness_dlib.resnet import SIZE_PX, WIDTH

VIEW = "dlib-chip"


class DlibResNet(NetworkRecognizer):
    """dlib's 29-layer ResNet: 150 px chips to 128 numbers, 5.6 million weights.

    ``load`` gives it weights; ``demo:dlib`` are the published ones. dlib itself compares embeddings by their distance;
    their lengths differ by a few percent, so cosines order pairs almost alike.
    """

    license = License("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "yes")

    def __init__(self, settings: NoSettings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes or Crop(VIEW, SIZE_PX))
        if self.takes.size_px != SIZE_PX:
            raise InputError(f"dlib takes chips of {SIZE_PX} px, got {self.takes.size_px}; set the crop's size to it")
        from harness_dlib.network import ResNet

        self.network = ResNet().eval()

    @property
    def width(self) -> int:
        """D, the width of an embedding."""
        return WIDTH
