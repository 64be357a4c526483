"""A verification protocol over the faces of any source: a published list, or as many impostor as genuine pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from harness.components import PairSet, Protocol, Run, Settings
from harness.components.base import APACHE
from harness.data.finders import Named
from harness.data.pairlists import list_content, read_pairs
from harness.errors import StageError
from harness.faces.pairing import pair_identities
from harness.noise import generator

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet


class SourcePairsSettings(Settings):
    """How to pair a source's faces."""

    pairs: Path | None = Field(
        None, description="a list of pairs, by the names of the source's files; default: pairs are chosen by identity"
    )
    folds: int = Field(10, ge=2, le=100, description="identity-disjoint folds, or parts of a list that brings none")
    seed: int = Field(0, ge=0, description="chooses folds and impostor pairs where there is no list")


class SourcePairs(Protocol):
    """The pairs of a list, or identity-disjoint folds over a source.

    A list is one that ``folder-pairs`` reads, and names files as the source read them. Without one, impostor pairs stay
    within a fold and match the genuine ones in number; with few identities per fold the impostor pairs are few as well,
    and there are as many genuine pairs as those.
    """

    Settings = SourcePairsSettings
    license = APACHE  # the faces bring their own terms
    needs = frozenset({"source"})

    def identity(self) -> dict[str, Any]:
        """What the list holds instead of its place."""
        path: Path | None = self.settings.pairs
        return {**super().identity(), "pairs": None if path is None else list_content(path)}

    def pairs(self, faces: FaceSet, run: Run) -> PairSet:
        """Pair the faces.

        Raises:
            StageError: fewer than two identities for a fold, so it would have no impostor pair.
            DataError: the list names a picture that the source does not have.
        """
        return self._chosen(faces) if self.settings.pairs is None else self._listed(faces, self.settings.pairs)

    def _listed(self, faces: FaceSet, path: Path) -> PairSet:
        names = faces.names
        if not any(names):
            raise StageError("the source's pictures were not read from files, so no list can name them; remove pairs")
        listed = read_pairs(Named(filter(None, names)), path, self.settings.folds)
        rows = {name: row for row, name in enumerate(names)}
        place = np.array([rows[file.as_posix()] for file in listed.files])
        return PairSet(place[listed.a], place[listed.b], listed.same, listed.fold, group=listed.group).of_found(faces)

    def _chosen(self, faces: FaceSet) -> PairSet:
        random = generator(self.settings.seed, "source-pairs")
        people = len(np.unique(faces.identities))
        if people < 2 * self.settings.folds:
            most = people // 2
            raise StageError(f"{people} identities do not fill {self.settings.folds} folds of 2; at most {most} do")
        return pair_identities(faces.identities, np.arange(len(faces)), self.settings.folds, random)
