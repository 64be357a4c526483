"""``ijb``: verification of templates, as IJB-B and IJB-C define it: true accept rates at fixed false accept rates.

Letters: N faces, T templates, P pairs, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.components.base import APACHE, Settings
from harness.components.data import Metric, Report, Subject, TemplateSet
from harness.components.evaluator import Evaluator, Need
from harness.errors import StageError
from harness.stats.intervals import Doubles
from harness.stats.templates import (
    FARS,
    OperatingPoint,
    PairSubjects,
    TemplateSums,
    image_features,
    image_weights,
    pair_scores,
    points_at_most,
    points_nearest,
    tar_uncertainties,
)

if TYPE_CHECKING:
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

_BATCH = 512
_NEAREST = "by the reference's rule; the interval is that of tar_at_far"


class IJBSettings(Settings):
    """Settings of ``ijb``. Published figures have all three flags on."""

    flip_test: bool = Field(True, description="add the embedding of the mirrored image; reference: yes")
    feature_norm: bool = Field(True, description="an image counts by the length of its embedding; reference: yes")
    detector_score: bool = Field(True, description="an image counts by the detector's score; reference: yes")
    replicates: int = Field(1000, ge=100, le=100_000, description="bootstrap replicates of an interval")


class IJB(Evaluator):
    """TAR at six FARs on pairs of templates, by two rules for the threshold, with intervals over subjects."""

    Settings: ClassVar[type[Settings]] = IJBSettings
    license = APACHE
    code = (
        "harness.builtin.ijb",
        "harness.stats.templates",
        "harness.stats.intervals",
        "harness.stats.verification",
        "harness.stats.separability",
        "harness.figures",
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"recognizer", "templates"})

    def evaluate(self, subject: Subject, run: Run) -> Report:
        """Embed the faces of every protocol into templates and score their pairs."""
        if subject.recognizer is None or not subject.templates:
            raise StageError("ijb needs a recognizer and at least one protocol of templates")
        progress = run.progress(sum(len(faces) for faces, _ in subject.templates.values()), "images")
        metrics: list[Metric] = []
        figures: dict[str, bytes] = {}
        tables: dict[str, dict[str, NDArray[Any]]] = {}
        for name, (faces, templates) in subject.templates.items():
            _check(name, faces, templates)
            vectors = self._vectors(name, subject.recognizer, faces, templates, progress.advance)
            scores = pair_scores(vectors, templates.a, templates.b)
            found, more = self._score(name, faces, templates, scores, run)
            metrics += found
            tables |= more
            figures |= _figures(name, scores, templates)
        return Report(metrics, figures, tables)

    def _vectors(
        self,
        name: str,
        recognizer: Recognizer,
        faces: FaceSet,
        templates: TemplateSet,
        advance: Callable[[int], None],
    ) -> Doubles:
        """Unit vectors of the templates, float64 [T, D]; no embedding is kept."""
        settings: IJBSettings = self.settings
        weights = image_weights(
            templates.template, templates.media, templates.score if settings.detector_score else None
        )
        sums = TemplateSums(len(templates), recognizer.width)
        at = 0
        for batch in faces.batches(_BATCH):
            part = slice(at, at + len(batch))
            mirrored = recognizer.embed(batch.images[:, :, ::-1]) if settings.flip_test else None
            features = image_features(recognizer.embed(batch.images), mirrored, settings.feature_norm)
            if not np.isfinite(features).all():
                raise StageError(f"{name}: an embedding is not finite, among faces {at} to {part.stop - 1}")
            sums.add(templates.template[part], weights[part], features)
            at = part.stop
            advance(len(batch))
        vectors = sums.vectors()
        empty = np.flatnonzero(~vectors.any(axis=1))
        if len(empty):
            text = "are zero, such as that of template"
            raise StageError(f"{name}: {len(empty)} template vectors {text} {empty[0]}; are its detector scores all 0?")
        return vectors

    def _score(
        self, name: str, faces: FaceSet, templates: TemplateSet, scores: Doubles, run: Run
    ) -> tuple[list[Metric], dict[str, dict[str, NDArray[Any]]]]:
        """Metrics of one protocol, and tables of its pairs and of its operating points."""
        same = templates.same
        genuine, impostor = scores[same], scores[~same]
        ours, reference = points_at_most(genuine, impostor), points_nearest(genuine, impostor)
        people = _subjects(faces, templates)
        subjects = None if people is None else PairSubjects.known(people, templates.a, templates.b, same)
        rng = run.generator(f"ijb/{name}")
        intervals = tar_uncertainties(ours, scores, same, subjects, rng, self.settings.replicates)
        common: dict[str, Any] = {"n": len(scores), "protocol": name}
        off = [flag for flag in ("flip_test", "feature_norm", "detector_score") if not getattr(self.settings, flag)]
        remark = f"without {', '.join(off)}: not comparable with published figures" if off else ""
        metrics = []
        for point, interval in zip(ours, intervals, strict=True):
            fields = asdict(interval)
            fields["note"] = "; ".join(filter(None, [fields["note"], remark]))
            metrics.append(Metric(f"{name}/tar_at_far_{_power(point.far)}", point.tar, **common, **fields))
        for point in reference:
            note = "; ".join(filter(None, [_NEAREST, remark]))
            metrics.append(Metric(f"{name}/tar_nearest_far_{_power(point.far)}", point.tar, **common, note=note))
        table: dict[str, NDArray[Any]] = {"a": templates.a, "b": templates.b, "same": same}
        if subjects is not None:
            table |= {"identity_a": subjects.a, "identity_b": subjects.b}
        table["score"] = scores.astype(np.float32)
        return metrics, {f"{name}-pairs": table, f"{name}-operating-points": _points_table(ours, reference)}


def _check(name: str, faces: FaceSet, templates: TemplateSet) -> None:
    if not len(templates.template) == len(templates.media) == len(templates.score) == len(faces):
        text = f"{len(templates.template)} template numbers for {len(faces)} faces; were faces lost in alignment?"
        raise StageError(f"{name}: {text}")
    genuine, count = int(templates.same.sum()), len(templates.same)
    if genuine in (0, count):
        raise StageError(f"{name}: {genuine} genuine and {count - genuine} impostor pairs; expected both kinds")
    filled = np.bincount(templates.template, minlength=len(templates)) > 0
    for side in (templates.a, templates.b):
        if int(side.min()) < 0 or int(side.max()) >= len(filled) or not filled[side].all():
            raise StageError(f"{name}: a pair names a template without faces; were faces lost in alignment?")


def _subjects(faces: FaceSet, templates: TemplateSet) -> NDArray[np.int64] | None:
    """Whom each template shows, [T]; None if its faces show several."""
    people = np.zeros(len(templates), dtype=np.int64)
    people[templates.template] = faces.identities
    return people if bool((people[templates.template] == faces.identities).all()) else None


def _points_table(ours: list[OperatingPoint], reference: list[OperatingPoint]) -> dict[str, NDArray[Any]]:
    points = [*ours, *reference]
    return {
        "rule": np.array(["at most"] * len(ours) + ["nearest"] * len(reference)),
        "far": np.array([point.far for point in points]),
        "measured_far": np.array([point.measured for point in points]),
        "tar": np.array([point.tar for point in points]),
    }


def _power(far: float) -> str:
    """1e-04 as ``1e-4``, the form of metric names."""
    mantissa, exponent = f"{far:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _figures(name: str, scores: Doubles, templates: TemplateSet) -> dict[str, bytes]:
    from harness.figures import det_curve, roc_curve, score_histogram

    genuine, impostor = scores[templates.same], scores[~templates.same]
    return {
        f"{name}-scores": score_histogram(genuine, impostor, name),
        f"{name}-roc": roc_curve(genuine, impostor, name, FARS[0]),
        f"{name}-det": det_curve(genuine, impostor, name, FARS[0]),
    }
