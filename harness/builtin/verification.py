"""``verification``: accuracy of a recognizer on lists of pairs, in ten folds.

Letters: N faces, P pairs, D embedding width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from harness.arrays import Doubles
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.faces.embedding import pair_distances
from harness.figures import pair_figures
from harness.stats.intervals import PairIdentities, accuracy_uncertainty, tar_uncertainty
from harness.stats.templates import points_at_most, points_table
from harness.stats.verification import FARTHEST, fold_accuracies, rate_name

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.pairs import LostPairs, PairSet
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

_MARGIN = 0.02  # accuracies that certainly differ by less count as equal


Rate = Annotated[float, Field(gt=0, lt=1)]


def _several(value: Any) -> Any:
    """A single rate as several: both may stand in a suite."""
    return (value,) if isinstance(value, int | float) else value


class VerificationSettings(Settings):
    """Settings of ``verification``."""

    flip_test: bool = Field(True, description="add the embedding of the mirrored image; ArcFace reference: yes")
    far: Annotated[tuple[Rate, ...], BeforeValidator(_several), Field(min_length=1)] = Field(
        (0.01,), description="false accept rates, one or several, at which true accept rates are reported"
    )
    replicates: int = Field(1000, ge=100, le=100_000, description="bootstrap replicates of an interval")


class Verification(Evaluator):
    """Ten-fold accuracy and TAR at FAR on every protocol, with intervals over identities."""

    Settings: ClassVar[type[Settings]] = VerificationSettings
    license = APACHE
    needs = frozenset({"recognizer", "pairs"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Embed the faces of every protocol and score its pairs."""
        listed = {name: listed_pairs(name, faces, pairs) for name, (faces, pairs) in given.pairs.items()}
        progress = run.progress(sum(len(np.union1d(pairs.a, pairs.b)) for _, pairs in given.pairs.values()), "images")
        metrics: list[Metric] = []
        figures: dict[str, bytes] = {}
        tables: dict[str, dict[str, NDArray[Any]]] = {}
        for name, (faces, pairs) in given.pairs.items():
            table = listed[name]
            distances = np.full(len(table["a"]), FARTHEST)  # lost pairs are behind the others
            distances[: len(pairs.a)] = pair_distances(
                name, given.recognizer, faces, pairs, self.settings.flip_test, progress.advance
            )
            found, points = self._score(name, table, distances, not_found(faces, pairs.lost), run)
            metrics += found + list(found_faces(name, faces, pairs.lost))
            tables |= {f"{name}-pairs": table, f"{name}-operating-points": points}
            figures |= pair_figures(name, table["score"][table["same"]], table["score"][~table["same"]])
        return Report(metrics, figures, tables)

    def _score(
        self, name: str, table: dict[str, NDArray[Any]], distances: Doubles, note: str, run: Run
    ) -> tuple[list[Metric], dict[str, NDArray[Any]]]:
        """Metrics of one protocol, and its operating points; the table of its pairs gains scores and decisions."""
        same, fold, scores = table["same"], table["fold"], 1 - distances / 2  # cosine similarity
        folds = fold_accuracies(distances, same, fold)
        table |= {"score": scores, "correct": folds.correct}
        identities = PairIdentities.known(table["identity_a"], table["identity_b"], same)
        rng, count = run.generator(f"verification/{name}"), self.settings.replicates
        accuracy_at = accuracy_uncertainty(folds.correct, same, fold, identities, rng, count)
        common: dict[str, Any] = {"benchmark": name, "unit": "fraction", "better": "higher", "ranked": True}
        common["note"] = note
        shown: dict[str, Any] = {"title": name, "headline": True, "average": "average/accuracy", "margin": _MARGIN}
        shown |= {"std_folds": folds.std, "pairs": f"{name}-pairs"}
        metrics = [Metric(f"{name}/accuracy", folds.mean, len(same), accuracy_at, **shown, **common)]
        points = points_at_most(scores[same], scores[~same], self.settings.far)
        for point in points:
            sure = tar_uncertainty(scores, same, point.far, fold, identities, rng, count)
            at = rate_name(point.far)
            title = f"{name} TAR@{at}"
            metrics.append(Metric(f"{name}/tar_at_far_{at}", point.tar, len(same), sure, title=title, **common))
        return metrics, points_table(points)


def listed_pairs(name: str, faces: FaceSet, pairs: PairSet) -> dict[str, NDArray[Any]]:
    """Columns of the listed pairs: faces, identities, labels, folds, and groups where there are such.

    Lost pairs come last, with the face -1.

    Raises:
        StageError: they are no protocol, or name faces that are not there.
    """
    if not len(pairs.a):
        raise StageError(f"{name}: there is no pair of which both faces were found")
    highest = int(max(pairs.a.max(), pairs.b.max()))
    if highest >= len(faces) or min(pairs.a.min(), pairs.b.min()) < 0:
        raise StageError(f"{name}: a pair names face {highest} of {len(faces)}; were faces lost in alignment?")
    table: dict[str, NDArray[Any]] = {"a": pairs.a, "b": pairs.b}
    table |= {"identity_a": faces.identities[pairs.a], "identity_b": faces.identities[pairs.b]}
    table |= {"same": pairs.same, "fold": pairs.fold} | ({} if pairs.group is None else {"group": pairs.group})
    if pairs.lost:
        lost = {"a": np.full(len(pairs.lost), -1), "b": np.full(len(pairs.lost), -1), **pairs.lost.columns()}
        table = {column: np.concatenate([values, lost[column]]) for column, values in table.items()}
    genuine, count = int(table["same"].sum()), len(table["same"])
    if genuine == 0 or genuine == count:
        raise StageError(f"{name}: {genuine} genuine and {count - genuine} impostor pairs; expected both kinds")
    if len(np.unique(table["fold"])) < 2:
        raise StageError(f"{name}: {count} pairs lie in one fold; expected at least 2 folds")
    return table


def not_found(faces: FaceSet, lost: LostPairs | None) -> str:
    """What a reader of a metric must know of faces that were not found."""
    if not lost:
        return ""
    missing = f"{len(faces.items) - len(faces)} of {len(faces.items)} faces were not found"
    return f"{len(lost)} pairs count as different people, since {missing}"


def found_faces(name: str, faces: FaceSet, lost: LostPairs | None) -> Iterator[Metric]:
    """The share of a protocol's faces that were found, where some could be lost."""
    if lost is not None:
        count = len(faces.items)
        shown: dict[str, Any] = {"title": f"{name} found", "unit": "fraction", "better": "higher", "headline": True}
        note = not_found(faces, lost)
        yield Metric(f"{name}/faces_found", len(faces) / count, count, benchmark=name, note=note, **shown)
