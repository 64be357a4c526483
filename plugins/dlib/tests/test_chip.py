"""The chip shows what dlib's own chip shows."""

from __future__ import annotations

import numpy as np
import pytest
from harness_dlib.chip import CHIP

# dlib's mean face shape without the jaw, points 17 to 67, in parts of the unpadded chip.
MEAN_SHAPE = np.array(
    [
        (0.000213256, 0.106454),
        (0.0752622, 0.038915),
        (0.18113, 0.0187482),
        (0.29077, 0.0344891),
        (0.393397, 0.0773906),
        (0.586856, 0.0773906),
        (0.689483, 0.0344891),
        (0.799124, 0.0187482),
        (0.904991, 0.038915),
        (0.98004, 0.106454),
        (0.490127, 0.203352),
        (0.490127, 0.307009),
        (0.490127, 0.409805),
        (0.490127, 0.515625),
        (0.36688, 0.587326),
        (0.426036, 0.609345),
        (0.490127, 0.628106),
        (0.554217, 0.609345),
        (0.613373, 0.587326),
        (0.121737, 0.216423),
        (0.187122, 0.178758),
        (0.265825, 0.179852),
        (0.334606, 0.231733),
        (0.260918, 0.245099),
        (0.182743, 0.244077),
        (0.645647, 0.231733),
        (0.714428, 0.179852),
        (0.793132, 0.178758),
        (0.858516, 0.216423),
        (0.79751, 0.244077),
        (0.719335, 0.245099),
        (0.254149, 0.780233),
        (0.340985, 0.745405),
        (0.428858, 0.727388),
        (0.490127, 0.742578),
        (0.551395, 0.727388),
        (0.639268, 0.745405),
        (0.726104, 0.780233),
        (0.642159, 0.864805),
        (0.556721, 0.902192),
        (0.490127, 0.909281),
        (0.423532, 0.902192),
        (0.338094, 0.864805),
        (0.290379, 0.784792),
        (0.428096, 0.778746),
        (0.490127, 0.785343),
        (0.552157, 0.778746),
        (0.689874, 0.784792),
        (0.553364, 0.824182),
        (0.490127, 0.831803),
        (0.42689, 0.824182),
    ]
)
SIDE_PX, AT = 150, np.array([40.0, 30.0])


def test_landmarks_of_dlibs_mean_shape_lie_where_dlibs_chip_has_them() -> None:
    dlib = pytest.importorskip("dlib", reason="dlib-bin, the extra 'test' of harness-dlib, is not installed")
    points = (MEAN_SHAPE + 0.25) / 1.5 * SIDE_PX + AT  # at the chip's own scale, moved by whole pixels
    named = [dlib.point(0, 0)] * 17 + [dlib.point(*map(int, point)) for point in np.rint(points)]
    shape = dlib.full_object_detection(dlib.rectangle(40, 30, 189, 179), named)
    ramp = np.tile(np.arange(240.0), (240, 1))
    from_x, from_y = (np.array(dlib.get_face_chip(each, shape)) for each in (ramp, np.ascontiguousarray(ramp.T)))
    rows, columns = np.mgrid[20:130, 20:130]  # which part of the picture the chip's pixels show
    place = np.stack([from_x[rows, columns].ravel(), from_y[rows, columns].ravel(), np.ones(rows.size)], axis=1)
    chip = np.stack([columns.ravel(), rows.ravel()], axis=1)
    to_chip = np.linalg.lstsq(place, chip, rcond=None)[0]  # [3, 2], from the picture's pixels to the chip's
    five = np.array(  # by the numbers of the 68 less 17
        [points[19:25].mean(axis=0), points[25:31].mean(axis=0), points[13], points[31], points[37]]
    )
    landed = np.column_stack([five, np.ones(5)]) @ to_chip
    assert np.abs(landed - _mean_shape_points()).max() < 0.7  # points were rounded to whole pixels
    assert np.abs(landed - CHIP.landmarks(SIDE_PX)).max() < 2.5  # MTCNN's landmarks are not quite dlib's


def _mean_shape_points() -> np.ndarray:
    """Eyes, tip of the nose and corners of the mouth of the mean shape in a chip, from the definition."""
    points = (MEAN_SHAPE + 0.25) / 1.5 * SIDE_PX - 0.5
    return np.array([points[19:25].mean(axis=0), points[25:31].mean(axis=0), points[13], points[31], points[37]])
