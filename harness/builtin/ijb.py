"""``ijb``: verification of templates, as IJB-B and IJB-C define it: true accept rates at fixed false accept rates.

Letters: N faces, T templates, P pairs, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.arrays import Doubles, Ints
from harness.builtin.verification import found_faces, not_found
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.figures import pair_figures
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
    points_table,
    tar_uncertainties,
)
from harness.stats.uncertainty import Uncertainty
from harness.stats.verification import rate_name

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.pairs import LostPairs, TemplateSet
    from harness.components.recognizer import Recognizer
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

_BATCH = 512
_NEAREST = "by the reference's rule; the interval is that of tar_at_far"


class TemplateSettings(Settings):
    """How templates are made. Published figures have all three flags on."""

    flip_test: bool = Field(True, description="add the embedding of the mirrored image; reference: yes")
    feature_norm: bool = Field(True, description="an image counts by the length of its embedding; reference: yes")
    detector_score: bool = Field(True, description="an image counts by the detector's score; reference: yes")


class IJBSettings(TemplateSettings):
    """Settings of ``ijb``."""

    replicates: int = Field(1000, ge=100, le=100_000, description="bootstrap replicates of an interval")


class IJB(Evaluator):
    """TAR at six FARs on pairs of templates, by two rules for the threshold, with intervals over subjects."""

    Settings: ClassVar[type[Settings]] = IJBSettings
    license = APACHE
    needs = frozenset({"recognizer", "templates"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Embed the faces of every protocol into templates and score their pairs."""
        progress = run.progress(sum(len(faces) for faces, _ in given.templates.values()), "images")
        metrics: list[Metric] = []
        figures: dict[str, bytes] = {}
        tables: dict[str, dict[str, NDArray[Any]]] = {}
        for name, (faces, templates) in given.templates.items():
            _check(name, faces, templates)
            vectors = template_vectors(name, given.recognizer, faces, templates, self.settings, progress.advance)
            people, pairs = subjects_of(faces, templates), templates
            scores = pair_scores(vectors, templates.a, templates.b)
            if templates.lost is not None:
                people, pairs, scores = _with_lost(people, templates, templates.lost, scores)
            found, more = self._score(name, people, pairs, scores, run, not_found(faces, templates.lost))
            metrics += found + list(found_faces(name, faces, templates.lost))
            tables |= more
            figures |= pair_figures(name, scores[pairs.same], scores[~pairs.same], FARS[0])
        return Report(metrics, figures, tables)

    def _score(
        self, name: str, people: Ints | None, templates: TemplateSet, scores: Doubles, run: Run, lost: str
    ) -> tuple[list[Metric], dict[str, dict[str, NDArray[Any]]]]:
        """Metrics of one protocol, and tables of its pairs and of its operating points."""
        same = templates.same
        genuine, impostor = scores[same], scores[~same]
        ours, reference = points_at_most(genuine, impostor), points_nearest(genuine, impostor)
        subjects = None if people is None else PairSubjects.known(people, templates.a, templates.b, same)
        rng = run.generator(f"ijb/{name}")
        sure = tar_uncertainties(ours, scores, same, subjects, rng, self.settings.replicates)
        metrics = [
            self._metric(name, "at", point, len(scores), uncertainty, lost, headline=True, ranked=True)
            for point, uncertainty in zip(ours, sure, strict=True)
        ]
        metrics += [
            self._metric(name, "nearest", point, len(scores), Uncertainty(note=_NEAREST), lost) for point in reference
        ]
        table: dict[str, NDArray[Any]] = {"a": templates.a, "b": templates.b, "same": same}
        if subjects is not None:
            table |= {"identity_a": subjects.a, "identity_b": subjects.b}
        table["score"] = scores.astype(np.float32)
        rule = np.array(["at most"] * len(ours) + ["nearest"] * len(reference))
        points = {"rule": rule, **points_table([*ours, *reference])}
        return metrics, {f"{name}-pairs": table, f"{name}-operating-points": points}

    def _metric(
        self, name: str, rule: str, point: OperatingPoint, n: int, uncertainty: Uncertainty, lost: str, **shown: Any
    ) -> Metric:
        """A true accept rate by one of the two rules."""
        off = [flag for flag in ("flip_test", "feature_norm", "detector_score") if not getattr(self.settings, flag)]
        without = f"without {', '.join(off)}: not comparable with published figures" if off else ""
        note = "; ".join(filter(None, [without, lost]))
        at, nearest = rate_name(point.far), " nearest" * (rule == "nearest")
        shown |= {"title": f"{name} TAR@{at}{nearest}", "unit": "fraction", "better": "higher"}
        full = f"{name}/tar_{rule}_far_{at}"
        return Metric(full, point.tar, n, uncertainty, benchmark=name, note=note, **shown)


def template_vectors(
    name: str,
    recognizer: Recognizer,
    faces: FaceSet,
    templates: TemplateSet,
    settings: IJBSettings,
    advance: Callable[[int], None],
) -> Doubles:
    """Unit vectors of the templates, float64 [T, D]; no embedding is kept.

    Raises:
        StageError: an embedding is not finite, or a template's vector is zero.
    """
    weights = image_weights(templates.template, templates.media, templates.score if settings.detector_score else None)
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


def _check(name: str, faces: FaceSet, templates: TemplateSet) -> None:
    if not len(templates.template) == len(templates.media) == len(templates.score) == len(faces):
        text = f"{len(templates.template)} template numbers for {len(faces)} faces; were faces lost in alignment?"
        raise StageError(f"{name}: {text}")
    if not len(templates.a):
        raise StageError(f"{name}: there is no pair of which both templates have a face")
    genuine, count = int(templates.same.sum()), len(templates.same)
    if genuine in (0, count):
        raise StageError(f"{name}: {genuine} genuine and {count - genuine} impostor pairs; expected both kinds")
    filled = np.bincount(templates.template, minlength=len(templates)) > 0
    for side in (templates.a, templates.b):
        if int(side.min()) < 0 or int(side.max()) >= len(filled) or not filled[side].all():
            raise StageError(f"{name}: a pair names a template without faces; were faces lost in alignment?")


def subjects_of(faces: FaceSet, templates: TemplateSet) -> Ints | None:
    """Whom each template shows, [T]; None if its faces show several."""
    people = np.zeros(len(templates), dtype=np.int64)
    people[templates.template] = faces.identities
    return people if bool((people[templates.template] == faces.identities).all()) else None


def _with_lost(
    people: Ints | None, templates: TemplateSet, lost: LostPairs, scores: Doubles
) -> tuple[Ints | None, TemplateSet, Doubles]:
    """Subjects, pairs and scores with the lost pairs behind them, each of two empty templates and scored lowest."""
    first = len(templates) + np.arange(len(lost))
    pairs = replace(
        templates,
        a=np.concatenate([templates.a, first]),
        b=np.concatenate([templates.b, first + len(lost)]),
        same=np.concatenate([templates.same, lost.same]),
    )
    if people is not None:
        people = np.concatenate([people, lost.identity_a, lost.identity_b])
    return people, pairs, np.concatenate([scores, np.full(len(lost), -1.0)])
