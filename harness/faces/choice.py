"""Which of several faces in a picture is the one that its label names.

Letters: F faces of one picture, W, H its width and height in pixels. Boxes are (left, top, right, bottom) in pixels,
pixel centers at integers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from harness.arrays import AnyFloats

Choice = Literal["centered", "largest", "nearest", "first", "refuse"]


def choose_face(boxes: AnyFloats, width: int, height: int, choice: Choice) -> int | None:
    """The face that a rule takes.

    Args:
        boxes: [F, 4], the surest face first; F at least 1.
        width, height: W and H.
        choice: "centered", the greatest area less twice the squared distance between the middles of box and picture;
            "largest", the greatest area; "nearest", the least such distance; "first", the surest; "refuse", none if
            there are several.

    Returns:
        its index; None where the rule takes none.

    Sources: "centered" is how the public implementation of FaceNet aligns labelled photographs (in facenet-pytorch,
    center_weighted_size); "nearest" is IDiff-Face's rule, "largest" NegFaceDiff's.
    """
    if choice == "refuse":
        return 0 if len(boxes) == 1 else None
    if choice == "first":
        return 0
    box = np.asarray(boxes, dtype=np.float64)
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    middle = (box[:, :2] + box[:, 2:]) / 2 - ((width - 1) / 2, (height - 1) / 2)
    distance2 = (middle**2).sum(axis=1)
    merits = {"centered": area - 2.0 * distance2, "largest": area, "nearest": -distance2}
    return int(merits[choice].argmax())


def covers_middle(box: AnyFloats, width: int, height: int) -> bool:
    """Whether the middle of a picture of W x H lies in a box [4]."""
    left, top, right, bottom = box
    return bool(left <= (width - 1) / 2 <= right and top <= (height - 1) / 2 <= bottom)
