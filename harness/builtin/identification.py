"""``identification``: does a search in a gallery find a person who is enrolled, and nobody else?

Templates are made as ``ijb`` makes them. Letters: T templates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.arrays import Doubles, Ints
from harness.builtin.ijb import TemplateSettings, subjects_of, template_vectors
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.stats.identification import PARTS, Searches, parts, rank_rate, search, tpir_at_fpir
from harness.stats.intervals import MIN_BEYOND, few_events, few_identities, jackknifed
from harness.stats.uncertainty import Uncertainty
from harness.stats.verification import rate_name

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.pairs import TemplateSet
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

RANKS = (1, 5)
_MARGIN = 0.02  # rates that certainly differ by less count as equal


class IdentificationSettings(TemplateSettings):
    """Settings of ``identification``: how templates are made, and the false positive rates."""

    fpir: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = Field(
        (0.01, 0.1), description="shares of non-mated searches that may have a candidate, at which TPIR is reported"
    )


class Identification(Evaluator):
    """Rank-1, rank-5 and TPIR at FPIR of searches in galleries, the mean over them, with intervals over subjects."""

    Settings: ClassVar[type[Settings]] = IdentificationSettings
    license = APACHE
    needs = frozenset({"recognizer", "templates"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Embed the faces of every protocol into templates and search the probes in the galleries."""
        progress = run.progress(sum(len(faces) for faces, _ in given.templates.values()), "images")
        enrolled = {name: _enrolled(name, faces, templates) for name, (faces, templates) in given.templates.items()}
        metrics: list[Metric] = []
        tables: dict[str, dict[str, NDArray[Any]]] = {}
        for name, (faces, templates) in given.templates.items():
            people, gallery = enrolled[name]
            recognizer, settings = given.recognizer, self.settings
            vectors = template_vectors(name, recognizer, faces, templates, settings, progress.advance)
            probes = np.flatnonzero(gallery == 0)
            found = _searched(vectors, people, gallery)
            part = parts(people, run.generator(f"identification/{name}"))
            kept = (part != number for number in range(PARTS))
            without = [_searched(vectors[each], people[each], gallery[each]) for each in kept]
            metrics += self._rates(name, found, without)
            for number, searches in enumerate(found, 1):
                columns = {"template": probes, "subject": searches.subject, "rank": searches.rank, "top": searches.top}
                tables[f"{name}-searches-{number}"] = columns
        return Report(metrics, tables=tables)

    def _rates(self, name: str, found: list[Searches], without: list[list[Searches]]) -> list[Metric]:
        """Metrics of one protocol, from its searches and those without each part of the subjects."""
        mated, others = (sum(int((one.mated == kind).sum()) for one in found) for kind in (True, False))
        few = few_identities(len(np.unique(found[0].subject)))
        if not all(one.mated.any() and not one.mated.all() for left in without for one in left):
            few = few or f"no interval: all mated or non-mated searches show one of {PARTS} parts of the people"
        off = [flag for flag in ("flip_test", "feature_norm", "detector_score") if not getattr(self.settings, flag)]
        without_flags = f"without {', '.join(off)}: not comparable with published figures" if off else ""
        note = f"mean over {len(found)} galleries, {mated:,} mated and {others:,} non-mated searches"
        common: dict[str, Any] = {"benchmark": name, "unit": "fraction", "better": "higher", "ranked": True}
        common["note"] = "; ".join(filter(None, [note, without_flags]))

        def measured(quantity: str, rate: Callable[[Sequence[Searches]], float], why: str, **told: Any) -> Metric:
            value = rate(found)
            why = few or why or few_events(round(value * mated), mated, "mated searches are", ("right", "wrong"))
            sure = Uncertainty(note=why) if why else jackknifed(value, [rate(left) for left in without], "identities")
            return Metric(f"{name}/{quantity}", value, mated, sure, **told, **common)

        metrics = []
        for k in RANKS:
            told: dict[str, Any] = {"title": f"{name} rank-{k}", "headline": k == 1, "margin": _MARGIN}
            metrics.append(measured(f"rank_{k}", partial(rank_rate, k=k), "", **told))
        for fpir in self.settings.fpir:
            beyond = min(int(np.floor(fpir * (~one.mated).sum() + 1e-9)) for one in found)
            text = f"no interval: {beyond} non-mated searches lie beyond the threshold, expected {MIN_BEYOND}"
            why = text if beyond < MIN_BEYOND else ""
            title = f"{name} TPIR@{rate_name(fpir)}"
            open_set = partial(tpir_at_fpir, fpir=fpir)
            metrics.append(measured(f"tpir_at_fpir_{rate_name(fpir)}", open_set, why, title=title))
        return metrics


def _searched(vectors: Doubles, people: Ints, gallery: Ints) -> list[Searches]:
    """The searches of all probes in every gallery, of templates [T, D]."""
    probes, found = np.flatnonzero(gallery == 0), []
    for number in range(1, int(gallery.max()) + 1):
        one = np.flatnonzero(gallery == number)
        found.append(search(vectors[probes], people[probes], vectors[one], people[one]))
    return found


def _enrolled(name: str, faces: FaceSet, templates: TemplateSet) -> tuple[Ints, Ints]:
    """Whom each template shows, and which gallery it is enrolled in (0: it is a probe), int64 [T] each.

    Raises:
        StageError: there are no galleries, faces were lost, or templates cannot be searched.
    """
    if templates.gallery is None:
        text = "expected one with galleries, such as fw-identification, or ijbc with identification: true"
        raise StageError(f"{name}: the protocol has no galleries; {text}")
    if len(faces) != len(faces.items):
        text = f"{len(faces.items) - len(faces)} of {len(faces.items)} faces were not found"
        raise StageError(f"{name}: {text}, and a probe that is not there cannot be searched; remove the aligner")
    people = subjects_of(faces, templates)
    if people is None:
        raise StageError(f"{name}: a template has faces of several people")
    gallery = np.zeros(len(templates), np.int64)
    gallery[templates.template] = templates.gallery
    for number in range(1, int(gallery.max()) + 1):
        enrolled = people[gallery == number]
        if len(np.unique(enrolled)) < len(enrolled):
            raise StageError(f"{name}: a person is enrolled twice in gallery {number}; expected one template")
        mated = np.isin(people[gallery == 0], enrolled)
        if mated.all() or not mated.any():
            text = f"{int(mated.sum())} mated and {int((~mated).sum())} non-mated probes; expected both kinds"
            raise StageError(f"{name}: gallery {number} has {text}")
    return people, gallery
