"""Recognizers that others trained.

Every name and shape must be the network's: a missing, extra or misshapen tensor is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.components.base import Crop
from harness.components.recognizer import Recognizer
from harness.errors import DataError, InputError, first_fault
from harness.foreign.checkpoints import Terms, origin, read_foreign
from harness.store.weights import WeightsInfo, write_weights


def build_recognizer(kind: str, cls: type[Recognizer], values: Mapping[str, Any], crop: Crop) -> Recognizer:
    """A recognizer from plain settings.

    Raises:
        InputError: a setting is wrong; the message names it.
    """
    from pydantic import ValidationError

    try:
        settings = cls.Settings.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(f"{kind}: {first_fault(error)}") from error
    return cls(settings, crop)


def import_recognizer(
    source: Path, out: Path, kind: str, recognizer: Recognizer, terms: Terms, entry: str = ""
) -> WeightsInfo:
    """Write the weights file of a recognizer.

    Args:
        source: the checkpoint.
        out: the weights file to write.
        kind: the registered name of the recognizer's architecture.
        recognizer: built with its settings and the crop that its weights take.

    Raises:
        DataError: the checkpoint cannot be read, or a tensor is missing, unexpected or misshapen.
    """
    try:
        recognizer.load(read_foreign(source, entry))
    except DataError as error:
        raise DataError(_at(source, error)) from error
    info = WeightsInfo(
        role="recognizer",
        kind=kind,
        settings=recognizer.settings.model_dump(mode="json"),
        view=recognizer.takes.view,
        size_px=recognizer.takes.size_px,
        color=recognizer.takes.color,
        license=terms.license,
        commercial_use=terms.commercial_use,
        provenance={"imported": {"weights": origin(source)}},
    )
    write_weights(out, recognizer.state(), info)
    return info


def _at(path: Path, error: DataError) -> str:
    text = str(error)
    return text if text.startswith(str(path)) else f"{path}: {text}"
