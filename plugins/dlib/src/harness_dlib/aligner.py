"""``dlib``: faces and chips by dlib itself, its detector of frontal faces and its five landmarks.

It is how dlib's own examples feed the network; the rest of this plugin needs no dlib. Letters: B images, S side of the
chip in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness import AlignedBatch, Aligner, Crop, ImageBatch, InputError, License, Settings
from harness.faces.choice import Choice, choose_face
from harness_dlib.published import published_file
from harness_dlib.recognizer import VIEW

if TYPE_CHECKING:
    from harness import Run

LANDMARKS = "models/shape_predictor_5_face_landmarks.dat"
PADDING = 0.25  # of the chip, on every side
NO_FACE, SEVERAL = "no face found", "several faces found"


class DlibAlignerSettings(Settings):
    """Settings of the aligner ``dlib``."""

    upsample: int = Field(1, ge=0, le=3, description="times a picture is doubled; then faces of 80 px are looked for")
    face: Choice = Field(
        "centered",
        description="which of several faces is taken, as in mtcnn: centered, largest, nearest, first, refuse",
    )


class DlibAligner(Aligner):
    """dlib's detector of frontal faces, its five landmarks and its chips; the crop is ``dlib-chip`` alone.

    The landmarks are the corners of the eyes and the base of the nose, not the field's five, so none are passed on.
    """

    Settings: ClassVar[type[Settings]] = DlibAlignerSettings
    license = License(
        "BSL-1.0 (dlib); its landmark model is in the public domain", "https://www.boost.org/LICENSE_1_0.txt", "yes"
    )

    def __init__(self, settings: DlibAlignerSettings | None = None) -> None:
        super().__init__(settings)
        self._models: tuple[Any, Any] | None = None

    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        """Detect, place the landmarks and cut the chip; see :class:`harness.Aligner`.

        Raises:
            InputError: another crop is asked for, or dlib is not installed.
        """
        if crop.view != VIEW:
            raise InputError(f"aligner dlib makes {VIEW} alone, got {crop.view}; take mtcnn for other crops")
        dlib = _dlib()
        detector, landmarks = self._load(dlib)
        count, height, width = batch.images.shape[:3]
        chips = np.zeros((count, crop.size_px, crop.size_px, 3), np.uint8)
        boxes, scores = np.full((count, 4), np.nan, np.float32), np.full(count, np.nan, np.float32)
        found, reasons = np.zeros(count, np.int64), list[str | None]([NO_FACE] * count)
        for row, image in enumerate(map(np.ascontiguousarray, batch.images)):
            faces, sure, _ = detector.run(image, self.settings.upsample, 0.0)  # the surest first
            found[row] = len(faces)
            if not faces:
                continue
            corners = np.array([[f.left(), f.top(), f.right(), f.bottom()] for f in faces], dtype=np.float64)
            chosen = choose_face(corners, width, height, self.settings.face)
            reasons[row] = SEVERAL if chosen is None else None
            if chosen is not None:
                shape = landmarks(image, faces[chosen])
                chips[row] = dlib.get_face_chip(image, shape, size=crop.size_px, padding=PADDING)
                boxes[row], scores[row] = corners[chosen], sure[chosen]
        return AlignedBatch(chips, reasons, np.full((count, 5, 2), np.nan, np.float32), boxes, scores, found)

    def _load(self, dlib: Any) -> tuple[Any, Any]:
        if self._models is None:
            self._models = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(published_file(LANDMARKS)))
        return self._models


def _dlib() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise InputError("aligner dlib needs dlib itself: pip install dlib-bin (or dlib, which is compiled)") from error
    return dlib
