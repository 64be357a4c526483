"""``mtcnn``: finds the face with MTCNN and warps it to the crop.

Letters: B images, H, W pixels of the input, S side of the crop in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from harness.arrays import Doubles, Images
from harness.components.aligner import Aligner
from harness.components.base import Crop, License, Settings
from harness.components.images import AlignedBatch, ImageBatch
from harness.faces.choice import Choice, choose_face
from harness.faces.crops import NARROW_SHIFT_PX, REFERENCE_SIZE_PX, reference_landmarks
from harness.faces.warp import similarity, warp

if TYPE_CHECKING:
    import torch

    from harness.components.run import Run

NO_FACE = "no face found"
SEVERAL = "several faces found"
# Landmarks are rounded to this many px, so that rounding errors of the networks, which depend on how many images are
# detected together (1e-5 px), hardly ever reach the pixels of a crop.
_GRID_PX = 2.0**-10
# What facenet-pytorch 2.5.3 raises when no candidate of a batch survives a stage, and when one lies outside its image.
_LIBRARY_FAULTS = ("expected a non-empty list", "The shape of the mask")
_CHUNK = 16  # images detected together; measured on one CPU thread: 16 is twice as fast as 1, and 64 no faster
_CHUNK_PIXELS = 1 << 21  # of their largest scale, of which P-Net keeps ten channels: 100 MB
_P_NET_PX = 12  # side of the faces that P-Net sees at each scale
_LIBRARY_MIN_PX = 20.0  # default of facenet-pytorch
MIN_FACE = 0.3


class MTCNNSettings(Settings):
    """Settings of ``mtcnn``; thresholds and pyramid factor are those of arXiv 1604.02878 and facenet-pytorch 2.5.3."""

    detect_px: int = Field(
        160, ge=48, le=2048, description="images whose shorter side has fewer pixels are enlarged to this for detection"
    )
    min_face: float = Field(
        MIN_FACE,
        gt=0,
        le=1,
        description="smallest face that is looked for, as a fraction of the shorter side (at least 20 px, where the "
        "library's default lies); the cost of detection grows as this falls",
    )
    min_face_px: float | None = Field(
        None,
        ge=1,
        description="the same in pixels of the picture, whatever it is enlarged to, and down to 1; null: by min_face. "
        "On pictures of 128 px NegFaceDiff: 60, IDiff-Face: 1",
    )
    face: Choice = Field(
        "centered",
        description="which of several faces is taken: centered, the greatest area less twice the squared distance of "
        "its middle from the picture's (FaceNet's rule); largest (NegFaceDiff's); nearest to the middle "
        "(IDiff-Face's); first, the surest; refuse: none",
    )
    bgr: bool = Field(False, description="show the detector blue for red, as NegFaceDiff did; crops keep their colors")
    template: Literal["arcface", "narrow"] = Field(
        "arcface",
        description="where the landmarks go: narrow is that of crops 96 px wide, 8 of 112 px to the left, as in "
        "NegFaceDiff's training crops",
    )
    proposal_threshold: float = Field(0.6, gt=0, lt=1, description="least confidence of the proposal network, P-Net")
    refine_threshold: float = Field(0.7, gt=0, lt=1, description="least confidence of the refinement network, R-Net")
    output_threshold: float = Field(0.7, gt=0, lt=1, description="least confidence of the output network, O-Net")
    pyramid_factor: float = Field(0.709, gt=0.3, lt=0.95, description="ratio of neighboring image scales")

    @model_validator(mode="after")
    def _one_least_face(self) -> Self:
        if self.min_face_px is not None and self.min_face != MIN_FACE:
            raise ValueError("min_face: has no effect with min_face_px; leave one out")
        return self


@dataclass(frozen=True)
class _Face:
    """A face in pixels of the picture: landmarks [5, 2], box [4], and how sure the detector is."""

    landmarks: Doubles
    box: Doubles
    score: float


class MTCNNAligner(Aligner):
    """facenet-pytorch's MTCNN; of several faces one is chosen, and warped from the original pixels."""

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
        found = np.zeros(count, dtype=np.int64)
        reasons: list[str | None] = [NO_FACE] * count
        step = self._chunk(batch.images)
        for start in range(0, count, step):
            for row, (faces, face) in enumerate(self._detect(batch.images[start : start + step], run.device), start):
                found[row] = faces
                reasons[row] = None if face else SEVERAL if faces else NO_FACE
                if face:
                    landmarks[row], boxes[row], scores[row] = face.landmarks, face.box, face.score
        points = reference_landmarks(crop.size_px, crop.view)
        if self.settings.template == "narrow":
            points[:, 0] -= NARROW_SHIFT_PX * crop.size_px / REFERENCE_SIZE_PX
        matrices = similarity(landmarks, points)  # all-zero where there is no face
        return AlignedBatch(warp(batch.images, matrices, crop.size_px), reasons, landmarks, boxes, scores, found)

    def _chunk(self, images: Images) -> int:
        """How many images are detected together: fewer where small faces are looked for in large pictures."""
        height, width = self._detection_size(images)
        scale = _P_NET_PX / self._least_px(images)
        return max(1, min(_CHUNK, int(_CHUNK_PIXELS / (height * width * scale**2))))

    def _detect(self, images: Images, device: str) -> list[tuple[int, _Face | None]]:
        """How many faces each image shows, and the one that is chosen."""
        height, width = images.shape[1:3]
        size = self._detection_size(images)
        scale = np.array([size[1] / width, size[0] / height])
        found: list[tuple[int, _Face | None]] = []
        for boxes, points in self._cascade(self._prepare(images), self._least_px(images), device):
            corners = (boxes[:, :4].reshape(-1, 2, 2) + 0.5) / scale - 0.5  # pixel centers at integers
            chosen = choose_face(corners.reshape(-1, 4), width, height, self.settings.face) if len(boxes) else None
            face = None
            if chosen is not None:
                landmarks = np.round(((points[chosen] + 0.5) / scale - 0.5) / _GRID_PX) * _GRID_PX
                face = _Face(landmarks, corners[chosen].ravel(), float(boxes[chosen, 4]))
            found.append((len(boxes), face))
        return found

    def _detection_size(self, images: Images) -> tuple[int, int]:
        """Height and width at which faces are looked for: a shorter side of at least ``detect_px``."""
        height, width = images.shape[1:3]
        factor = max(1.0, self.settings.detect_px / min(height, width))
        return round(height * factor), round(width * factor)

    def _least_px(self, images: Images) -> float:
        """The smallest face that is looked for, in pixels of the detection's size."""
        settings, side = self.settings, min(self._detection_size(images))
        if settings.min_face_px is None:
            return max(_LIBRARY_MIN_PX, float(settings.min_face * side))
        return float(settings.min_face_px * side / min(images.shape[1:3]))

    def _prepare(self, images: Images) -> torch.Tensor:
        """Float [B, 3, H', W'] as the detector is shown them."""
        import torch
        from torch.nn import functional as F

        x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().contiguous()
        size = self._detection_size(images)
        if size != images.shape[1:3]:
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return x.flip(1) if self.settings.bgr else x

    def _cascade(self, x: torch.Tensor, least_px: float, device: str) -> list[tuple[Any, Any]]:
        """Boxes [F, 5] (the last column is the score) and points [F, 5, 2] of all F faces of each image."""
        import torch

        try:
            with torch.inference_mode():
                return self._run_networks(x, least_px, device)
        except (RuntimeError, IndexError) as error:
            if not any(text in str(error) for text in _LIBRARY_FAULTS):
                raise
            if len(x) == 1:
                return [(np.zeros((0, 5)), np.zeros((0, 5, 2)))]
            return [self._cascade(image[None], least_px, device)[0] for image in x]

    def _run_networks(self, x: torch.Tensor, least_px: float, device: str) -> list[tuple[Any, Any]]:
        import torch
        from facenet_pytorch.models.utils.detect_face import detect_face

        networks, settings = self._load(device), self.settings
        thresholds = [settings.proposal_threshold, settings.refine_threshold, settings.output_threshold]
        boxes, points = detect_face(
            x.to(device).permute(0, 2, 3, 1),  # a view: the library permutes back, and crops of [3, H, W] are fast
            least_px,
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
