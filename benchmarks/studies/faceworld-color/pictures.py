"""Draw the pictures of docs/face-world.md.

python benchmarks/studies/faceworld-color/pictures.py docs/images
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.faceworld.protocols import PROTOCOLS, pairs
from harness.faceworld.ranges import IDENTITY_RANGES
from harness.faceworld.render import render

COLUMNS = ("frontal", "mild", "young", "old", "profile", "train", "train")
PEOPLE = 6
SHOWN_PAIRS = 3  # of each kind


def sheet(tiles: NDArray[np.uint8], columns: int, gap: int = 2) -> Image.Image:
    """Lay tiles, uint8 [B, S, S, 3], out in rows on white."""
    padded = np.pad(tiles, ((0, 0), (gap, gap), (gap, gap), (0, 0)), constant_values=255)
    rows = padded.reshape(-1, columns, *padded.shape[1:])
    return Image.fromarray(np.concatenate(list(np.concatenate(list(rows.transpose(1, 0, 2, 3, 4)), axis=2)), axis=0))


def identities() -> Image.Image:
    """One row per identity, one column per kind of image."""
    people = np.repeat(IDENTITY_RANGES["spare"][:PEOPLE], len(COLUMNS)).tolist()
    samples = list(range(len(COLUMNS))) * PEOPLE
    return sheet(render(0, people, samples, list(COLUMNS) * PEOPLE, 128).images, len(COLUMNS))


def protocol_pairs() -> Image.Image:
    """One row per protocol: three genuine pairs, then three impostor pairs."""
    rows = []
    for name in PROTOCOLS:
        listed = pairs(name, 2_000)
        first = [np.flatnonzero(listed.same == same)[:: 1_000 // SHOWN_PAIRS][:SHOWN_PAIRS] for same in (True, False)]
        shown = np.stack([listed.a, listed.b], 1)[np.concatenate(first)].ravel()
        who, which = listed.identities[shown].tolist(), listed.samples[shown].tolist()
        rows.append(render(0, who, which, [listed.modes[i] for i in shown], 96).images)
    return sheet(np.concatenate(rows), 4 * SHOWN_PAIRS)


def main(folder: Path) -> None:
    """Write both pictures."""
    identities().save(folder / "face_world_identities.png", optimize=True)
    protocol_pairs().save(folder / "face_world_pairs.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
