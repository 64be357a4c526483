"""``onnx``: a recognizer that somebody exported as ONNX, with one picture in and one embedding out.

Letters: B images, S side of the crop in pixels, D embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from harness.components.base import Crop, License, Settings
from harness.components.recognizer import Recognizer
from harness.errors import DataError, InputError, StageError

if TYPE_CHECKING:
    import torch

MODEL = "onnx"  # the tensor that holds the file, uint8 [bytes]
_WARNINGS_OFF = 3  # onnxruntime's level "error"; published files have pages of harmless warnings


class ONNXSettings(Settings):
    """How the model wants its pixels: (value - mean) * scale, of values from 0 to 255.

    The defaults give -1 to 1. The order of colors and the crop are those of the weights file.
    """

    mean: tuple[float, float, float] = Field(
        default=(127.5, 127.5, 127.5),
        description="subtracted from each color, 0 to 255, in the order of the crop's colors",
    )
    scale: float = Field(default=1 / 127.5, gt=0, description="factor of what is left; 1 keeps 0 to 255")


class ONNXRecognizer(Recognizer):
    """A model of any architecture, run by onnxruntime; it conditions no fit, since it has no gradient.

    The model's first input is the picture, float32 [B, 3, S, S] or [B, S, S, 3], and its first output the embedding. A
    model exported for one picture at a time gets them one by one.
    """

    Settings: ClassVar[type[Settings]] = ONNXSettings
    license = License("Apache-2.0 (this component; a model has its own terms)", commercial_use="yes")

    def __init__(self, settings: ONNXSettings | None = None, takes: Crop | None = None) -> None:
        super().__init__(settings, takes)
        self._session: Any = None
        self._model: dict[str, torch.Tensor] = {}

    @property
    def width(self) -> int:
        """D, the width of an embedding."""
        if not hasattr(self, "_width"):
            import numpy as np

            size = self.takes.size_px
            shape = self._embed(np.zeros((1, 3, size, size), np.float32)).shape
            if len(shape) != 2:
                raise DataError(f"the ONNX model gives values {list(shape)}, expected an embedding [B, D]")
            self._width = int(shape[1])
        return self._width

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Float [B, 3, S, S] in [-1, 1], colors in the crop's order, to embeddings [B, D].

        Raises:
            StageError: a gradient is wanted.
        """
        import torch

        if x.requires_grad and torch.is_grad_enabled():
            raise StageError("an onnx recognizer has no gradient, which this fit needs; give it one of another kind")
        mean = torch.tensor(self.settings.mean)[:, None, None]
        values = ((x.detach().cpu().float() + 1.0) * 127.5 - mean) * self.settings.scale
        return torch.from_numpy(self._embed(values.numpy()))

    def state(self) -> dict[str, torch.Tensor]:
        """The file, as one tensor of bytes."""
        return self._model

    def load(self, tensors: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        """Take the file.

        Raises:
            DataError: it is no ONNX model, or one with another picture than the crop.
            InputError: onnxruntime is not installed.
        """
        if set(tensors) != {MODEL}:
            raise DataError(
                f"onnx weights: expected the bytes of an .onnx file, found {', '.join(sorted(tensors)[:5])}"
            )
        self._session = _open(tensors[MODEL].numpy().tobytes(), device)
        self._model = dict(tensors)
        self._check_input()

    def _check_input(self) -> None:
        picture = self._session.get_inputs()[0]
        shape = picture.shape  # numbers, or names of sides that are free
        self._last = len(shape) == 4 and shape[3] == 3  # colors last
        sides = shape[1:3] if self._last else shape[2:]
        colors = shape[3 if self._last else 1] if len(shape) == 4 else None
        size = self.takes.size_px
        fits = all(side == size for side in sides if isinstance(side, int))
        if picture.type != "tensor(float)" or colors != 3 or not fits:
            got = f"{picture.type} {shape}"
            raise DataError(f"onnx model: its input is {got}, expected tensor(float) [B, 3, {size}, {size}]")
        self._alone = shape[0] == 1

    def _embed(self, values: Any) -> Any:
        """Values [B, 3, S, S] to embeddings [B, D], both float32 arrays."""
        import numpy as np

        if self._last:
            values = values.transpose(0, 2, 3, 1)
        parts = np.split(values, len(values)) if self._alone else [values]
        return np.concatenate([self._run(np.ascontiguousarray(part)) for part in parts])

    def _run(self, values: Any) -> Any:
        # bound by name: weights that a model lists as inputs, though it holds them, need not be given then
        binding, output = self._session.io_binding(), self._session.get_outputs()[0].name
        binding.bind_cpu_input(self._session.get_inputs()[0].name, values)
        binding.bind_output(output)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # whatever the runtime raises
            raise DataError(f"onnx model: it cannot be run ({_line(error)})") from error
        return binding.copy_outputs_to_cpu()[0]


def _open(data: bytes, device: str) -> Any:
    """A session of onnxruntime with as many threads as torch has."""
    try:
        import onnxruntime
    except ImportError as error:
        text = "recognizers of kind onnx need onnxruntime; pip install 'facegen-harness[onnx]'"
        raise InputError(text) from error
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _WARNINGS_OFF
    options.intra_op_num_threads = options.inter_op_num_threads = torch.get_num_threads()
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    known = onnxruntime.get_available_providers()
    providers = [name for name in (*wanted, "CPUExecutionProvider") if name in known]
    try:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # the runtime has a type of its own for every kind of fault
        raise DataError(f"not a model that onnxruntime can open ({_line(error)})") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
