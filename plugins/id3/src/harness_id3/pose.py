"""``landmark-pose``: head pose from five landmarks, for real faces.

The paper takes its poses from a pre-trained predictor that it does not name. Ours is geometry: five landmarks and the
proportions of a head (the paper does not name its predictor).

Letters: N faces, B images of a batch. Head frame: x to the image's right, y up, z towards the camera.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Doubles, Floats
from harness.components import AttributePredictor, Crop, ImageBatch
from harness.components.base import APACHE
from harness.faces.crops import REFERENCE_112, REFERENCE_SIZE_PX

if TYPE_CHECKING:
    from harness.components import Run

# How far each landmark lies in front of the eyes, in distances between the eyes. Ours, rough proportions of a head.
DEPTHS = (0.0, 0.0, 0.5, 0.0, 0.0)


def mean_head() -> Doubles:
    """Landmarks of a head that looks into the camera, [5, 3]: the reference landmarks with depths, centered."""
    flat = np.array(REFERENCE_112) * (1.0, -1.0)
    head = np.column_stack([flat / np.linalg.norm(flat[1] - flat[0]), DEPTHS])
    centered: Doubles = head - head.mean(axis=0)
    return centered


def estimate_pose(landmarks: Floats) -> Floats:
    """Yaw, pitch and roll, in degrees, from where the nose lies between eyes and mouth.

    An affine map of the mean head to the landmarks, by least squares, says where the head's three axes point in the
    image, and from those follow the angles of an orthographic camera. The length of the image of the axis from chin to
    brow is not used: long faces would count as lifted or lowered ones. Angles are those of the face world: positive
    yaw turns the nose to the image's right, positive pitch lifts it, positive roll turns the head counter-clockwise;
    the head is turned first and rolled last.

    Args:
        landmarks: (x, y) of the five points in pixels, y downwards, float [N, 5, 2].

    Returns:
        float32 [N, 3]; NaN where a landmark is not finite.
    """
    head, seen = mean_head(), np.asarray(landmarks, np.float64) * (1.0, -1.0)
    axes = np.einsum("nki,kj->nji", seen, head @ np.linalg.inv(head.T @ head))  # [N, 3 axes, 2]
    roll = np.arctan2(-axes[:, 1, 0], axes[:, 1, 1])
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    x, y = axes[:, :, 0] * c + axes[:, :, 1] * s, axes[:, :, 1] * c - axes[:, :, 0] * s  # rolled back, [N, 3] each
    yaw = np.arctan2(x[:, 2], x[:, 0])
    sine = (y[:, 2] * np.cos(yaw) - y[:, 0] * np.sin(yaw)) / np.hypot(x[:, 2], x[:, 0])
    pitch = np.arcsin(np.clip(sine, -1.0, 1.0))
    pose: Floats = np.degrees(np.stack([yaw, pitch, roll], axis=1)).astype(np.float32)
    return pose


class LandmarkPose(AttributePredictor):
    """Head pose from five landmarks; where a source has none, MTCNN finds them.

    Exact for a head of mean proportions; a nose that is longer or sits higher than that moves it by some degrees.
    """

    license = APACHE  # the code; MTCNN, where it is needed, has its own terms
    gives = ("yaw", "pitch", "roll")

    def predict(self, batch: ImageBatch, run: Run) -> dict[str, Floats]:
        """Yaw, pitch and roll of every face, in degrees; NaN where no face is found."""
        from harness.builtin.mtcnn import MTCNNAligner

        landmarks = batch.landmarks
        if landmarks is None:
            landmarks = MTCNNAligner().align(batch, Crop("arcface", REFERENCE_SIZE_PX), run).landmarks
        return dict(zip(self.gives, estimate_pose(landmarks).T, strict=True))
