"""``ijbb`` and ``ijbc``: the released protocols of IJB-B and IJB-C, from their files: 1:1, and 1:N if asked for.

Faces are warped by the landmarks that the release gives; nothing is detected.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from harness.components import FaceProtocol, ImageBatch, License, Run, SamplePlan, Settings, TemplateSet
from harness.data.ijb import IJBFolder, Release
from harness.data.ijb_identification import identification_content, read_galleries
from harness.data.pictures import decode, read_file

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet


class IJBFilesSettings(Settings):
    """Where the release lies."""

    path: Path = Field(description="the folder with loose_crop and meta, as released for 1:1 verification")
    supersample: bool = Field(
        True,
        description="average several samples per pixel where a crop shrinks its face; false: one, as the reference, "
        "which aliases",
    )
    identification: bool = Field(
        False, description="read the 1:N galleries and probes as well, which the evaluator identification needs"
    )


class _IJBFiles(FaceProtocol):
    """Templates of images with pairs of templates.

    The files name no people: templates that genuine pairs connect count as one identity.
    """

    Settings: ClassVar[type[Settings]] = IJBFilesSettings
    license = License("the data set's own terms")
    gives = "templates"
    release: ClassVar[Release]

    @cached_property
    def folder(self) -> IJBFolder:
        """The release, opened."""
        path: Path = self.settings.path
        return _open(path, self.release, _state(path, self.release))

    @property
    def supersample(self) -> bool:
        """As the settings say."""
        return bool(self.settings.supersample)

    def identity(self) -> dict[str, Any]:
        """What files and images hold instead of their place."""
        found = {"content": self.folder.content(), "supersample": self.supersample}
        if not self.settings.identification:
            return found
        return found | {"identification": identification_content(self.folder)}

    def plan(self, run: Run) -> SamplePlan:
        """Every image, in the order of the files; the column ``row`` is its place there."""
        identities = self.folder.subjects[self.folder.faces.template]
        items: dict[str, Any] = {"row": np.arange(len(identities), dtype=np.int64)}  # float32 would lose places
        return SamplePlan(identities, _counters(identities), items)

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Read the planned images. Loose crops differ in size, so each is a batch."""
        for at, row in enumerate(np.asarray(plan.items["row"]).astype(np.int64).tolist()):
            file = self.folder.image(row)
            data = read_file(file)
            image = decode(data, str(file))
            one = plan.rows(at, at + 1)
            points = self.folder.faces.landmarks[row : row + 1]
            yield ImageBatch(one.identities, one.samples, image[None], points, names=[file.name], encoded=[data])

    def pairs(self, faces: FaceSet, run: Run) -> TemplateSet:
        """The templates and the listed pairs; the faces are in the order of the files."""
        listed, pairs = self.folder.faces, self.folder.pairs
        gallery = read_galleries(self.folder)[listed.template] if self.settings.identification else None
        return TemplateSet(listed.template, listed.media, listed.score, pairs.a, pairs.b, pairs.same, gallery=gallery)


class IJBB(_IJBFiles):
    """IJB-B 1:1 verification. Source: Whitelam et al., CVPRW 2017."""

    release = "ijbb"


class IJBC(_IJBFiles):
    """IJB-C 1:1 verification. Source: Maze et al., ICB 2018."""

    release = "ijbc"


@lru_cache(maxsize=2)
def _open(path: Path, release: Release, state: tuple[tuple[int, int], ...]) -> IJBFolder:
    """A worker draws many shards of one protocol and reads its lists once; size and time tell a new file."""
    return IJBFolder(path, release)


def _state(path: Path, release: Release) -> tuple[tuple[int, int], ...]:
    files = sorted((path / "meta").glob(f"{release}_*.txt"))
    return tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def _counters(identities: Any) -> Any:
    """How many images of its identity come before each image, int64 [N]."""
    order = np.argsort(identities, kind="stable")
    _, first, counts = np.unique(identities[order], return_index=True, return_counts=True)
    out = np.empty(len(identities), dtype=np.int64)
    out[order] = np.arange(len(identities)) - np.repeat(first, counts)
    return out
