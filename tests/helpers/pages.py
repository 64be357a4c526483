"""The code blocks of the documentation, its suites made whole, and stand-ins for the files that they name.

A block of YAML with ``rows`` and ``evaluate`` is a whole suite. Any other is a fragment, and stands in the first whole
suite of its page, or else in the small suite of the tests: tables of names gain its entries, of ``dataset`` the keys
that it gives change, and what else it has replaces what was there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from suites import BASE, ROOT

from harness.data.bins import write_bin
from harness.store.weights import WeightsInfo, weights_content, write_weights

BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLES = ("sources", "recognizers", "models", "rows", "protocols", "dataset")
# What the pages call by name and leave to the reader.
KNOWN: dict[str, dict[str, Any]] = {
    "sources": {name: {"use": "faceworld", "identities": 4, "per_identity": 4, "size_px": 128} for name in ("ffhq",)},
    "recognizers": {"elasticface": {"weights": "weights/elasticface-raw.safetensors"}},
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its line there, what stands behind the fence, and its text."""

    page: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(page, text.count("\n", 0, at.start()) + 1, at[1].strip(), at[2]) for at in BLOCK.finditer(text)]


def is_suite(block: Block) -> bool:
    """Whether it is YAML of a suite, or of a part of one."""
    return block.info.split(" ")[0] == "yaml"


def whole_suite(block: Block) -> dict[str, Any]:
    """The suite of a block, or the suite in which a fragment stands."""
    data = yaml.safe_load(block.text)
    if not _is_whole(data):
        others = [yaml.safe_load(each.text) for each in blocks(block.page) if is_suite(each)]
        around = next((other for other in others if _is_whole(other)), None) or yaml.safe_load(BASE)
        data = _merged(around, data)
    return _merged(KNOWN, data)


def _is_whole(data: dict[str, Any]) -> bool:
    return {"rows", "evaluate"} <= data.keys()


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    tables = {name: {**under.get(name, {}), **over.get(name, {})} for name in TABLES if name in {*under, *over}}
    return {**under, **over, **tables}


def write_stand_ins(folder: Path) -> None:
    """Small files of the right kind in the places that the pages name."""
    (folder / "weights").mkdir()
    (folder / "data").mkdir()
    raw, judge = (folder / "weights" / f"{name}.safetensors" for name in ("elasticface-raw", "other-r50-arcface"))
    _weights(raw, 1.0, role="recognizer", kind="iresnet", view="raw", size_px=112)
    _weights(judge, 2.0, role="recognizer", kind="iresnet", view="arcface", size_px=112)
    model = {"role": "model", "kind": "latent-diffusion/1", "recognizer": weights_content(raw)}
    _weights(folder / "weights" / "idiffface-cpd25.safetensors", 3.0, **model)
    _weights(folder / "weights" / "vq-f4.safetensors", 4.0, role="model", kind="vq-f4/1")
    for value, name in enumerate(("lfw", "cfp_fp", "agedb_30", "calfw", "cplfw")):
        write_bin(folder / "data" / f"{name}.bin", [_picture(value), _picture(value + 9)] * 10, [True, False] * 5)


def _weights(path: Path, value: float, **info: Any) -> None:
    write_weights(path, {"a": torch.full((2, 3), value)}, WeightsInfo(settings={}, **info))


def _picture(value: int) -> bytes:
    file = BytesIO()
    Image.fromarray(np.full((112, 112, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()
