"""A verification protocol over the faces of any source: all genuine pairs, as many impostor pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from harness.components import PairSet, Protocol, Run, Settings
from harness.components.base import APACHE
from harness.errors import StageError
from harness.faces.pairing import pair_identities
from harness.noise import generator

if TYPE_CHECKING:
    from harness.faces.faceset import FaceSet


class SourcePairsSettings(Settings):
    """How to pair a source's faces."""

    folds: int = Field(10, ge=2, le=10, description="identity-disjoint folds")
    seed: int = Field(0, ge=0, description="chooses folds and impostor pairs")


class SourcePairs(Protocol):
    """Identity-disjoint folds over a source; impostor pairs stay within a fold and match the genuine ones in number.

    With few identities per fold the impostor pairs are few as well; then there are as many genuine pairs as those.
    """

    Settings = SourcePairsSettings
    license = APACHE  # the faces bring their own terms
    needs = frozenset({"source"})

    def pairs(self, faces: FaceSet, run: Run) -> PairSet:
        """Pair the faces.

        Raises:
            StageError: fewer than two identities for a fold, so it would have no impostor pair.
        """
        random = generator(self.settings.seed, "source-pairs")
        people = len(np.unique(faces.identities))
        if people < 2 * self.settings.folds:
            most = people // 2
            raise StageError(f"{people} identities do not fill {self.settings.folds} folds of 2; at most {most} do")
        return pair_identities(faces.identities, np.arange(len(faces)), self.settings.folds, random)
