"""``mtcnn``: finds the face with MTCNN and warps it to the crop.

Letters: B images, H, W pixels of the input, S side of the crop in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness.arrays import Images
from harness.components.aligner import Aligner
from harness.components.base import Crop, License, Settings
from harness.components.images import AlignedBatch, ImageBatch
from harness.faces.crops import NARROW_SHIFT_PX, REFERENCE_SIZE_PX, reference_landmarks
from harness.faces.warp import similarity, warp

if TYPE_CHECKING:
    import torch

    from harness.components.run import Run

NO_FACE = "no face found"
# Landmarks are rounded to this many px, so that rounding errors of the networks, which depend on how many images are
# detected together (1e-5 px), hardly ever reach the pixels of a crop.
_GRID_PX = 2.0**-10
# What facenet-pytorch 2.5.3 raises when no candidate of a batch survives a stage, and when one lies outside its image.
_LIBRARY_FAULTS = ("expected a non-empty list", "The shape of the mask")
_CHUNK = 16  # images detected together; measured on one CPU thread: 16 is twice as fast as 1, and 64 no faster


class MTCNNSettings(Settings):
    """Settings of ``mtcnn``; thresholds and pyramid factor are those of arXiv 1604.02878 and facenet-pytorch 2.5.3."""

    detect_px: int = Field(
        160, ge=48, le=2048, description="images whose shorter side has fewer pixels are enlarged to this for detection"
    )
    min_face: float = Field(
        0.3,
        gt=0,
        le=1,
        description="smallest face that is looked for, as a fraction of the shorter side (at least 20 px, where the "
        "library's default lies); the cost of detection grows as this falls",
    )
    proposal_threshold: float = Field(0.6, gt=0, lt=1, description="least confidence of the proposal network, P-Net")
    refine_threshold: float = Field(0.7, gt=0, lt=1, description="least confidence of the refinement network, R-Net")
    output_threshold: float = Field(0.7, gt=0, lt=1, description="least confidence of the output network, O-Net")
    reference_quirks: bool = Field(
        False,
        description="repeat NegFaceDiff's training crops: landmarks of crops 96 px wide, 8 of 112 px to the left",
    )
    pyramid_factor: float = Field(0.709, gt=0.3, lt=0.95, description="ratio of neighboring image scales")


class MTCNNAligner(Aligner):
    """facenet-pytorch's MTCNN on RGB images; the largest face is warped from the original pixels."""

    Settings: ClassVar[type[Settings]] = MTCNNSettings
    license = License(
        "MIT (facenet-pytorch); its weights were trained on WIDER FACE and CelebA",
        "https://github.com/timesler/facenet-pytorch/blob/master/LICENSE.md",
        "unknown",
    )

    def __init__(self, settings: MTCNNSettings | None = None) -> None:
        super().__init__(settings)
        self._networks: Any = None

    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        """Detect and warp; see :class:`harness.components.Aligner`."""
        count = len(batch)
        landmarks = np.full((count, 5, 2), np.nan, dtype=np.float32)
        boxes = np.full((count, 4), np.nan, dtype=np.float32)
        scores = np.full(count, np.nan, dtype=np.float32)
        reasons: list[str | None] = [NO_FACE] * count
        for start in range(0, count, _CHUNK):
            faces = self._detect(batch.images[start : start + _CHUNK], run.device)
            for row, face in enumerate(faces, start):
                if face is not None:
                    landmarks[row], boxes[row], scores[row] = face
                    reasons[row] = None
        points = reference_landmarks(crop.size_px, crop.view)
        if self.settings.reference_quirks:
            points[:, 0] -= NARROW_SHIFT_PX * crop.size_px / REFERENCE_SIZE_PX
        matrices = similarity(landmarks, points)  # all-zero where there is no face
        return AlignedBatch(warp(batch.images, matrices, crop.size_px), reasons, landmarks, boxes, scores)

    def _detect(self, images: Images, device: str) -> list[tuple[Any, Any, float] | None]:
        """The largest face of each image: landmarks [5, 2], box [4] and score, in pixels of the input."""
        x, (scale_x, scale_y) = self._enlarge(images)
        found = self._cascade(x, device)
        faces: list[tuple[Any, Any, float] | None] = []
        for boxes, points in found:
            if len(boxes) == 0:
                faces.append(None)
                continue
            largest = int(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).argmax())
            scale = np.array([scale_x, scale_y])
            box = (boxes[largest, :4].reshape(2, 2) + 0.5) / scale - 0.5  # pixel centers at integers
            landmarks = np.round(((points[largest] + 0.5) / scale - 0.5) / _GRID_PX) * _GRID_PX
            faces.append((landmarks, box.ravel(), float(boxes[largest, 4])))
        return faces

    def _enlarge(self, images: Images) -> tuple[torch.Tensor, tuple[float, float]]:
        """Float [B, 3, H', W'] with a shorter side of at least ``detect_px``, and H' or W' per input pixel (x, y)."""
        import torch
        from torch.nn import functional as F

        x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().contiguous()
        height, width = images.shape[1:3]
        factor = self.settings.detect_px / min(height, width)
        if factor <= 1:
            return x, (1.0, 1.0)
        size = (round(height * factor), round(width * factor))
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return x, (size[1] / width, size[0] / height)

    def _cascade(self, x: torch.Tensor, device: str) -> list[tuple[Any, Any]]:
        """Boxes [F, 5] (the last column is the score) and points [F, 5, 2] of all F faces of each image."""
        import torch

        try:
            with torch.inference_mode():
                return self._run_networks(x, device)
        except (RuntimeError, IndexError) as error:
            if not any(text in str(error) for text in _LIBRARY_FAULTS):
                raise
            if len(x) == 1:
                return [(np.zeros((0, 5)), np.zeros((0, 5, 2)))]
            return [self._cascade(image[None], device)[0] for image in x]

    def _run_networks(self, x: torch.Tensor, device: str) -> list[tuple[Any, Any]]:
        import torch
        from facenet_pytorch.models.utils.detect_face import detect_face

        networks, settings = self._load(device), self.settings
        thresholds = [settings.proposal_threshold, settings.refine_threshold, settings.output_threshold]
        min_face_px = max(20.0, settings.min_face * min(x.shape[-2:]))
        boxes, points = detect_face(
            x.to(device).permute(0, 2, 3, 1),  # a view: the library permutes back, and crops of [3, H, W] are fast
            min_face_px,
            networks.pnet,
            networks.rnet,
            networks.onet,
            thresholds,
            settings.pyramid_factor,
            torch.device(device),
        )
        return [
            (np.asarray(b, dtype=np.float64).reshape(-1, 5), np.asarray(p, dtype=np.float64).reshape(-1, 5, 2))
            for b, p in zip(boxes, points, strict=True)
        ]

    def _load(self, device: str) -> Any:
        if self._networks is None:
            import torch
            from facenet_pytorch import MTCNN

            # channels_last: max pooling, two fifths of the time otherwise, becomes cheap
            self._networks = MTCNN().eval().to(torch.device(device), memory_format=torch.channels_last)
        return self._networks
