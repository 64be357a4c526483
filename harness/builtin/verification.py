"""``verification``: accuracy of a recognizer on lists of pairs, in ten folds.

Letters: N faces, P pairs, D embedding width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.arrays import Doubles
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.faces.embedding import flipped_embeddings
from harness.figures import pair_figures
from harness.stats.intervals import PairIdentities, accuracy_uncertainty, tar_uncertainty
from harness.stats.verification import fold_accuracies, rate_name, squared_distances, tar_at_far

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.pairs import PairSet
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

_MARGIN = 0.02  # accuracies that certainly differ by less count as equal


class VerificationSettings(Settings):
    """Settings of ``verification``."""

    flip_test: bool = Field(True, description="add the embedding of the mirrored image; ArcFace reference: yes")
    far: float = Field(0.01, gt=0, lt=1, description="false accept rate of the true accept rate that is reported")
    replicates: int = Field(1000, ge=100, le=100_000, description="bootstrap replicates of an interval")


class Verification(Evaluator):
    """Ten-fold accuracy and TAR at FAR on every protocol, with intervals over identities."""

    Settings: ClassVar[type[Settings]] = VerificationSettings
    license = APACHE
    needs = frozenset({"recognizer", "pairs"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Embed the faces of every protocol and score its pairs."""
        progress = run.progress(sum(len(faces) for faces, _ in given.pairs.values()), "images")
        metrics: list[Metric] = []
        figures: dict[str, bytes] = {}
        tables: dict[str, dict[str, NDArray[Any]]] = {}
        for name, (faces, pairs) in given.pairs.items():
            _check_pairs(name, faces, pairs)
            embeddings = flipped_embeddings(given.recognizer, faces, self.settings.flip_test, progress.advance)
            if not np.isfinite(embeddings).all():
                bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
                raise StageError(f"{name}: {bad} of {len(embeddings)} embeddings are not finite")
            distances = squared_distances(embeddings[pairs.a], embeddings[pairs.b])
            found, table = self._score(name, faces, pairs, distances, run)
            metrics += found
            tables[f"{name}-pairs"] = table
            figures |= pair_figures(name, table["score"][pairs.same], table["score"][~pairs.same])
        return Report(metrics, figures, tables)

    def _score(
        self, name: str, faces: FaceSet, pairs: PairSet, distances: Doubles, run: Run
    ) -> tuple[list[Metric], dict[str, NDArray[Any]]]:
        """Metrics of one protocol and the table of its pairs."""
        scores = 1 - distances / 2  # cosine similarity
        folds = fold_accuracies(distances, pairs.same, pairs.fold)
        tar = tar_at_far(scores, pairs.same, self.settings.far)
        first, second = faces.identities[pairs.a], faces.identities[pairs.b]
        identities = PairIdentities.known(first, second, pairs.same)
        rng, count = run.generator(f"verification/{name}"), self.settings.replicates
        accuracy_at = accuracy_uncertainty(folds.correct, pairs.same, pairs.fold, identities, rng, count)
        tar_at = tar_uncertainty(scores, pairs.same, self.settings.far, pairs.fold, identities, rng, count)
        at = rate_name(self.settings.far)
        common: dict[str, Any] = {"benchmark": name, "unit": "fraction", "better": "higher", "ranked": True}
        shown: dict[str, Any] = {"title": name, "headline": True, "average": "average/accuracy", "margin": _MARGIN}
        shown |= {"std_folds": folds.std, "pairs": f"{name}-pairs"}
        metrics = [
            Metric(f"{name}/accuracy", folds.mean, len(distances), accuracy_at, **shown, **common),
            Metric(f"{name}/tar_at_far_{at}", tar, len(distances), tar_at, title=f"{name} TAR@{at}", **common),
        ]
        table: dict[str, NDArray[Any]] = {"a": pairs.a, "b": pairs.b, "identity_a": first, "identity_b": second}
        table |= {"same": pairs.same, "fold": pairs.fold, "score": scores, "correct": folds.correct}
        return metrics, table


def _check_pairs(name: str, faces: FaceSet, pairs: PairSet) -> None:
    genuine, count = int(pairs.same.sum()), len(pairs.same)
    if genuine == 0 or genuine == count:
        raise StageError(f"{name}: {genuine} genuine and {count - genuine} impostor pairs; expected both kinds")
    if len(np.unique(pairs.fold)) < 2:
        raise StageError(f"{name}: {count} pairs lie in one fold; expected at least 2 folds")
    highest = int(max(pairs.a.max(), pairs.b.max()))
    if highest >= len(faces) or min(pairs.a.min(), pairs.b.min()) < 0:
        raise StageError(f"{name}: a pair names face {highest} of {len(faces)}; were faces lost in alignment?")
