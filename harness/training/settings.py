"""Settings of the trainer ``margin``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.components.base import Settings

GAINS: Literal["flip+gains"] = "flip+gains"  # the augmentation that ``flip`` and ``color_jitter`` set


class MarginSettings(Settings):
    """Settings of ``margin``.

    The defaults are the recipe ``small-clean``: 150 people x 12 images at 32 px take 35 seconds of one CPU thread. They
    were chosen on the face world and its prototype from single runs; two seeds of one setting differ by a point.
    """

    backbone: str = Field("small-cnn", description="name of the recognizer that is trained")
    backbone_settings: dict[str, Any] = Field(default_factory=dict, description="its settings; default: its own")
    head: str = Field("cosface", description="name of the head, which puts the margin into the loss")
    head_settings: dict[str, Any] = Field(default_factory=dict, description="its further settings; default: its own")
    scale: float = Field(16.0, gt=0, description="s of the head; arXiv 1801.09414: 64; ours: less for fewer people")
    margin: float = Field(
        0.2, ge=0, lt=2, description="m of the head, in cosines or radians; arXiv 1801.09414 uses 0.35 cosines"
    )
    epochs: int = Field(12, ge=1, description="passes over the dataset, at most")
    batch_size: int = Field(64, ge=2, description="images a step; the incomplete last batch of an epoch is dropped")
    lr: float = Field(0.05, gt=0, description="peak learning rate of SGD for this batch size")
    schedule: Literal["cosine", "linear", "poly", "steps", "plateau"] = Field(
        "cosine",
        description="decay after warm-up; poly: power 2; steps: a tenth from each epoch of `steps` on; plateau: a "
        "tenth after 5 epochs without a better validation, the end after 6",
    )
    steps: list[Annotated[int, Field(ge=1)]] = Field(
        default_factory=list, description="epochs, counted from 0, from which `schedule: steps` divides lr by 10"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="fraction of all steps in which lr rises linearly from 0")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; ArcFace reference: 0.9")
    weight_decay: float = Field(5e-4, ge=0, description="on all weights, the class matrix included; ArcFace reference")
    clip_norm: float = Field(5.0, gt=0, description="L2 bound of the gradients, backbone and class matrix separately")
    augmentation: Literal["flip+gains", "none", "flip", "flip+randaugment-4-16", "flip+erasing", "cvlface"] = Field(
        GAINS, description=f"of every image; {GAINS} is set by `flip` and `color_jitter`, the others are published"
    )
    flip: float = Field(0.5, ge=0, le=1, description=f"of {GAINS}: probability of a horizontal flip")
    color_jitter: float = Field(
        0.2, ge=0, lt=1, description=f"of {GAINS}: each color and the whole image are scaled by 1 +- this"
    )
    select: Literal["last", "held-out", "benchmarks"] = Field(
        "last",
        description="which epoch's weights are taken: the last, or the best on identities kept out of the dataset, or "
        "the best on the suite's benchmarks (for that the suite's trainer needs `protocols` and `consent`)",
    )
    held_out: float = Field(0.05, gt=0, lt=0.5, description="of `select: held-out`: share of identities kept out")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the backbone's arithmetic (autocast)")
    channels_last: bool = Field(False, description="images and convolutions with the channels last in memory")
    compile: bool = Field(False, description="compile the backbone: other rounding")
    devices: int = Field(1, ge=1, le=64, description="processes that share each batch, one a GPU")
    save: Literal["float32", "float16"] = Field("float32", description="trained weights are rounded to this precision")

    @model_validator(mode="after")
    def _together(self) -> MarginSettings:
        if (self.schedule == "steps") != bool(self.steps):
            raise ValueError(f"schedule is {self.schedule} and steps {self.steps}; they are given together")
        if self.steps != sorted(set(self.steps)):
            raise ValueError(f"steps is {self.steps}, expected epochs in rising order")
        if self.schedule == "plateau" and self.select == "last":
            raise ValueError("schedule plateau follows a validation; set select to held-out or benchmarks")
        if self.augmentation != GAINS and {"flip", "color_jitter"} & _changed(self):
            raise ValueError(f"flip and color_jitter belong to augmentation {GAINS}, not to {self.augmentation}")
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size {self.batch_size} cannot be shared by {self.devices} devices")
        return self


def _changed(settings: MarginSettings) -> set[str]:
    """The names of settings that are not at their defaults."""
    fields = type(settings).model_fields
    return {name for name, field in fields.items() if getattr(settings, name) != field.get_default()}
