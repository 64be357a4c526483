"""From a suite to the graph of its stages, each with its key: nothing is run, everything is checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.components.contexts import ContextLaw
from harness.components.evaluator import Evaluator, Need
from harness.components.generator import Generator
from harness.components.protocol import Protocol
from harness.errors import DataError, InputError
from harness.plugins import registry
from harness.store.keys import digest, source_digest, stage_key
from harness.store.stage import StageSpec
from harness.store.weights import WeightsInfo, read_info, weights_content
from harness.suite import not_in
from harness.suite_schema import ContextsEntry, EvaluateEntry, Gate, ModelEntry, RecognizerEntry, RowEntry, Suite, Use

# Raised when the stages' own code changes what an artifact holds; components are keyed by their source instead.
STAGE_SCHEMA = 1


@dataclass(frozen=True)
class RowPlan:
    """One row with one seed: its stages by role, and what the result file says of it.

    ``method`` is a digest of all that made the row's recognizer but the seed: model, contexts, source, aligner, recipe
    and their code.
    """

    row: str
    seed: int
    stages: dict[str, StageSpec]
    generator: str
    contexts: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    shipped: list[str] = field(default_factory=list)
    method: str = ""


@dataclass
class SuitePlan:
    """Everything a run will do: stages in an order in which each comes after its parents, and the rows they serve."""

    suite: Suite
    path: Path
    resolved_yaml: str
    recipe: str = ""
    stages: dict[tuple[str, str], StageSpec] = field(default_factory=dict)
    row_plans: list[RowPlan] = field(default_factory=list)
    # By training stage: the evaluations of its dataset that must come first, with their limits.
    gates: dict[tuple[str, str], dict[tuple[str, str], dict[str, Gate]]] = field(default_factory=dict)

    @property
    def rows(self) -> list[str]:
        """The rows' names, in suite order."""
        return list(dict.fromkeys(plan.row for plan in self.row_plans))

    @property
    def labels(self) -> list[str]:
        """What the stages are called, in order."""
        return [stage.label for stage in self.stages.values()]

    def ancestors(self, stage: StageSpec) -> Iterator[StageSpec]:
        """The stage and all it depends on."""
        yield stage
        for parent in stage.parents.values():
            yield from self.ancestors(self.stages[parent])


def plan_suite(suite: Suite, path: Path) -> SuitePlan:
    """Build the graph of a resolved suite.

    Args:
        path: the suite file, for the errors.

    Raises:
        InputError: a name, a model kind, a crop or a judge does not fit.
    """
    return _Planner(suite, path).plan()


def demo_path(name: str) -> Path:
    """Where the weights that a distribution ships as ``demo:NAME`` lie."""
    import importlib.util

    package, _, inner = registry().find("weights", name).target.partition(":")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"demo:{name}: its package {package} cannot be found; install it again")
    return Path(next(iter(spec.submodule_search_locations))) / inner


class _Planner:
    """Builds each stage once, on first need."""

    def __init__(self, suite: Suite, path: Path) -> None:
        self.suite, self.path = suite, path
        self.out = SuitePlan(suite, path, suite.to_yaml())
        self.infos: dict[str, WeightsInfo] = {}  # weights files by suite key
        # Read once: the key of a source, a protocol or a weights file is a digest of its bytes.
        self.sources: dict[str, StageSpec] = {}
        self.protocols: dict[str, StageSpec] = {}
        self.files: dict[str, tuple[WeightsInfo, str]] = {}

    def error(self, key: str, text: str) -> InputError:
        return InputError(f"{self.path}: {key}: {text}")

    def plan(self) -> SuitePlan:
        suite = self.suite
        if suite.trainer is not None:
            cls = registry().load("trainers", suite.trainer.use)
            settings = cls(cls.Settings.model_validate(suite.trainer.settings)).identity()
            self.out.recipe = digest([suite.trainer.use, settings, suite.crop_px])
        self.one_of_a_kind()
        seedless = _Planner(suite, self.path)  # a row's stages under a fixed seed are told apart by all but the seed
        seedless.sources, seedless.protocols, seedless.files = self.sources, self.protocols, self.files
        methods = {name: seedless.row(name, row, 0).stages["recognizer"].key for name, row in suite.rows.items()}
        for seed in suite.seeds:
            for name, row in suite.rows.items():
                self.out.row_plans.append(replace(self.row(name, row, seed), method=methods[name]))
        return self.out

    def one_of_a_kind(self) -> None:
        """Refuse evaluations whose metrics would have the same names."""
        seen: dict[tuple[str, str, str], int] = {}
        for index, entry in enumerate(self.suite.evaluate):
            for protocol in entry.protocols or [""]:
                first = seen.setdefault((entry.use, entry.source, protocol), index)
                if first != index:
                    what = f"{entry.use} on {protocol}" if protocol else entry.use
                    text = f"{what} is in evaluate.{first} already, and metrics of one name cannot be told apart"
                    raise self.error(f"evaluate.{index}", f"{text}; remove one, or run it as another suite")

    # One method per kind of stage. Each returns the spec; `add` gives it its key and keeps it.

    def add(
        self,
        kind: str,
        label: str,
        registered: tuple[str, str] | None,
        settings: dict[str, Any],
        seed: int,
        parents: dict[str, StageSpec],
        options: dict[str, Any],
    ) -> StageSpec:
        component, target, identity, code = "", "", settings, {}
        if registered is not None:
            registration = registry().find(*registered)
            cls = registry().load(*registered)
            component, target = registration.name, registration.target
            identity = cls(cls.schema(kind).model_validate(settings)).identity()
            code = {module: source_digest(module) for module in cls.code_modules()}
        key = stage_key(
            kind=kind,
            schema=STAGE_SCHEMA,
            component=target,
            code=code,
            settings=identity,
            seed=seed,
            parents={role: list(parent.id) for role, parent in parents.items()},
            options=options,
        )
        references = {role: parent.id for role, parent in parents.items()}
        spec = StageSpec(kind, key, label, component, target, settings, seed, references, options)
        return self.keep(spec)

    def keep(self, spec: StageSpec) -> StageSpec:
        """Put a stage into the plan, once."""
        return self.out.stages.setdefault(spec.id, spec)

    def source(self, name: str, key: str) -> StageSpec:
        entry = self.named(self.suite.sources, name, key, "sources")
        if name not in self.sources:
            try:
                self.sources[name] = self.add(
                    "source", f"source {name}", ("sources", entry.use), entry.settings, 0, {}, {}
                )
            except (InputError, DataError) as error:
                raise self.error(f"sources.{name}", " ".join(str(error).split())) from error
        return self.keep(self.sources[name])

    def aligned(
        self, faces: StageSpec, aligner: Use, label: str, keep: tuple[int, int] | None, seed: int = 0
    ) -> StageSpec:
        options: dict[str, Any] = {"crop_px": self.suite.crop_px, "identities": None, "per_identity": None}
        if keep:
            options |= {"identities": keep[0], "per_identity": keep[1]}
        return self.add("align", label, ("aligners", aligner.use), aligner.settings, seed, {"faces": faces}, options)

    def weights(self, text: str, key: str, role: str) -> StageSpec:
        path = demo_path(text.removeprefix("demo:")) if text.startswith("demo:") else Path(text)
        try:
            if text not in self.files:
                self.files[text] = read_info(path), weights_content(path)
            info, content = self.files[text]
            if info.role == "recognizer":
                registry().find("recognizers", info.kind)
        except (DataError, InputError) as error:
            raise self.error(f"{key}.weights", " ".join(str(error).split())) from error
        if info.role != role:
            raise self.error(f"{key}.weights", f"{text!r} holds a {info.role}, expected a {role}")
        self.infos[key] = info
        described = info.model_dump(mode="json", exclude={"provenance"})
        spec = self.add("weights", f"{role} {text}", None, described, 0, {}, {"content": content})
        spec.local["path"] = str(path)
        return spec

    def recognizer(self, name: str, key: str) -> StageSpec:
        entry: RecognizerEntry = self.named(self.suite.recognizers, name, key, "recognizers")
        here = f"recognizers.{name}"
        if entry.weights:
            return self.weights(entry.weights, here, "recognizer")
        faces = self.source(entry.source, f"{here}.source")
        if entry.view == "arcface":
            faces = self.aligned(faces, entry.aligner or self.suite.aligner, f"align source {entry.source}", None)
        return self.add(
            "train", f"recognizer {name}", ("trainers", entry.train), entry.settings, entry.seed, {"dataset": faces}, {}
        )

    def view(self, name: str, key: str) -> str:
        """Which crop a recognizer takes."""
        entry: RecognizerEntry = self.named(self.suite.recognizers, name, key, "recognizers")
        self.recognizer(name, key)
        return self.infos[f"recognizers.{name}"].view if entry.weights else entry.view

    def model(self, name: str, key: str) -> tuple[StageSpec, StageSpec | None, str]:
        """The model's stage, its recognizer's stage and its kind."""
        entry = self.named(self.suite.models, name, key, "models")
        here = f"models.{name}"
        if entry.weights:
            spec = self.weights(entry.weights, here, "model")
            info = self.infos[here]
            return spec, self.same_recognizer(info.recognizer, here), info.kind
        source = self.source(entry.source, f"{here}.source")
        parents, recognizer = {"source": source}, None
        if entry.recognizer:
            if self.view(entry.recognizer, f"{here}.recognizer") != "raw":
                raise self.error(
                    f"{here}.recognizer", f"{entry.recognizer!r} takes aligned faces, expected one with view raw"
                )
            recognizer = parents["recognizer"] = self.recognizer(entry.recognizer, f"{here}.recognizer")
        registered = ("generators", entry.fit)
        cls = registry().load(*registered)
        assert issubclass(cls, Generator)
        if not cls.fits:
            raise self.error(f"{here}.fit", f"{entry.fit!r} cannot be fitted; give the model as weights")
        if cls.needs_contexts and recognizer is None:
            raise self.error(f"{here}.recognizer", f"this key is missing; {entry.fit} learns from its embeddings")
        if entry.first_stage:
            parents["first_stage"] = self.first_stage(entry, cls, f"{here}.first_stage")
        spec = self.add("fit", f"model {name}", registered, entry.settings, entry.seed, parents, {})
        return spec, recognizer, cls.fits

    def first_stage(self, entry: ModelEntry, cls: type[Generator], key: str) -> StageSpec:
        """The model with weights whose first stage a fit takes over."""
        name = entry.first_stage
        other: ModelEntry = self.named(self.suite.models, name, key, "models")
        if not other.weights:
            raise self.error(key, f"{name!r} is fitted itself, expected an entry of models with weights")
        spec = self.weights(other.weights, f"models.{name}", "model")
        kind = self.infos[f"models.{name}"].kind
        if kind not in cls.first_stages:
            accepted = ", ".join(sorted(cls.first_stages)) or "none"
            raise self.error(key, f"got a model of kind {kind!r}, {entry.fit} takes the first stage of {accepted}")
        return spec

    def same_recognizer(self, content: str, key: str) -> StageSpec | None:
        """The suite's recognizer with that content: the one that a shipped model was fitted with."""
        if not content:
            return None
        for name, entry in self.suite.recognizers.items():
            if entry.weights:
                spec = self.recognizer(name, key)
                if spec.options["content"] == content:
                    return spec
        raise self.error(key, f"was fitted with recognizer {content[:12]}, which no entry of recognizers holds; add it")

    def contexts(self, seed: int) -> StageSpec | None:
        dataset = self.suite.dataset
        if dataset is None or dataset.contexts is None:
            return None
        entry, key = dataset.contexts, "dataset.contexts"
        law = registry().load("contexts", entry.use)
        assert issubclass(law, ContextLaw)
        if law.needs_source and not entry.source:
            raise self.error(f"{key}.source", f"this key is missing; {entry.use} learns from a source's faces")
        parents = {"recognizer": self.recognizer(entry.recognizer, f"{key}.recognizer")}
        if entry.source:
            faces = self.source(entry.source, f"{key}.source")
            if self.view(entry.recognizer, f"{key}.recognizer") == "arcface":
                faces = self.aligned(faces, self.suite.aligner, f"align source {entry.source}", None)
            parents["source"] = faces
        if entry.model or law.accepts:
            parents["model"] = self.context_model(entry, law, parents["recognizer"])
        options = {"count": dataset.identities + dataset.spare.identities}
        label = f"contexts seed {seed}"
        return self.add("contexts", label, ("contexts", entry.use), entry.settings, seed, parents, options)

    def context_model(self, entry: ContextsEntry, law: type[ContextLaw], recognizer: StageSpec) -> StageSpec:
        """The model that a law of contexts samples from."""
        key = "dataset.contexts.model"
        if not law.accepts:
            raise self.error(key, f"{entry.use} takes none; remove it")
        spec, fitted_with, kind = self.model(entry.model, key)
        if kind not in law.accepts:
            accepted = ", ".join(sorted(law.accepts))
            raise self.error(key, f"got a model of kind {kind!r}, {entry.use} accepts {accepted}")
        if fitted_with is not None and not _same_weights(fitted_with, recognizer):
            text = f"got {entry.recognizer!r}, expected the recognizer that {key} ({entry.model}) was fitted with"
            raise self.error("dataset.contexts.recognizer", text)
        return spec

    def protocol(self, name: str, key: str) -> StageSpec:
        entry = self.named(self.suite.protocols, name, key, "protocols")
        here = f"protocols.{name}"
        cls = registry().load("protocols", entry.use)
        assert issubclass(cls, Protocol)
        if cls.uses_source != bool(entry.source):
            raise self.error(f"{here}.source", "this key is missing" if cls.uses_source else f"{entry.use} takes none")
        parents = {}
        if entry.source:
            faces = self.source(entry.source, f"{here}.source")
            parents["source"] = self.aligned(faces, self.suite.aligner, f"align source {entry.source}", None)
        options, registered = {"crop_px": self.suite.crop_px}, ("protocols", entry.use)
        if name not in self.protocols:
            try:
                self.protocols[name] = self.add(
                    "protocol", f"protocol {name}", registered, entry.settings, 0, parents, options
                )
            except (InputError, DataError) as error:
                raise self.error(here, " ".join(str(error).split())) from error
        return self.keep(self.protocols[name])

    def row(self, name: str, row: RowEntry, seed: int) -> RowPlan:
        key, label = f"rows.{name}", f"{name} seed {seed}"
        if row.recognizer:
            stages = {"recognizer": self.recognizer(row.recognizer, f"{key}.recognizer")}
            self.evaluations(stages, label, seed)
            return RowPlan(name, seed, stages, "recognizer", shipped=self.shipped(stages))
        dataset, trainer = self.suite.dataset, self.suite.trainer
        if dataset is None:
            raise self.error("dataset", f"this key is missing; row {name!r} needs the size of its training set")
        if trainer is None:
            raise self.error("trainer", f"this key is missing; row {name!r} needs a recipe")
        stages = {"generate": self.generate(row, label, key, seed)}
        keep = (dataset.identities, dataset.per_identity)
        aligner = row.aligner or self.suite.aligner
        stages["align"] = self.aligned(stages["generate"], aligner, f"{label}: align", keep)
        need = {"identities": dataset.identities, "per_identity": dataset.per_identity}
        stages["recognizer"] = self.add(
            "train",
            f"{label}: train",
            ("trainers", trainer.use),
            trainer.settings,
            seed,
            {"dataset": stages["align"]},
            need,
        )
        self.evaluations(stages, label, seed, need)
        law = dataset.contexts.use if dataset.contexts and "contexts" in stages["generate"].parents else ""
        parameters = {"generator": row.use, **{f"settings.{k}": v for k, v in row.settings.items()}}
        return RowPlan(name, seed, stages, row.use, law, parameters, self.shipped(stages))

    def generate(self, row: RowEntry, label: str, key: str, seed: int) -> StageSpec:
        cls = registry().load("generators", row.use)
        assert issubclass(cls, Generator)
        dataset = self.suite.dataset
        assert dataset is not None
        parents: dict[str, StageSpec] = {}
        if row.source:
            self.accepts(cls, "faces/1", row, f"{key}.source")
            parents["source"] = self.source(row.source, f"{key}.source")
        elif row.model:
            spec, recognizer, kind = self.model(row.model, f"{key}.model")
            self.accepts(cls, kind, row, f"{key}.model")
            parents["model"] = spec
            if recognizer is not None:
                parents["recognizer"] = recognizer
        elif cls.accepts:
            missing = "source" if cls.accepts == {"faces/1"} else "model"
            raise self.error(f"{key}.{missing}", f"this key is missing; {row.use} needs a {missing}")
        if cls.needs_contexts:
            contexts = self.contexts(seed)
            if contexts is None:
                raise self.error("dataset.contexts", f"this key is missing; {row.use} needs identity contexts")
            used = self.out.stages[contexts.parents["recognizer"]]
            if "recognizer" in parents and not _same_weights(used, parents["recognizer"]):
                given = dataset.contexts.recognizer if dataset.contexts else ""
                text = f"got {given!r}, expected the recognizer that {key}.model ({row.model}) was fitted with"
                raise self.error("dataset.contexts.recognizer", text)
            parents["contexts"] = contexts
        options = {
            "identities": dataset.identities + dataset.spare.identities,
            "per_identity": dataset.per_identity + dataset.spare.images,
        }
        registered = ("generators", row.use)
        return self.add("generate", f"{label}: generate", registered, row.settings, seed, parents, options)

    def accepts(self, cls: type[Generator], kind: str, row: RowEntry, key: str) -> None:
        if kind not in cls.accepts:
            accepted = ", ".join(sorted(cls.accepts)) or "no model"
            raise self.error(key, f"got a model of kind {kind!r}, {row.use} accepts {accepted}")

    def evaluations(
        self, stages: dict[str, StageSpec], label: str, seed: int, need: dict[str, Any] | None = None
    ) -> None:
        """Add the evaluators that apply: a recognizer row has no dataset to judge."""
        for index, entry in enumerate(self.suite.evaluate):
            key = f"evaluate.{index}"
            cls = registry().load("evaluators", entry.use)
            assert issubclass(cls, Evaluator)
            parents = self.evaluator_parents(cls, entry, key)
            if "recognizer" in cls.needs:
                parents["recognizer"] = stages["recognizer"]
            if "judge" in cls.needs and not entry.recognizer:
                parents["judge"] = stages["recognizer"]
            if "dataset" in cls.needs and not _replaces(entry, cls):
                if "align" not in stages:
                    continue
                parents["dataset"] = stages["align"]
            options = (need or {}) if "dataset" in cls.needs else {}
            if _replaces(entry, cls):
                options = {"faces_of": entry.source, "own_judge": not entry.recognizer}
            name, registered = f"evaluate:{index}", ("evaluators", entry.use)
            where = f"{label}: {entry.use}"
            stages[name] = self.add("evaluate", where, registered, entry.settings, seed, parents, options)
            if entry.gate:
                if "recognizer" in cls.needs or _replaces(entry, cls):
                    raise self.error(f"{key}.gate", f"{entry.use} does not measure the dataset alone; remove it")
                gates = self.out.gates.setdefault(stages["recognizer"].id, {})
                gates[stages[name].id] = {**gates.get(stages[name].id, {}), **entry.gate}

    def evaluator_parents(self, cls: type[Evaluator], entry: EvaluateEntry, key: str) -> dict[str, StageSpec]:
        parents = {}
        listed: set[Need] = {"protocols", "templates"}
        takes: dict[str, set[Need]] = {"recognizer": {"judge"}, "protocols": listed, "source": {"dataset"}}
        for name, needs in takes.items():
            if getattr(entry, name) and not needs & cls.needs:
                raise self.error(f"{key}.{name}", f"{entry.use} takes none; remove it")
        if entry.source:
            faces = self.source(entry.source, f"{key}.source")
            label = f"align source {entry.source}"
            role = "dataset" if _replaces(entry, cls) else "source"
            parents[role] = self.aligned(faces, self.suite.aligner, label, None)
        elif "source" in cls.needs:
            raise self.error(f"{key}.source", f"this key is missing; {entry.use} compares with authentic faces")
        if "judge" in cls.needs and not entry.recognizer and not _replaces(entry, cls):
            raise self.error(f"{key}.recognizer", f"this key is missing; {entry.use} needs a judge")
        if "judge" in cls.needs and entry.recognizer:
            judge = parents["judge"] = self.recognizer(entry.recognizer, f"{key}.recognizer")
            for used in self.conditioning():
                if _same_weights(used, judge):
                    text = f"{entry.recognizer!r} gives the contexts, so it may not judge; expected another recognizer"
                    raise self.error(f"{key}.recognizer", text)
            if self.view(entry.recognizer, f"{key}.recognizer") != "arcface":
                raise self.error(f"{key}.recognizer", f"{entry.recognizer!r} takes raw pictures, not aligned faces")
        if listed & cls.needs:
            if not entry.protocols:
                raise self.error(f"{key}.protocols", f"this key is missing; {entry.use} needs at least one protocol")
            for name in entry.protocols:
                parents[f"protocol:{name}"] = self.protocol(name, f"{key}.protocols")
                self.takes_pairs(cls, entry.use, name, f"{key}.protocols")
        return parents

    def takes_pairs(self, cls: type[Evaluator], use: str, name: str, key: str) -> None:
        """Refuse pairs of templates where the evaluator takes pairs of faces, and the other way around."""
        protocol = registry().load("protocols", self.suite.protocols[name].use)
        assert issubclass(protocol, Protocol)
        of, needed = ("templates", "templates") if protocol.of_templates else ("faces", "protocols")
        if needed not in cls.needs:
            other = "ijb" if protocol.of_templates else "verification"
            raise self.error(key, f"{name!r} has pairs of {of}, which {use} does not take; evaluate it with {other}")

    def conditioning(self) -> list[StageSpec]:
        """The recognizers that condition some row."""
        out = []
        if self.suite.dataset and self.suite.dataset.contexts:
            out.append(self.recognizer(self.suite.dataset.contexts.recognizer, "dataset.contexts.recognizer"))
        for name, entry in self.suite.models.items():
            if entry.recognizer:
                out.append(self.recognizer(entry.recognizer, f"models.{name}.recognizer"))
            elif entry.weights:
                used = self.model(name, f"models.{name}")[1]
                out += [] if used is None else [used]
        return out

    def shipped(self, stages: dict[str, StageSpec]) -> list[str]:
        """The ``demo:`` weights under a row's stages."""
        labels = {a.label for stage in stages.values() for a in self.out.ancestors(stage) if a.kind == "weights"}
        return sorted(label.split(" ")[1] for label in labels if " demo:" in label)

    def named(self, section: dict[str, Any], name: str, key: str, title: str) -> Any:
        if not name:
            raise self.error(key, f"this key is missing; expected a name from {title}")
        if name not in section:
            raise self.error(key, not_in(title, name, section))
        return section[name]


def _replaces(entry: EvaluateEntry, cls: type[Evaluator]) -> bool:
    """Whether an entry's source is looked at instead of the row's dataset, and not beside it."""
    return bool(entry.source) and "source" not in cls.needs


def _same_weights(a: StageSpec, b: StageSpec) -> bool:
    """Whether two recognizers are one: the same stage, or files with the same tensors."""
    return a.id == b.id or (a.kind == b.kind == "weights" and a.options["content"] == b.options["content"])
