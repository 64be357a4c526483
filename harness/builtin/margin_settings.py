"""Settings of the trainer ``margin``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.components.base import Settings


class MarginSettings(Settings):
    """Settings of ``margin``.

    The defaults are the recipe ``small-clean``: 150 people x 12 images at 32 px take 35 seconds of one CPU thread. They
    were chosen on the face world and its prototype from single runs; two seeds of one setting differ by a point.
    """

    backbone: str = Field("small-cnn", description="name of the recognizer that is trained")
    backbone_settings: dict[str, Any] = Field(default_factory=dict, description="its settings; default: its own")
    scale: float = Field(16.0, gt=0, description="s of CosFace; arXiv 1801.09414: 64; ours: less for fewer people")
    margin: float = Field(0.2, ge=0, lt=2, description="m of CosFace, in cosines; arXiv 1801.09414 uses 0.35")
    epochs: int = Field(12, ge=1, description="passes over the dataset")
    batch_size: int = Field(64, ge=2, description="images a step; the incomplete last batch of an epoch is dropped")
    lr: float = Field(0.05, gt=0, description="peak learning rate of SGD for this batch size")
    schedule: Literal["cosine", "linear", "poly"] = Field("cosine", description="decay after warm-up; poly: power 2")
    warmup: float = Field(0.1, ge=0, lt=1, description="fraction of all steps in which lr rises linearly from 0")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; ArcFace reference: 0.9")
    weight_decay: float = Field(5e-4, ge=0, description="on all weights, the class matrix included; ArcFace reference")
    clip_norm: float = Field(5.0, gt=0, description="L2 bound of the gradients, backbone and class matrix separately")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    color_jitter: float = Field(0.2, ge=0, lt=1, description="each color and the whole image are scaled by 1 +- this")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the backbone's arithmetic (autocast)")
    save: Literal["float32", "float16"] = Field("float32", description="trained weights are rounded to this precision")
