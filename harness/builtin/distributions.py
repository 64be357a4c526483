"""``distributions``: scores of synthetic pairs beside those of authentic pairs, and of the two against each other.

Three kinds of pairs are compared: ``synthetic`` with synthetic, ``authentic`` with authentic, and, where a row's
contexts are embeddings of people of the source, ``cross``: images with the person whose context they were drawn from.

Source: IDiff-Face, arXiv 2308.04995, and the evaluation of its public code ("SYN v SYN", "SYN v REAL", "REAL v REAL").

Letters: N synthetic and M authentic faces, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.arrays import Doubles, Floats, Images, Ints
from harness.builtin.separability import affordable, judged
from harness.components.base import APACHE, Settings
from harness.components.evaluator import Evaluator
from harness.components.metric import Metric, Report
from harness.errors import StageError
from harness.faces.embedding import unit_embeddings
from harness.figures import picture_rows, score_outlines
from harness.stats import pairing
from harness.stats.intervals import mean_uncertainty
from harness.stats.neighbors import nearest
from harness.stats.score_intervals import score_uncertainties
from harness.stats.separability import from_pyeer, pyeer_report, pyeer_stats

if TYPE_CHECKING:
    from harness.components.given import Given
    from harness.components.run import Run
    from harness.faces.faceset import FaceSet

QUERIES = 1000  # synthetic images searched among the authentic ones, one per identity. Source: IDiff-Face's code
NEIGHBORS = 5  # in the picture
VARIATIONS = 8  # images of a person in the picture
_TITLES = {"synthetic": "SYN v SYN", "authentic": "REAL v REAL", "cross": "SYN v REAL"}
# How each statistic is to be read.
_SHOWN: dict[str, dict[str, Any]] = {
    "fdr": {"title": "FDR", "better": "higher", "relative": True},
    "eer": {"title": "EER", "unit": "fraction", "better": "lower", "headline": True},
    "genuine_mean": {"title": "genuine mean"},
    "genuine_std": {"title": "genuine std"},
    "impostor_mean": {"title": "impostor mean"},
    "impostor_std": {"title": "impostor std"},
}


class DistributionsSettings(Settings):
    """Settings of ``distributions``; the subset is that of IDiff-Face's evaluation (5,000 identities x 16 images)."""

    max_identities: int = Field(5000, ge=2, description="identities of each side, the first ones by number")
    max_per_identity: int = Field(16, ge=2, description="images per identity of each side, the first ones by number")
    shown: int = Field(6, ge=1, le=32, description="identities in each picture")
    replicates: int = Field(
        1000, ge=100, le=100_000, description="bootstrap replicates; a fifth of them above 200,000 scores"
    )


@dataclass(frozen=True)
class _Side:
    """The chosen faces of one side, sorted by identity: positions [N], embeddings [N, D], labels from 0 [N]."""

    faces: FaceSet
    chosen: Ints
    embeddings: Floats
    labels: Ints

    @property
    def identities(self) -> Ints:
        """Identity number of each label."""
        return np.unique(self.faces.identities[self.chosen])

    def part(self, kept: Ints) -> _Side:
        """Some of the faces."""
        labels = np.unique(self.labels[kept], return_inverse=True)[1].reshape(-1).astype(np.int64)
        return _Side(self.faces, self.chosen[kept], self.embeddings[kept], labels)

    def images(self, which: Ints) -> Images:
        """Faces by their place among the chosen ones, uint8 [P, H, W, 3]."""
        return self.faces.images(self.chosen[which])

    def columns(self, which: Ints, suffix: str) -> dict[str, NDArray[Any]]:
        """Whose they are, as columns of a table."""
        at = self.chosen[which]
        return {f"identity_{suffix}": self.faces.identities[at], f"sample_{suffix}": self.faces.samples[at]}


@dataclass(frozen=True)
class _Kind:
    """Pairs of one kind.

    Attributes:
        left, right: the two sides; one and the same for pairs within a set.
        owners: the label on the right to which each left face belongs, [N].
        genuine, impostor: places on the left and on the right, [P] each, as many of both.
        scores: cosines of the genuine and of the impostor pairs, [P] each.
    """

    left: _Side
    right: _Side
    owners: Ints
    genuine: tuple[Ints, Ints]
    impostor: tuple[Ints, Ints]
    scores: tuple[Doubles, Doubles]

    @classmethod
    def of(cls, left: _Side, right: _Side, owners: Ints, genuine: tuple[Ints, Ints], rng: np.random.Generator) -> _Kind:
        """The genuine pairs and as many random impostor ones, scored."""
        impostor = pairing.others(owners, right.labels, len(genuine[0]), rng)
        g, i = (pairing.cosines(left.embeddings, right.embeddings, *pairs) for pairs in (genuine, impostor))
        return cls(left, right, owners, genuine, impostor, (g, i))


class Distributions(Evaluator):
    """Genuine and impostor scores of synthetic, of authentic and of mixed pairs, with pictures of what lies behind."""

    Settings: ClassVar[type[Settings]] = DistributionsSettings
    license = APACHE
    needs = frozenset({"dataset", "judge", "source", "people"})

    def evaluate(self, given: Given, run: Run) -> Report:
        """Compare the dataset with the source."""
        synthetic, authentic = self._side(given, "dataset", run), self._side(given, "source", run)
        kinds = _kinds(synthetic, authentic, given.people, run.generator("distributions/pairs"))
        try:
            stats = {name: pyeer_stats(*kind.scores) for name, kind in kinds.items()}
            metrics = [m for name, kind in kinds.items() for m in self._metrics(name, kind, stats[name], run)]
        except ValueError as error:
            raise StageError(f"distributions: {error}") from error
        queries = np.unique(synthetic.labels, return_index=True)[1][:QUERIES]  # the first image of each identity
        k = min(NEIGHBORS, len(authentic.labels))
        cosines, places = nearest(synthetic.embeddings[queries], authentic.embeddings, k, device=run.device)
        metrics.append(_nearest_authentic(cosines[:, 0].astype(np.float64), run))
        scores = {_TITLES[name]: kind.scores for name, kind in kinds.items()}
        figures = {"distributions-scores": score_outlines(scores, "pairs of synthetic and of authentic images")}
        figures["distributions-neighbors"] = self._neighbors(synthetic, authentic, queries, cosines, places)
        if "cross" in kinds:
            figures["distributions-variation"] = self._variation(kinds["cross"])
        tables = {f"distributions-{name}-pairs": _table(kind) for name, kind in kinds.items()}
        return Report(metrics, figures, tables, self._rule(), _texts(kinds, stats))

    def _side(self, given: Given, role: str, run: Run) -> _Side:
        """The chosen faces of a role, embedded.

        Raises:
            StageError: there is no genuine or no impostor pair among them.
        """
        faces: FaceSet = getattr(given, role)
        chosen, labels = judged(faces, self.settings, f"distributions: the {role}")
        return _Side(faces, chosen, unit_embeddings(given.judge, faces, run, chosen), labels)

    def _metrics(self, name: str, kind: _Kind, stats: Any, run: Run) -> list[Metric]:
        """Statistics of one kind of pairs; ``stats`` are pyeer's."""
        genuine, impostor = kind.scores
        whose, a, b = kind.owners[kind.genuine[0]], kind.owners[kind.impostor[0]], kind.right.labels[kind.impostor[1]]
        replicates = affordable(self.settings.replicates, 2 * len(genuine))
        people, rng = int(kind.right.labels.max()) + 1, run.generator(f"distributions/bootstrap/{name}")
        sure = score_uncertainties(genuine, whose, impostor, a, b, people, rng, replicates)
        found = from_pyeer(stats)
        metrics = []
        for quantity, how in _SHOWN.items():
            n = 2 * len(genuine) if quantity in ("fdr", "eer") else len(genuine)
            shown = how | {"title": f"{_TITLES[name]} {how['title']}"}
            value = getattr(found, quantity)
            metrics.append(Metric(f"distributions/{name}_{quantity}", value, n, sure[quantity], **shown))
        return metrics

    def _neighbors(self, synthetic: _Side, authentic: _Side, queries: Ints, cosines: Floats, places: Ints) -> bytes:
        """A synthetic image of each of the first identities, and the authentic images nearest to it."""
        rows, captions = [], []
        for query, near, at in zip(queries[: self.settings.shown], cosines, places, strict=False):
            rows.append(np.concatenate([synthetic.images(np.array([query])), authentic.images(at)]))
            captions.append(["synthetic", *(f"{cosine:.3f}" for cosine in near)])
        return picture_rows(rows, captions, "synthetic images and their nearest authentic neighbors, with cosines")

    def _variation(self, cross: _Kind) -> bytes:
        """An authentic image of each of the first people, and the images that were drawn from their context."""
        rows, captions = [], []
        for person in np.unique(cross.owners)[: self.settings.shown]:
            real = np.flatnonzero(cross.right.labels == person)[:1]
            drawn = np.flatnonzero(cross.owners == person)[:VARIATIONS]
            near = cross.left.embeddings[drawn] @ cross.right.embeddings[real[0]]
            rows.append(np.concatenate([cross.right.images(real), cross.left.images(drawn)]))
            captions.append(["REAL", *(f"{cosine:.3f}" for cosine in near)])
        return picture_rows(rows, captions, "REAL v variation: a person, and images of their context, with cosines")

    def _rule(self) -> dict[str, Any]:
        """What numbers depend on beside judge and source, which the engine adds."""
        subset_rule = f"first {self.settings.max_identities} identities, first {self.settings.max_per_identity} images"
        return {"subset": subset_rule, "genuine": "all pairs", "impostor": "as many random pairs", "queries": QUERIES}


def _texts(kinds: dict[str, _Kind], stats: dict[str, Any]) -> dict[str, str]:
    """pyeer's report, and the scores as the two files that its ``geteerinf`` reads: one per line, every digit kept."""
    texts = {"distributions-pyeer.csv": pyeer_report({_TITLES[name]: stats[name] for name in kinds})}
    for name, kind in kinds.items():
        for part, scores in zip(("genuine", "impostor"), kind.scores, strict=True):
            texts[f"distributions-{name}-{part}.txt"] = "".join(f"{score!r}\n" for score in scores.tolist())
    return texts


def _kinds(synthetic: _Side, authentic: _Side, people: Ints | None, rng: np.random.Generator) -> dict[str, _Kind]:
    kinds = {"synthetic": _among(synthetic, rng), "authentic": _among(authentic, rng)}
    cross = None if people is None else _across(synthetic, authentic, people, rng)
    return kinds if cross is None else kinds | {"cross": cross}


def _among(side: _Side, rng: np.random.Generator) -> _Kind:
    """All genuine pairs of a set, once each (the reference counts both orders)."""
    return _Kind.of(side, side, side.labels, pairing.within(side.labels), rng)


def _across(synthetic: _Side, authentic: _Side, people: Ints, rng: np.random.Generator) -> _Kind | None:
    """Synthetic faces with those of the person whose context they were drawn from.

    Args:
        people: identity number in the source of each synthetic identity, [I].

    Returns:
        None where fewer than two of these people have a face among the authentic ones.
    """
    person = people[synthetic.faces.identities[synthetic.chosen]]  # of each synthetic face
    common = np.intersect1d(person, authentic.identities)
    if len(common) < 2:
        return None
    left = synthetic.part(np.flatnonzero(np.isin(person, common)))
    right = authentic.part(np.flatnonzero(np.isin(authentic.identities[authentic.labels], common)))
    owners = np.searchsorted(common, person[np.isin(person, common)])
    return _Kind.of(left, right, owners, pairing.own(owners, right.labels), rng)


def _nearest_authentic(cosines: Doubles, run: Run) -> Metric:
    sure = mean_uncertainty(cosines, run.generator("distributions/nearest"))
    name, title = "distributions/nearest_authentic", "nearest authentic"
    return Metric(name, float(cosines.mean()), len(cosines), sure, title=title)


def _table(kind: _Kind) -> dict[str, NDArray[Any]]:
    """Pairs with their scores, genuine ones first; a is synthetic where the kinds differ."""
    a, b = (np.concatenate(sides) for sides in zip(kind.genuine, kind.impostor, strict=True))
    same = np.arange(len(a)) < len(kind.genuine[0])
    return {
        **kind.left.columns(a, "a"),
        **kind.right.columns(b, "b"),
        "same": same,
        "score": np.concatenate(kind.scores),
    }
