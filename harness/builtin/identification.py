"""``identification``: does a search in a gallery find a person who is enrolled, and nobody else?

Templates are made as ``ijb`` makes them. Letters: T templates, Q probes, R replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.arrays import Doubles, Ints
from harness.builtin.ijb import IJBSettings, subjects_of, template_vectors
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.stats.identification import Searches, rank_rates, search, tpir_at_fpir
from harness.stats.intervals import MIN_BEYOND, bootstrapped, few_events, few_identities, multiplicities
from harness.stats.uncertainty import Uncertainty
from harness.stats.verification import rate_name

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.pairs import TemplateSet
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

RANKS = (1, 5)
_MARGIN = 0.02  # rates that certainly differ by less count as equal


class IdentificationSettings(IJBSettings):
    """Settings of ``identification``: those of ``ijb``, and the false positive rates."""

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
            found = []
            for number in range(1, int(gallery.max()) + 1):
                one = np.flatnonzero(gallery == number)
                found.append(search(vectors[probes], people[probes], vectors[one], people[one]))
            metrics += self._rates(name, found, run)
            for number, searches in enumerate(found, 1):
                columns = {"template": probes, "subject": searches.subject, "rank": searches.rank, "top": searches.top}
                tables[f"{name}-searches-{number}"] = columns
        return Report(metrics, tables=tables)

    def _rates(self, name: str, found: Sequence[Searches], run: Run) -> list[Metric]:
        """Metrics of one protocol."""
        who, index = np.unique(found[0].subject, return_inverse=True)
        by_subject = [Searches(index, one.rank, one.top) for one in found]
        drawn = multiplicities(len(who), self.settings.replicates, run.generator(f"identification/{name}"))
        mated, others = (sum(int((one.mated == kind).sum()) for one in found) for kind in (True, False))
        few = few_identities(len(who))
        off = [flag for flag in ("flip_test", "feature_norm", "detector_score") if not getattr(self.settings, flag)]
        without = f"without {', '.join(off)}: not comparable with published figures" if off else ""
        note = f"mean over {len(found)} galleries, {mated:,} mated and {others:,} non-mated searches"
        common: dict[str, Any] = {"benchmark": name, "unit": "fraction", "better": "higher", "ranked": True}
        common["note"] = "; ".join(filter(None, [note, without]))

        def sure(rate: Callable[..., Doubles], why: str) -> Uncertainty:
            hits = round(float(rate(by_subject)[0]) * mated)
            why = few or why or few_events(hits, mated, "mated searches are", ("right", "wrong"))
            return Uncertainty(note=why) if why else bootstrapped(rate(by_subject, drawn=drawn), "mated searches")

        metrics = []
        for k in RANKS:
            rate = partial(rank_rates, k=k)
            shown: dict[str, Any] = {"title": f"{name} rank-{k}", "headline": k == 1, "margin": _MARGIN}
            at = float(rate(by_subject)[0])
            metrics.append(Metric(f"{name}/rank_{k}", at, mated, sure(rate, ""), **shown, **common))
        for fpir in self.settings.fpir:
            open_set, named = partial(tpir_at_fpir, fpir=fpir), rate_name(fpir)
            beyond = min(int(np.floor(fpir * (~one.mated).sum() + 1e-9)) for one in found)
            text = f"no interval: {beyond} non-mated searches lie beyond the threshold, expected {MIN_BEYOND}"
            uncertainty = sure(open_set, text if beyond < MIN_BEYOND else "")
            value, title = float(open_set(by_subject)[0]), f"{name} TPIR@{named}"
            metrics.append(Metric(f"{name}/tpir_at_fpir_{named}", value, mated, uncertainty, title=title, **common))
        return metrics


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
