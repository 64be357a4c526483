"""``dlib-chip``: the crop that dlib's network was trained on, 150 px with a quarter of padding on every side.

dlib fits a chip to 68 landmarks (without jaw, eyebrows and lower lip) or to five of its own (the corners of both eyes
and the base of the nose). Aligners here give the five landmarks of the field, so the crop is the least-squares fit to
the corresponding points of dlib's mean shape: the mean of the six points around each eye, the tip of the nose, and the
corners of the mouth. The plugin's README has the difference to dlib's own chips, as measured.

Source: the mean face shape of dlib's ``get_face_chip_details``, in parts of the unpadded chip.
"""

from __future__ import annotations

import numpy as np

from harness import CropTemplate
from harness_dlib.resnet import SIZE_PX

PADDING = 0.25  # of the unpadded chip, on every side; what ``compute_face_descriptor`` uses
EYES = (  # points 36 to 41 and 42 to 47 of the 68
    (
        (0.121737, 0.216423),
        (0.187122, 0.178758),
        (0.265825, 0.179852),
        (0.334606, 0.231733),
        (0.260918, 0.245099),
        (0.182743, 0.244077),
    ),
    (
        (0.645647, 0.231733),
        (0.714428, 0.179852),
        (0.793132, 0.178758),
        (0.858516, 0.216423),
        (0.79751, 0.244077),
        (0.719335, 0.245099),
    ),
)
NOSE = (0.490127, 0.515625)  # point 30
MOUTH = ((0.254149, 0.780233), (0.726104, 0.780233))  # points 48 and 54


def _template() -> CropTemplate:
    shape = np.array([*(np.mean(eye, axis=0) for eye in EYES), NOSE, *MOUTH])
    # dlib counts a pixel from its corner, so half a pixel lies between its coordinates and ours
    points = (shape + PADDING) / (1 + 2 * PADDING) * SIZE_PX - 0.5
    return CropTemplate(tuple((float(x), float(y)) for x, y in points), SIZE_PX)


CHIP = _template()
