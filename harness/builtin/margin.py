"""``margin``: trains a recognizer with the CosFace loss and one fixed recipe.

Everything random is a function of (run.seed, step): initialization, data order, augmentation and dropout. A training
that was stopped therefore goes on from its checkpoint to the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from harness.components.base import APACHE, Settings
from harness.components.recognizer import Recognizer
from harness.components.trainer import Trainer
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet


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


class MarginTrainer(Trainer):
    """CosFace (arXiv 1801.09414) with SGD, a fixed schedule and the last epoch's weights."""

    Settings: ClassVar[type[Settings]] = MarginSettings
    license = APACHE
    code = (
        "harness.builtin.margin",
        "harness.builtin.margin_loop",
        "harness.builtin.small_cnn",
        "harness.builtin.small_cnn_net",
        "harness.builtin.iresnet",
        "harness.builtin.iresnet_net",
    )
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small-clean": {},  # for about 2,000 images
        # for 1,000 people x 20 images; there, scale 24 gave 88.7 instead of 95.5 percent after four epochs (one seed)
        "demo": {"epochs": 8, "dtype": "bfloat16", "save": "float16"},
        "tiny": {"epochs": 1, "batch_size": 16},
    }

    def train(self, dataset: FaceSet, run: Run, validate: Callable[[Recognizer], float] | None = None) -> Recognizer:
        """Train on the kept faces of ``dataset``; the recognizer takes the dataset's crop.

        Args:
            validate: unused; the recipe is fixed.

        Raises:
            StageError: fewer than two identities or images, or the loss is not finite.
            Stopped: the user asked to stop; a checkpoint is kept.
        """
        from harness.builtin.margin_loop import Loop

        return Loop(self.settings, dataset, run, backbone_class(self.settings.backbone)).train()


def backbone_class(name: str) -> type[Recognizer]:
    """The class of a recognizer by its registered name.

    Raises:
        InputError: the name is unknown, or is not a recognizer.
    """
    from harness.plugins import registry

    found = registry().load("recognizers", name)
    if not issubclass(found, Recognizer):
        raise InputError(f"margin trainer: backbone {name!r} is {found.__name__}, expected a recognizer")
    return found


def backbone_settings(cls: type[Recognizer], values: Mapping[str, Any]) -> Any:
    """Validate a backbone's settings.

    Raises:
        InputError: a value is wrong; the message names it.
    """
    try:
        return cls.Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"margin trainer: backbone_settings.{where}: {first['msg']}") from error
