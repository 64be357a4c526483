"""The code blocks of the documentation, its suites made whole, and stand-ins for the files that they name.

A block of YAML with ``rows`` and ``evaluate`` is a whole suite. Any other is a fragment, and stands in the first whole
suite of its page, or else in the small suite of the tests with the default aligner: tables of names gain its entries,
``dataset`` changes in the keys that it gives, and what else it has replaces what was there.
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
from harness.data.transfer import pack
from harness.store.weights import WeightsInfo, weights_content, write_weights

BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLES = ("sources", "recognizers", "models", "rows", "protocols", "dataset")
# What the pages call by name and leave to the reader.
KNOWN: dict[str, dict[str, Any]] = {
    "sources": {"ffhq": {"use": "faceworld", "identities": 4, "size_px": 128}, "casia": {"use": "faceworld"}},
    "recognizers": {"elasticface": {"weights": "weights/elasticface-raw.safetensors"}},
}
DEFAULT_ALIGNER = {"aligner": "mtcnn"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its line there, what stands behind the fence, and its text."""

    page: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def language(self) -> str:
        """The first word behind the fence, or nothing."""
        return self.info.split(" ")[0]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(page, text.count("\n", 0, at.start()) + 1, at[1].strip(), at[2]) for at in BLOCK.finditer(text)]


def whole_suite(block: Block) -> dict[str, Any]:
    """The suite of a block, or the suite in which a fragment stands."""
    data = yaml.safe_load(block.text)
    if not _is_whole(data):
        others = [yaml.safe_load(each.text) for each in blocks(block.page) if each.language == "yaml"]
        around = next((other for other in others if _is_whole(other)), None)
        data = _merged(around or {**yaml.safe_load(BASE), **DEFAULT_ALIGNER}, data)
    return _merged(KNOWN, data)


def _is_whole(data: dict[str, Any]) -> bool:
    return {"rows", "evaluate"} <= data.keys()


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    tables = {name: {**under.get(name, {}), **over.get(name, {})} for name in TABLES if name in {*under, *over}}
    return {**under, **over, **tables}


def write_stand_ins(folder: Path) -> None:
    """Small files of the right kind in the places that the pages name; ``HARNESS_DATA`` is for ``folder / "data"``."""
    data, weights = folder / "data", folder / "weights"
    for new in (data, weights):
        new.mkdir()
    raw = weights / "elasticface-raw.safetensors"
    recognizer = {"role": "recognizer", "kind": "iresnet", "size_px": 112}
    _weights(raw, 1.0, view="raw", **recognizer)
    _weights(weights / "other-r50-arcface.safetensors", 2.0, view="arcface", **recognizer)
    conditioned = {"role": "model", "recognizer": weights_content(raw)}
    _weights(weights / "idiffface-cpd25.safetensors", 3.0, kind="latent-diffusion/1", **conditioned)
    _weights(weights / "vq-f4.safetensors", 4.0, role="model", kind="vq-f4/1")
    for value, name in enumerate(("lfw", "cfp_fp", "agedb_30", "calfw", "cplfw")):
        write_bin(data / f"{name}.bin", [_picture(value), _picture(value + 9)] * 10, [True, False] * 5)
    for place in ("people", "crops", "photos", "lfw/images", "../faces"):
        for person in range(14):
            (data / place / f"p{person}").mkdir(parents=True)
            for sample in range(4):
                (data / place / f"p{person}" / f"{sample}.png").write_bytes(_picture(4 * person + sample))
    pairs = [f"p{person}/0.png p{person + other}/1.png {1 - other}" for person in range(13) for other in (0, 1)]
    for place in ("my-pairs.txt", "lfw/pairs.txt"):
        (data / place).write_text("\n".join(pairs), encoding="utf-8")
    grouped = [f"{pair.replace(' ', ',')},{'AB'[number % 2]}" for number, pair in enumerate(pairs)]
    (data / "my-pairs.csv").write_text("\n".join(["a,b,same,group", *grouped]), encoding="utf-8")
    _write_rfw(data / "RFW")
    (data / "faces_webface_112x112").mkdir()
    pack(data / "people", data / "faces_webface_112x112" / "train.rec")
    np.save(data / "random_synthetic_uniform_15000.npy", np.eye(512, dtype=np.float32))
    _write_ijbc(data / "IJBC")


def _write_rfw(folder: Path) -> None:
    """Two groups of two people with two pictures each."""
    for group in ("African", "Asian"):
        for person in "xy":
            (folder / "data" / group / person).mkdir(parents=True)
            for number in (1, 2):
                (folder / "data" / group / person / f"{person}_{number:04d}.jpg").write_bytes(_picture(number))
        (folder / "txts" / group).mkdir(parents=True)
        lines = ["x\t1\t2", "y\t1\t2", "x\t1\ty\t1", "x\t2\ty\t2"] * 3
        (folder / "txts" / group / f"{group}_pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_ijbc(folder: Path) -> None:
    """Two people with two templates of one picture each."""
    lines: dict[str, list[str]] = {"face_tid_mid": [], "name_5pts_score": [], "template_pair_label": ["1 2 1", "1 3 0"]}
    for new in ("loose_crop", "meta"):
        (folder / new).mkdir(parents=True)
    for template in (1, 2, 3, 4):
        (folder / "loose_crop" / f"{template}.png").write_bytes(_picture(template))
        lines["face_tid_mid"].append(f"{template}.png {template} {template}")
        lines["name_5pts_score"].append(f"{template}.png 38 52 74 52 56 72 42 92 71 92 0.9")
    for name, text in lines.items():
        (folder / "meta" / f"ijbc_{name}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    for name, rows in {"gallery_G1": ["1,1"], "gallery_G2": ["3,2"], "probe_mixed": ["2,1", "4,3"]}.items():
        text = "\n".join(["TEMPLATE_ID,SUBJECT_ID", *rows])
        (folder / "meta" / f"ijbc_1N_{name}.csv").write_text(text + "\n", encoding="utf-8")


def _weights(path: Path, value: float, **info: Any) -> None:
    write_weights(path, {"a": torch.full((2, 3), value)}, WeightsInfo(settings={}, **info))


def _picture(value: int) -> bytes:
    file = BytesIO()
    Image.fromarray(np.full((112, 112, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()
