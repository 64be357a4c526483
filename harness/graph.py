"""The graph of a suite as data: what each kind of stage is, which artifacts it reads, and the rows it serves.

One frozen class per kind of stage. Its fields are the whole truth about it: those marked :func:`parent` name the
artifacts it reads, the others (its options) what else its result depends on. The planner makes stages; the engine, the
workers, the result files and the events read them. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from harness.components.base import Crop

if TYPE_CHECKING:
    from harness.suites.schema import Gate, Suite

_PARENT, _LOCAL = "parent", "local"


class StageId(NamedTuple):
    """Names an artifact: its kind, and the digest of all that it depends on."""

    kind: str
    key: str


def parent() -> Any:
    """A field that names an artifact which the stage reads, or None; or several, by name."""
    return field(default=None, metadata={_PARENT: True})


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: a pure function of its key.

    Attributes:
        key: what its result depends on, digested.
        label: what a person calls it.
        component, target: the component's name in the suite and its import string; empty for weights.
        settings: the component's resolved settings.
        seed: drives everything random in it.
        told: the settings as they may be stored: without what came from a secret variable.
    """

    kind: ClassVar[str]
    lasting: ClassVar[frozenset[str]] = frozenset()
    """Parents that are read together with the stage's artifact, and so are needed even when that is there."""

    key: str = ""
    label: str = ""
    component: str = ""
    target: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> StageId:
        """Names its artifact."""
        return StageId(self.kind, self.key)

    @property
    def parents(self) -> dict[str, StageId]:
        """The artifacts it reads, by role; those of a field that holds several as ``FIELD:NAME``."""
        found: dict[str, StageId] = {}
        for each in fields(self):
            value = getattr(self, each.name) if _PARENT in each.metadata else None
            if isinstance(value, StageId):
                found[each.name] = value
            elif value is not None:
                found |= {f"{each.name}:{name}": id for name, id in value.items()}
        return found

    @property
    def options(self) -> dict[str, Any]:
        """What its result depends on beside component, settings, seed and parents."""
        own = [each for each in fields(self) if each.name not in _COMMON and not each.metadata]
        return {each.name: getattr(self, each.name) for each in own}

    def to_json(self) -> dict[str, Any]:
        """Plain values that :func:`stage_from_json` reads back."""
        return {"kind": self.kind, **asdict(self)}


_COMMON = {each.name for each in fields(Stage)}


@dataclass(frozen=True, kw_only=True)
class SourceStage(Stage):
    """Authentic faces with identities."""

    kind = "source"


@dataclass(frozen=True, kw_only=True)
class WeightsStage(Stage):
    """A weights file, taken into the store; ``path`` is where it lies on this machine, or ``maker`` what writes it."""

    kind = "weights"
    content: str
    path: str = field(default="", metadata={_LOCAL: True})
    maker: str = field(default="", metadata={_LOCAL: True})


@dataclass(frozen=True, kw_only=True)
class ContextsStage(Stage):
    """``count`` identity contexts."""

    kind = "contexts"
    count: int
    recognizer: StageId | None = parent()
    source: StageId | None = parent()
    model: StageId | None = parent()


@dataclass(frozen=True, kw_only=True)
class FitStage(Stage):
    """A generator's model, fitted to a source."""

    kind = "fit"
    source: StageId | None = parent()
    recognizer: StageId | None = parent()
    autoencoder: StageId | None = parent()


@dataclass(frozen=True, kw_only=True)
class GenerateStage(Stage):
    """A row's images, spares included."""

    kind = "generate"
    identities: int
    per_identity: int
    source: StageId | None = parent()
    model: StageId | None = parent()
    recognizer: StageId | None = parent()
    contexts: StageId | None = parent()


@dataclass(frozen=True, kw_only=True)
class AlignStage(Stage):
    """Faces warped to a crop; of so many identities so many images are kept, or all where that is None."""

    kind = "align"
    view: str = "arcface"
    crop_px: int
    identities: int | None = None
    per_identity: int | None = None
    faces: StageId | None = parent()

    @property
    def crop(self) -> Crop:
        """The crop of its faces."""
        return Crop(self.view, self.crop_px)


@dataclass(frozen=True, kw_only=True)
class MixStage(Stage):
    """Aligned faces of other datasets as one dataset, their identities kept apart.

    Attributes:
        sizes: of each part, how many identities are taken and how many images of each; None: all.
        names: whose faces the parts are.
        parts: the aligned faces, by their place from ``00``.
    """

    kind = "mix"
    sizes: tuple[tuple[int | None, int | None], ...] = ()
    names: tuple[str, ...] = field(default=(), metadata={_LOCAL: True})
    parts: Mapping[str, StageId] | None = parent()


@dataclass(frozen=True, kw_only=True)
class TrainStage(Stage):
    """A recognizer, trained on aligned faces or raw pictures, of so many identities with so many images each.

    ``protocols`` choose among its epochs; None where nothing does that it is evaluated on.
    """

    kind = "train"
    identities: int | None = None
    per_identity: int | None = None
    dataset: StageId | None = parent()
    protocols: Mapping[str, StageId] | None = parent()


@dataclass(frozen=True, kw_only=True)
class ProtocolStage(Stage):
    """Evaluation faces with their pairs; a protocol over a source's faces leaves them where they are."""

    kind = "protocol"
    lasting = frozenset({"source"})
    view: str = "arcface"
    crop_px: int
    source: StageId | None = parent()

    @property
    def crop(self) -> Crop:
        """The crop of its faces."""
        return Crop(self.view, self.crop_px)


@dataclass(frozen=True, kw_only=True)
class EvaluateStage(Stage):
    """A report of one evaluator.

    Attributes:
        looks_at: the source whose faces stand in for the row's dataset; empty: the row's dataset itself.
        own_judge: the row's own recognizer judges these faces.
        identities, per_identity: what the dataset must hold.
        people: the contexts of the row, where they are embeddings of people of ``source``.
    """

    kind = "evaluate"
    looks_at: str = ""
    own_judge: bool = False
    identities: int | None = None
    per_identity: int | None = None
    recognizer: StageId | None = parent()
    dataset: StageId | None = parent()
    judge: StageId | None = parent()
    source: StageId | None = parent()
    people: StageId | None = parent()
    protocols: Mapping[str, StageId] | None = parent()


# In pipeline order; ``harness run --until`` names one of them.
_CLASSES: tuple[type[Stage], ...] = (
    SourceStage,
    WeightsStage,
    ContextsStage,
    FitStage,
    GenerateStage,
    AlignStage,
    MixStage,
    TrainStage,
    ProtocolStage,
    EvaluateStage,
)
STAGES = tuple(cls.kind for cls in _CLASSES)


def stage_from_json(values: Mapping[str, Any]) -> Stage:
    """The stage that :meth:`Stage.to_json` wrote."""
    given = dict(values)
    cls = _CLASSES[STAGES.index(given.pop("kind"))]
    for each in fields(cls):
        value = given[each.name]
        if _PARENT in each.metadata and value is not None:
            several = isinstance(value, Mapping)
            given[each.name] = {name: StageId(*id) for name, id in value.items()} if several else StageId(*value)
    return cls(**given)


@dataclass(frozen=True)
class RowPlan:
    """One row with one seed: its stages, and what the result file says of it.

    Attributes:
        recognizer: what is evaluated: trained on the row's dataset, or weights that exist.
        generate, align: the row's dataset; None for a recognizer that exists and for a mixture.
        mix: the row's dataset, where it is made of others.
        parts: the stages that made them; rows share these.
        generator: the component's name, or ``recognizer``.
        contexts: the law of the identity contexts, where the row uses any.
        method: digest of all that made the row's recognizer but the seed: model, contexts, source, aligner, recipe and
            their code.
        parameters: the row's resolved settings, flat, for display.
        shipped: the ``demo:`` weights it rests on.
        chosen_on: the protocols that chose among the epochs of its recognizer.
    """

    row: str
    seed: int
    recognizer: Stage
    evaluations: tuple[EvaluateStage, ...]
    generator: str
    generate: GenerateStage | None = None
    align: AlignStage | None = None
    contexts: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    shipped: tuple[str, ...] = ()
    method: str = ""
    chosen_on: tuple[str, ...] = ()
    mix: MixStage | None = None
    parts: tuple[Stage, ...] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The row's own stages, in pipeline order."""
        made = [stage for stage in (self.generate, self.align, self.mix) if stage is not None]
        return (*made, self.recognizer, *self.evaluations)


@dataclass
class SuitePlan:
    """Everything a run will do: stages in an order in which each comes after its parents, and the rows they serve.

    ``gates``: by training stage, the evaluations of its dataset that must come first, with their limits by metric.
    """

    suite: Suite
    path: Path
    resolved_yaml: str
    recipe: str = ""
    stages: dict[StageId, Stage] = field(default_factory=dict)
    row_plans: list[RowPlan] = field(default_factory=list)
    gates: dict[StageId, dict[StageId, dict[str, Gate]]] = field(default_factory=dict)

    @property
    def rows(self) -> list[str]:
        """The rows' names, in suite order."""
        return list(dict.fromkeys(plan.row for plan in self.row_plans))

    @property
    def labels(self) -> list[str]:
        """What the stages are called, in order."""
        return [stage.label for stage in self.stages.values()]

    def want(self, stage: Stage, there: Callable[[Stage], bool], wanted: dict[StageId, Stage]) -> None:
        """Add a stage to those wanted; what it needs only where it is not there, or is read together with it.

        Args:
            there: whether a stage's artifact is in the store.
            wanted: grows; parents come before what needs them.
        """
        if stage.id in wanted:
            return
        missing = not there(stage)
        for role, parent in stage.parents.items():
            if missing or role in stage.lasting:
                self.want(self.stages[parent], there, wanted)
        for gate in self.gates.get(stage.id, {}):
            self.want(self.stages[gate], there, wanted)
        wanted[stage.id] = stage

    def ancestors(self, stage: Stage) -> Iterator[Stage]:
        """The stage and all it depends on."""
        yield stage
        for id in stage.parents.values():
            yield from self.ancestors(self.stages[id])
