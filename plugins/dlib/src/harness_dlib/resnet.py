"""What dlib's face recognition network consists of, and its weights read from dlib's own file.

The file lists the layers from the picture to the embedding, each with its settings; before them it has one mark per
layer, in the opposite order: 2 for a layer that computes (3 for the first), 1 for one that only names a place, the
beginning and the end of a shortcut. All of it has to be as this module says, value by value, or the file is refused.

Source: the network of dlib's example ``dnn_face_recognition_ex.cpp`` as documented there; ResNet, arXiv 1512.03385.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.arrays import Floats
from harness_dlib.values import Values

SIZE_PX = 150  # side of the chip
WIDTH = 128  # D
# What the input layer subtracts from red, green and blue (0 to 255); it then divides by 256. The file has them too.
MEANS = (122.782, 117.001, 104.298)
SPREAD = 256.0
STEM = (32, 7)  # filters and side of the first convolution, with stride 2 and without padding
# The residual blocks: filters, and whether the block halves the picture.
BLOCKS = (
    *[(32, False)] * 3,
    *[(64, True), *[(64, False)] * 3],
    *[(128, True), *[(128, False)] * 2],
    *[(256, True), *[(256, False)] * 2],
    (256, True),
)
_EMPTY = (0, 0, 0, 0)


@dataclass(frozen=True)
class Convolution:
    """One convolution with the scale and shift of its channels after it; sides in pixels."""

    name: str
    filters: int
    channels: int
    side: int
    stride: int
    padding: int


def convolutions(number: int) -> tuple[Convolution, Convolution]:
    """The two of a block, numbered from 0."""
    filters, halves = BLOCKS[number]
    before = STEM[0] if number == 0 else BLOCKS[number - 1][0]
    stride, padding = (2, 0) if halves else (1, 1)
    return (
        Convolution(f"blocks.{number}.first", filters, before, 3, stride, padding),
        Convolution(f"blocks.{number}.second", filters, filters, 3, 1, 1),
    )


def read_resnet(path: Path) -> dict[str, Floats]:
    """The network's tensors by the names of :class:`harness_dlib.network.ResNet`, float32.

    Args:
        path: ``dlib_face_recognition_resnet_model_v1.dat``.

    Raises:
        DataError: the file is damaged, or another network's; the message has the place.
    """
    values = Values(path)
    values.expect(1, values.integer(), "the version of the file")
    values.expect("loss_metric_2", values.text(), "the loss")
    values.real(), values.real()  # margin and threshold of the training loss
    marks = _marks()
    values.expect(marks, values.integers(len(marks)), "the order of layers and shortcuts")
    _read_input(values)
    tensors = _read_layers(values)
    values.end()
    return tensors


def _marks() -> tuple[int, ...]:
    """From the embedding to the picture."""
    stem = [3, 2, 2, 2]  # convolution, affine, relu, max pool
    marks = [*stem]
    for _, halves in BLOCKS:
        inner = [2, 2, 2, 2, 2]  # convolution, affine, relu, convolution, affine
        shortcut = [1, 1, 2] if halves else []  # end of the block, back to its beginning, average pool
        marks += [1, *inner, *shortcut, 2, 2]  # beginning of the block, ..., add, relu
    return (*reversed([*marks, 2, 2]),)  # average pool, full connection


def _read_input(values: Values) -> None:
    values.expect("input_rgb_image_sized", values.text(), "the input layer")
    for color, mean in zip(("red", "green", "blue"), MEANS, strict=True):
        values.expect(mean, round(values.real(), 3), f"the mean of {color}")
    values.expect((SIZE_PX, SIZE_PX), values.integers(2), "the size of the picture")


def _read_layers(values: Values) -> dict[str, Floats]:
    filters, side = STEM
    tensors = dict(_convolution(values, Convolution("stem", filters, 3, side, 2, 0), first=True))
    _plain(values, "relu_")
    _pool(values, "max_pool_2", (3, 3, 2, 2, 0, 0))
    for number, (_, halves) in enumerate(BLOCKS):
        first, second = convolutions(number)
        tensors |= _convolution(values, first)
        _plain(values, "relu_")
        tensors |= _convolution(values, second)
        if halves:
            _pool(values, "avg_pool_2", (2, 2, 2, 2, 0, 0))
        _plain(values, "add_prev_")
        _plain(values, "relu_")
    _pool(values, "avg_pool_2", (0, 0, 1, 1, 0, 0))  # the whole of each map
    tensors["embedding.weight"] = _full(values)
    return tensors


def _convolution(values: Values, layer: Convolution, first: bool = False) -> Iterator[tuple[str, Floats]]:
    """A convolution and the affine layer after it."""
    values.expect("con_4", values.text(), "the layer")
    size = layer.filters * layer.channels * layer.side**2
    parameters = _parameters(values, size + layer.filters)
    geometry = (layer.filters, layer.side, layer.side, layer.stride, layer.stride, layer.padding, layer.padding)
    values.expect(geometry, values.integers(7), f"filters, sides, strides and paddings of {layer.name}")
    shape = (layer.filters, layer.channels, layer.side, layer.side)
    _expect_part(values, shape)
    _expect_part(values, (1, layer.filters, 1, 1))
    _rates(values, 4)
    _end_layer(values)
    if first:
        values.expect(1, values.integer(), "the number of samples per picture")
    yield f"{layer.name}.conv.weight", parameters[:size].reshape(shape)
    yield f"{layer.name}.conv.bias", parameters[size:]
    values.expect("affine_", values.text(), "the layer")
    parameters = _parameters(values, 2 * layer.filters)
    _expect_part(values, (1, layer.filters, 1, 1))
    _expect_part(values, (1, layer.filters, 1, 1))
    values.expect(0, values.integer(), "the mode of the affine layer")  # one scale and shift per channel
    _end_layer(values)
    yield f"{layer.name}.scale", parameters[: layer.filters]
    yield f"{layer.name}.shift", parameters[layer.filters :]


def _full(values: Values) -> Floats:
    """The full connection at the end, float32 [D, C]."""
    values.expect("fc_2", values.text(), "the layer")
    channels = BLOCKS[-1][0]
    values.expect((WIDTH, channels), values.integers(2), "outputs and inputs of the full connection")
    weight = values.tensor()
    values.expect((channels, WIDTH, 1, 1), weight.shape, "the shape of the full connection")
    _expect_part(values, (channels, WIDTH, 1, 1))
    _expect_part(values, _EMPTY)  # no bias
    values.expect(1, values.integer(), "the mode of the full connection")
    _rates(values, 4)
    _end_layer(values)
    transposed: Floats = weight[:, :, 0, 0].T
    return transposed


def _parameters(values: Values, count: int) -> Floats:
    """The parameters of a layer in one line."""
    parameters = values.tensor()
    values.expect(count, parameters.size, "the number of a layer's parameters")
    return parameters.reshape(-1)


def _plain(values: Values, name: str) -> None:
    """A layer without parameters."""
    values.expect(name, values.text(), "the layer")
    _end_layer(values)


def _pool(values: Values, name: str, geometry: tuple[int, ...]) -> None:
    """A pooling layer: rows, columns, strides and paddings."""
    values.expect(name, values.text(), "the layer")
    values.expect(geometry, values.integers(6), f"sides, strides and paddings of {name}")
    _end_layer(values)


def _expect_part(values: Values, shape: tuple[int, ...]) -> None:
    """Which part of a layer's parameters is what: version and shape."""
    values.expect((1, *shape), values.integers(5), "the shape of a part of a layer's parameters")


def _rates(values: Values, count: int) -> None:
    """Multipliers of learning rate and weight decay."""
    for _ in range(count):
        values.real()


def _end_layer(values: Values) -> None:
    """What every layer ends with: three states, and the last batch's tensors, which a published file leaves empty."""
    for _ in range(3):
        values.truth()
    for _ in range(3):
        values.expect(_EMPTY, values.tensor().shape, "the shape of a tensor of the last batch")
