"""Checks of what looks at raw pictures: aligners, and predictors of attributes.

Letters: B images of a batch, S crop size in pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.arrays import Floats
from harness.components import AlignedBatch, Aligner, AttributePredictor, Crop, ImageBatch, Run
from harness.testing.component import check_component, check_own_code, left_alone
from harness.testing.images import batch_rows, check_same
from harness.testing.rules import calling, name_of, repeated, require

TINT = 0.5  # by which one color is dimmed to see whether it keeps its place


def check_aligner(aligner: Aligner, batch: ImageBatch, size_px: int = 32, levels: int = 0) -> None:
    """Check an aligner.

    Args:
        aligner: the aligner.
        batch: a few images for it, with landmarks if it wants them; not all of them need to show a face.
        size_px: S, side of the crop.
        levels: gray levels by which a crop may differ when its image comes in other company.

    Raises:
        AssertionError: with the rule that is broken.
    """
    who, crop = name_of(aligner), Crop("arcface", size_px)
    check_component(aligner)
    check_own_code(aligner)
    with left_alone(who, images=batch.images):
        whole = repeated(lambda: _aligned(aligner, batch, crop), _crops_differ, who)
    orders = {"in reverse order": np.arange(len(batch))[::-1]}
    orders |= {f"image {row} alone": np.array([row]) for row in range(min(4, len(batch)))}
    for label, rows in orders.items():
        part = _aligned(aligner, batch_rows(batch, rows), crop)
        reasons = [whole.reasons[row] for row in rows]
        text = f"{who}, {label}: reasons {part.reasons}, in the whole batch {reasons}"
        require(part.reasons == reasons, "batch-independent", text)
        text = "a crop may depend on its own image only"
        check_same(whole.images[rows], part.images, f"{who}, {label}", levels, text)
    faceless = ImageBatch(batch.identities[:1], batch.samples[:1], np.zeros_like(batch.images[:1]))
    _aligned(aligner, faceless, crop)
    _check_colors(aligner, batch, whole, crop)


def _check_colors(aligner: Aligner, batch: ImageBatch, whole: AlignedBatch, crop: Crop) -> None:
    """Crops of pictures with half of their blue have half of their blue, and all of their red."""
    dimmed = batch.images.copy()
    dimmed[..., 2] = (dimmed[..., 2] * TINT).round()
    made = _aligned(aligner, replace(batch, images=dimmed, encoded=()), crop)
    found = [row for row in range(len(batch)) if whole.reasons[row] is None and made.reasons[row] is None]
    before, after = (each.images[found].reshape(-1, 3).astype(np.float64).sum(axis=0) for each in (whole, made))
    if not found or before[0] == 0 or before[2] == 0:
        return  # nothing to see it by
    red, blue = after[[0, 2]] / before[[0, 2]]
    text = f"{name_of(aligner)}: pictures with half of their blue gave crops with {blue:.0%} of it and {red:.0%} of red"
    middle = (1 + TINT) / 2
    require(blue < middle < red, "rgb", f"{text}; crops are RGB, as the pictures are (OpenCV's functions take BGR)")


def _aligned(aligner: Aligner, batch: ImageBatch, crop: Crop) -> AlignedBatch:
    """Align a batch and check the shapes of what comes back."""
    who, count = name_of(aligner), len(batch)
    with calling(who, f"align {count} images"):
        made = aligner.align(batch, crop, Run(0))
    shape = (count, crop.size_px, crop.size_px, 3)
    got = f"{who} gave crops {made.images.dtype} {list(made.images.shape)}, expected uint8 {list(shape)}"
    require(made.images.dtype == np.uint8 and made.images.shape == shape, "pixels", got)
    text = f"{who} gave {len(made.reasons)} reasons for {count} images"
    require(len(made.reasons) == count, "count", text)
    named = {"landmarks": (made.landmarks, (count, 5, 2)), "boxes": (made.boxes, (count, 4))}
    for name, (values, expected) in {**named, "scores": (made.scores, (count,))}.items():
        text = f"{who} gave {name} {list(values.shape)}, expected {list(expected)}"
        require(values.shape == expected, "shapes", text)
    if made.faces is not None:
        got = f"{made.faces.dtype} {list(made.faces.shape)}"
        text = f"{who} gave faces {got}, expected int64 [{count}] or None"
        require(got == f"int64 [{count}]", "shapes", text)
    for row, reason in enumerate(made.reasons):
        text = f"{who} gave an empty reason; say why there is no face"
        require(reason is None or bool(reason.strip()), "reasons", text)
        text = f"{who} gave a crop of an image that failed; expected zeros"
        require(reason is None or not made.images[row].any(), "reasons", text)
    return made


def _crops_differ(first: AlignedBatch, second: AlignedBatch) -> str:
    if first.reasons != second.reasons:
        return "other reasons"
    return "" if np.array_equal(first.images, second.images) else "other crops"


def check_attribute_predictor(predictor: AttributePredictor, batch: ImageBatch, tolerance: float = 1e-3) -> None:
    """Check a predictor of attributes.

    Args:
        predictor: the predictor.
        batch: a few raw pictures for it, with landmarks if it wants them.
        tolerance: by which a value may differ when its image comes in other company, in the attribute's unit.

    Raises:
        AssertionError: with the rule that is broken.
    """
    who = name_of(predictor)
    check_component(predictor)
    check_own_code(predictor)
    require(bool(predictor.gives), "shapes", f"{who} gives nothing; set gives to the names of its attributes")
    with left_alone(who, images=batch.images):
        whole = repeated(lambda: _predicted(predictor, batch), _values_differ, who)
    for label, rows in {"in reverse order": np.arange(len(batch))[::-1], "image 0 alone": np.array([0])}.items():
        part = _predicted(predictor, batch_rows(batch, rows))
        for name, values in part.items():
            same = np.allclose(values, whole[name][rows], rtol=0, atol=tolerance, equal_nan=True)
            require(same, "batch-independent", f"{who}, {label}: {name} is another than in the whole batch")
    faceless = ImageBatch(batch.identities[:1], batch.samples[:1], np.zeros_like(batch.images[:1]))
    _predicted(predictor, faceless)


def _predicted(predictor: AttributePredictor, batch: ImageBatch) -> dict[str, Floats]:
    who = name_of(predictor)
    with calling(who, f"predict for {len(batch)} images"):
        made = dict(predictor.predict(batch, Run(0)))
    text = f"{who} gave {sorted(made)}, expected what it says that it gives: {sorted(predictor.gives)}"
    require(set(made) == set(predictor.gives), "shapes", text)
    for name, values in made.items():
        got = f"{values.dtype} {list(values.shape)}"
        text = f"{who} gave {name} as {got}, expected float32 [{len(batch)}]"
        require(got == f"float32 [{len(batch)}]", "shapes", text)
        text = f"{who} gave an infinite {name}; NaN says that it cannot tell"
        require(not np.isinf(values).any(), "finite", text)
    return made


def _values_differ(first: dict[str, Floats], second: dict[str, Floats]) -> str:
    return ", ".join(f"another {name}" for name in first if not np.array_equal(first[name], second[name], True))
