"""The 1:N files of IJB-B and IJB-C: which templates are enrolled in which gallery, and which are probes.

::

    FOLDER/meta/ijbc_1N_gallery_G1.csv    TEMPLATE_ID,SUBJECT_ID,...  (S1 and S2 in IJB-B)
    FOLDER/meta/ijbc_1N_gallery_G2.csv
    FOLDER/meta/ijbc_1N_probe_mixed.csv

A template has a row for each of its images. Other columns are not read: images are those of the 1:1 files.

Letters: T templates.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from harness.arrays import Ints
from harness.data.ijb import META, IJBFolder, Release
from harness.errors import DataError, InputError

_GALLERIES: dict[Release, tuple[str, str]] = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}
_COLUMNS = ("TEMPLATE_ID", "SUBJECT_ID")


def identification_files(folder: IJBFolder) -> list[Path]:
    """The files of the probes and of the two galleries."""
    names = ["probe_mixed", *(f"gallery_{name}" for name in _GALLERIES[folder.release])]
    return [folder.path / META / f"{folder.release}_1N_{name}.csv" for name in names]


def identification_content(folder: IJBFolder) -> list[str]:
    """Digests of the three files.

    Raises:
        InputError: a file is missing.
    """
    digests = []
    for file in identification_files(folder):
        _check_there(file)
        with file.open("rb") as opened:
            digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
    return digests


def read_galleries(folder: IJBFolder) -> Ints:
    """Which gallery each template is enrolled in, int64 [T]: 1 or 2, or 0 for a probe.

    Raises:
        InputError: a file is missing.
        DataError: a file is damaged, a template is in two files, in none, or has no image, a subject is enrolled twice
            in a gallery, or the subjects are not those that the genuine pairs of the 1:1 files connect.
    """
    ids = folder.faces.template_ids
    gallery, subject = np.full(len(ids), -1), np.full(len(ids), -1)
    for number, file in enumerate(identification_files(folder)):
        template, who = _read(file)
        place = np.minimum(np.searchsorted(ids, template), len(ids) - 1)
        for wrong, text in (
            (ids[place] != template, "template {} has no image in the 1:1 files"),
            ((gallery[place] >= 0), "template {} is in another file as well; expected it in one"),
        ):
            if wrong.any():
                raise DataError(f"{file}: {text.format(template[np.flatnonzero(wrong)[0]])}")
        if number and len(np.unique(who)) < len(who):
            names, counts = np.unique(who, return_counts=True)
            raise DataError(f"{file}: subject {names[counts > 1][0]} is enrolled twice; expected one template")
        gallery[place], subject[place] = number, who
    if (gallery < 0).any():
        text = f"template {ids[np.flatnonzero(gallery < 0)[0]]} is in none of the 1N files; expected it in one"
        raise DataError(f"{folder.path / META}: {text}")
    both = np.unique(np.stack([subject, folder.subjects]), axis=1)
    if both.shape[1] != len(np.unique(subject)) or both.shape[1] != len(np.unique(folder.subjects)):
        text = "the subjects of the 1N files are not those that genuine pairs of the 1:1 files connect"
        raise DataError(f"{folder.path / META}: {text}; expected files of one release")
    return gallery


def _read(file: Path) -> tuple[Ints, Ints]:
    """Templates and their subjects, each template once."""
    import pyarrow as pa
    from pyarrow import csv

    _check_there(file)
    try:
        types = dict.fromkeys(_COLUMNS, pa.int64())
        wanted = csv.ConvertOptions(column_types=types, include_columns=list(_COLUMNS), null_values=[])
        table = csv.read_csv(file, convert_options=wanted)
    except (OSError, pa.ArrowException, KeyError) as error:
        text = " ".join(str(error).split())[:120]
        raise DataError(f"{file}: cannot be read ({text}); expected {','.join(_COLUMNS)},...") from error
    rows = np.unique(np.stack([table[name].to_numpy() for name in _COLUMNS]), axis=1)
    template, subject = rows
    if (template[1:] == template[:-1]).any():
        twice = template[1:][template[1:] == template[:-1]][0]
        raise DataError(f"{file}: template {twice} has several subjects; expected one")
    if not len(template):
        raise DataError(f"{file}: it lists no template; expected {','.join(_COLUMNS)},...")
    return template, subject


def _check_there(file: Path) -> None:
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; expected the 1:N files of the release, unpacked")
