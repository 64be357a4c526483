"""``verification``: accuracy of a recognizer on lists of pairs, in ten folds.

Letters: N faces, P pairs, D embedding width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.components.base import APACHE, Settings
from harness.components.data import Metric, PairSet, Report, Subject
from harness.components.evaluator import Evaluator, Need
from harness.errors import StageError
from harness.stats.intervals import PairIdentities, accuracy_interval, tar_interval, wilson
from harness.stats.verification import flip_fused, fold_accuracies, squared_distances, tar_at_far, unit

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

_BATCH = 512
_LABEL_NOTE = "identities of the pairs are not known, so pairs are taken as independent"


class VerificationSettings(Settings):
    """Settings of ``verification``."""

    flip_test: bool = Field(True, description="add the embedding of the mirrored image; ArcFace reference: yes")
    far: float = Field(0.01, gt=0, lt=1, description="false accept rate of the true accept rate that is reported")
    replicates: int = Field(1000, ge=100, le=100_000, description="bootstrap replicates of an interval")


class Verification(Evaluator):
    """Ten-fold accuracy and TAR at FAR on every protocol, with intervals over identities."""

    Settings: ClassVar[type[Settings]] = VerificationSettings
    license = APACHE
    code = (
        "harness.builtin.verification",
        "harness.stats.verification",
        "harness.stats.intervals",
        "harness.stats.separability",
        "harness.figures",
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"recognizer", "protocols"})

    def evaluate(self, subject: Subject, run: Run) -> Report:
        """Embed the faces of every protocol and score its pairs."""
        if subject.recognizer is None or not subject.protocols:
            raise StageError("verification needs a recognizer and at least one protocol")
        progress = run.progress(sum(len(faces) for faces, _ in subject.protocols.values()), "images")
        metrics: list[Metric] = []
        figures: dict[str, bytes] = {}
        tables: dict[str, dict[str, NDArray[Any]]] = {}
        for name, (faces, pairs) in subject.protocols.items():
            _check_pairs(name, faces, pairs)
            embeddings = embed_faces(subject.recognizer, faces, self.settings.flip_test, progress.advance)
            if not np.isfinite(embeddings).all():
                bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
                raise StageError(f"{name}: {bad} of {len(embeddings)} embeddings are not finite")
            distances = squared_distances(embeddings[pairs.a], embeddings[pairs.b])
            found, table = self._score(name, faces, pairs, distances, run)
            metrics += found
            tables[f"{name}-pairs"] = table
            figures |= _figures(name, table["score"], pairs)
        return Report(metrics, figures, tables)

    def _score(
        self, name: str, faces: FaceSet, pairs: PairSet, distances: Doubles, run: Run
    ) -> tuple[list[Metric], dict[str, NDArray[Any]]]:
        """Metrics of one protocol and the table of its pairs."""
        scores = 1 - distances / 2  # cosine similarity
        folds = fold_accuracies(distances, pairs.same, pairs.fold)
        tar = tar_at_far(scores, pairs.same, self.settings.far)
        first, second = faces.identities[pairs.a], faces.identities[pairs.b]
        genuine = int(pairs.same.sum())
        hits = round(tar * genuine)
        accuracy_at = _interval_fields(wilson(int(folds.correct.sum()), len(distances)), _LABEL_NOTE)
        tar_at = _interval_fields(wilson(hits, genuine), _LABEL_NOTE)
        if _identities_are_known(first, second, pairs):
            identities = PairIdentities.of(first, second)
            rng = run.generator(f"verification/{name}")
            count = self.settings.replicates
            if 0 < folds.correct.sum() < len(distances):
                over = accuracy_interval(folds.correct, pairs.same, identities, rng, count)
                accuracy_at = _bootstrap_fields(over, identities.count)
            else:
                accuracy_at["note"] = "no error to resample, so pairs are taken as independent"
            if 0 < hits < genuine:
                over = tar_interval(scores, pairs.same, self.settings.far, identities, rng, count)
                tar_at = _bootstrap_fields(over, identities.count)
            else:
                tar_at["note"] = "no error to resample, so pairs are taken as independent"
        metrics = [
            Metric(f"{name}/accuracy", folds.mean, len(distances), std_folds=folds.std, protocol=name, **accuracy_at),
            Metric(f"{name}/tar_at_far_{_power(self.settings.far)}", tar, len(distances), protocol=name, **tar_at),
        ]
        table = {"a": pairs.a, "b": pairs.b, "same": pairs.same, "fold": pairs.fold}
        return metrics, table | {"score": scores, "correct": folds.correct}


def _identities_are_known(first: Ints, second: Ints, pairs: PairSet) -> bool:
    """Whether identities agree with the labels and some of them occur in more than one pair.

    Files without identities number them by pair; resampling those as identities would widen the interval.
    """
    agree = bool(((first == second) == pairs.same).all())
    per_pair = np.concatenate([first[pairs.same], first[~pairs.same], second[~pairs.same]])
    return agree and len(np.unique(per_pair)) < len(per_pair)


def embed_faces(recognizer: Recognizer, faces: FaceSet, flip: bool, advance: Any = lambda count: None) -> Doubles:
    """Unit embeddings of all faces, float64 [N, D]; with ``flip``, of the sum of plain and mirrored raw embeddings."""
    parts = [np.zeros((0, recognizer.width))]
    for batch in faces.batches(_BATCH):
        plain = recognizer.embed(batch.images)
        parts.append(flip_fused(plain, recognizer.embed(batch.images[:, :, ::-1])) if flip else unit(plain))
        advance(len(batch))
    return np.concatenate(parts)


def _check_pairs(name: str, faces: FaceSet, pairs: PairSet) -> None:
    genuine, count = int(pairs.same.sum()), len(pairs.same)
    if genuine == 0 or genuine == count:
        raise StageError(f"{name}: {genuine} genuine and {count - genuine} impostor pairs; expected both kinds")
    if len(np.unique(pairs.fold)) < 2:
        raise StageError(f"{name}: {count} pairs lie in one fold; expected at least 2 folds")
    highest = int(max(pairs.a.max(), pairs.b.max()))
    if highest >= len(faces) or min(pairs.a.min(), pairs.b.min()) < 0:
        raise StageError(f"{name}: a pair names face {highest} of {len(faces)}; were faces lost in alignment?")


def _interval_fields(interval: tuple[float, float], note: str) -> dict[str, Any]:
    return {"interval": interval, "interval_over": "pairs", "method": "wilson", "note": note}


def _bootstrap_fields(interval: tuple[float, float] | None, identities: int) -> dict[str, Any]:
    if interval is None:
        return {"note": f"no interval: {identities} identities are too few to resample"}
    return {"interval": interval, "interval_over": "identities", "method": "bootstrap"}


def _power(far: float) -> str:
    """0.01 as ``1e-2``, 0.005 as ``5e-3``."""
    mantissa, exponent = f"{far:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _figures(name: str, scores: Doubles, pairs: PairSet) -> dict[str, bytes]:
    from harness.figures import roc_curve, score_histogram

    genuine, impostor = scores[pairs.same], scores[~pairs.same]
    return {
        f"{name}-scores": score_histogram(genuine, impostor, name),
        f"{name}-roc": roc_curve(genuine, impostor, name),
    }
