"""From a suite to the graph of its stages, each with its key: nothing is run, everything is checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.components.base import RAW, Component, Crop
from harness.components.evaluator import Evaluator
from harness.components.generator import Generator
from harness.components.protocol import Protocol
from harness.components.roles import Role, missing, takes_none
from harness.components.trainer import Trainer
from harness.errors import InputError
from harness.graph import (
    AlignStage,
    EvaluateStage,
    GenerateStage,
    MixStage,
    RowPlan,
    Stage,
    StageId,
    SuitePlan,
    TrainStage,
)
from harness.planning.parts import Parts
from harness.planning.recognized import crop_label, same_weights
from harness.plugins import registry
from harness.store.keys import digest
from harness.suites.schema import EvaluateEntry, Part, ProtocolEntry, RowEntry, Suite, TrainerEntry

_SIZE = ("identities", "per_identity")


def plan_suite(suite: Suite, path: Path) -> SuitePlan:
    """Build the graph of a resolved suite.

    Args:
        path: the suite file, for the errors.

    Raises:
        InputError: a name, a model kind, a crop or a judge does not fit.
    """
    planner = _Planner(suite, path)
    planner.one_of_a_kind()
    planner.out.recipe = planner.recipe()
    seedless = _Planner(suite, path, planner)  # a row's stages under a fixed seed are told apart by all but the seed
    methods = {name: seedless.row(name, row, 0).recognizer.key for name, row in suite.rows.items()}
    for seed in suite.seeds:
        for name, row in suite.rows.items():
            planner.out.row_plans.append(replace(planner.row(name, row, seed), method=methods[name]))
    return planner.out


def _recipe(suite: Suite) -> str:
    """Digest of what rows must share to rank together: trainer, its settings, and the crop."""
    if suite.trainer is None:
        return ""
    settings = _component("trainers", suite.trainer).identity()
    chosen_by = [
        [name, suite.protocols[name].use, _component("protocols", suite.protocols[name]).identity()]
        for name in suite.trainer.protocols
    ]
    return digest([suite.trainer.use, settings, suite.crop_px, *chosen_by])


def _component(kind: str, entry: TrainerEntry | ProtocolEntry) -> Component:
    cls = registry().load(kind, entry.use)
    return cls(cls.Settings.model_validate(entry.settings))


class _Planner(Parts):
    """Rows and their evaluations, over the parts that they share."""

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

    def recipe(self) -> str:
        """The digest of the suite's recipe, once all that it names is known to be there."""
        trainer = self.suite.trainer
        for name in trainer.protocols if trainer else []:
            self.protocol(name, "trainer.protocols", self.suite_crop)
        try:
            return _recipe(self.suite)
        except InputError as error:  # a backbone or a head that the trainer does not know
            raise self.error("trainer.settings", str(error)) from error

    def choosing(self) -> dict[str, StageId] | None:
        """The protocols that choose among the epochs of the rows' recognizers, which the suite must consent to."""
        entry = self.suite.trainer
        assert entry is not None
        trainer, key = _component("trainers", entry), "trainer"
        assert isinstance(trainer, Trainer)
        if not trainer.chosen_on_benchmarks:
            for name in ("protocols", "consent"):
                if getattr(entry, name):
                    raise self.error(
                        f"{key}.{name}", f"no benchmark chooses with these settings of {entry.use}; remove it"
                    )
            return None
        if not entry.consent:
            what = f"recipe {entry.recipe}" if entry.recipe else f"{entry.use} with these settings"
            text = f"""{what} chooses its epoch by the benchmarks that are then reported; write
            `consent: chosen-on-test` to have that, and marked, or set `select` to held-out or last"""
            raise self.error(f"{key}.consent", text)
        if not entry.protocols:
            raise self.error(
                f"{key}.protocols", "this key is missing; name those whose mean accuracy chooses the epoch"
            )
        for name in entry.protocols:
            self.gives(name, frozenset({"pairs"}), entry.use, f"{key}.protocols")
        return {name: self.protocol(name, f"{key}.protocols", self.suite_crop).id for name in entry.protocols}

    def row(self, name: str, row: RowEntry, seed: int) -> RowPlan:
        """One row with one seed."""
        key, label = f"rows.{name}", f"{name} seed {seed}"
        if row.recognizer:
            return self.finished(
                RowPlan(name, seed, self.recognizer(row.recognizer, f"{key}.recognizer"), (), "recognizer")
            )
        dataset, trainer = self.suite.dataset, self.suite.trainer
        if dataset is None:
            raise self.error("dataset", f"this key is missing; row {name!r} needs the size of its training set")
        if trainer is None:
            raise self.error("trainer", f"this key is missing; row {name!r} needs a recipe")
        train = TrainStage(label=f"{label}: train", settings=trainer.settings, seed=seed, protocols=self.choosing())
        if row.mix:
            return self.mixed(name, row, train, trainer)
        generate = self.generate(row, label, key, seed)
        align = self.kept(generate, row, label, key, self.suite_crop)
        own = replace(train, dataset=align.id, identities=dataset.identities, per_identity=dataset.per_identity)
        trained = self.add(own, "trainers", trainer.use)
        law = dataset.contexts.use if dataset.contexts and generate.contexts else ""
        told = self.suite.stored(dict(row.settings))
        parameters = {"generator": row.use, **{f"settings.{name}": value for name, value in told.items()}}
        made = RowPlan(name, seed, trained, (), row.use, generate, align, law, parameters)
        return self.finished(replace(made, chosen_on=tuple(trainer.protocols)))

    def kept(self, generate: GenerateStage, row: RowEntry, label: str, key: str, crop: Crop) -> AlignStage:
        """A row's images in a crop, as many as every row keeps."""
        dataset = self.suite.dataset
        assert dataset is not None
        keep = (dataset.identities, dataset.per_identity)
        return self.aligned(generate, row.aligner or self.suite.aligner, f"{label}: align", key, crop, keep)

    def mixed(self, name: str, row: RowEntry, train: TrainStage, trainer: TrainerEntry) -> RowPlan:
        """A row that trains on the faces of others; nothing is generated for it alone."""
        mix, made = self.mixture(name, row, train.seed, self.suite_crop)
        trained = self.add(replace(train, dataset=mix.id), "trainers", trainer.use)
        use = self.suite.rows[row.mix[0].row].use if len(row.mix) == 1 and row.mix[0].row else "mix"
        told = {f"mix.{place}": _told(part) for place, part in enumerate(row.mix)}
        plan = RowPlan(name, train.seed, trained, (), use, parameters={"generator": use, **told}, mix=mix, parts=made)
        return self.finished(replace(plan, chosen_on=tuple(trainer.protocols)))

    def mixture(self, name: str, row: RowEntry, seed: int, crop: Crop) -> tuple[MixStage, tuple[Stage, ...]]:
        """The faces of a row's parts in a crop as one dataset, and the stages that make the parts."""
        dataset, made, parts, sizes = self.suite.dataset, [], {}, []
        assert dataset is not None
        for place, part in enumerate(row.mix):
            key = f"rows.{name}.mix.{place}"
            if part.source:
                aligned = self.aligned_source(part.source, f"{key}.source", crop)
                size = part.identities, part.per_identity
            else:
                other: RowEntry = self.named(self.suite.rows, part.row, f"{key}.row", "rows")
                if not other.use:
                    what = "itself" if part.row == name else f"{part.row!r}, which has no images of its own"
                    raise self.error(f"{key}.row", f"a row cannot mix {what}; name a row that generates")
                label = f"{part.row} seed {seed}"
                generate = self.generate(other, label, f"rows.{part.row}", seed)
                aligned = self.kept(generate, other, label, f"rows.{part.row}", crop)
                made += [generate, aligned]
                size = part.identities or dataset.identities, part.per_identity or dataset.per_identity
                for given, there, field in zip(size, (dataset.identities, dataset.per_identity), _SIZE, strict=True):
                    if given > there:
                        raise self.error(f"{key}.{field}", f"got {given}, and row {part.row!r} has {there}")
            parts[f"{place:02d}"] = aligned.id
            sizes.append(size)
        if len(sizes) != len({*parts.values()}):
            raise self.error(f"rows.{name}.mix", "the same faces are given twice; expected each row and source once")
        names = tuple(part.name for part in row.mix)
        label = f"{name} seed {seed}: mix{crop_label(crop) if crop != self.suite_crop else ''}"
        mix = self.add(MixStage(label=label, sizes=tuple(sizes), names=names, parts=parts))
        return mix, tuple(made)

    def finished(self, row: RowPlan) -> RowPlan:
        """The row with its evaluations and what it rests on."""
        row = replace(row, evaluations=self.evaluations(row))
        used = {stage.label for each in row.stages for stage in self.out.ancestors(each) if stage.kind == "weights"}
        return replace(row, shipped=tuple(sorted(label.split(" ")[1] for label in used if " demo:" in label)))

    def generate(self, row: RowEntry, label: str, key: str, seed: int) -> GenerateStage:
        """A row's images."""
        cls, dataset = registry().load("generators", row.use), self.suite.dataset
        assert issubclass(cls, Generator)
        assert dataset is not None
        given: dict[Role, str] = {"source": row.source, "model": row.model}
        self.fits_needs(row.use, cls.needs, given, key)
        parents: dict[str, Any] = {}
        if row.source:
            parents["source"] = self.source(row.source, f"{key}.source").id
        recognizer: Stage | None = None
        if row.model:
            model, recognizer, kind = self.model(row.model, f"{key}.model")
            self.accepts(cls, "model", kind, row.use, f"{key}.model")
            parents["model"] = model.id
        if "recognizer" in cls.needs:
            if recognizer is None:
                raise self.error(f"{key}.model", f"was fitted without a recognizer, and {row.use} needs one")
            parents["recognizer"] = recognizer.id
        if "contexts" in cls.needs:
            contexts = self.contexts(seed)
            if contexts is None:
                raise self.error("dataset.contexts", missing(row.use, "contexts"))
            assert contexts.recognizer is not None
            self.one_recognizer(recognizer, self.out.stages[contexts.recognizer], f"{key}.model ({row.model})")
            parents["contexts"] = contexts.id
        stage = GenerateStage(
            label=f"{label}: generate",
            settings=row.settings,
            seed=seed,
            identities=dataset.identities + dataset.spare.identities,
            per_identity=dataset.per_identity + dataset.spare.images,
            **parents,
        )
        return self.add(stage, "generators", row.use)

    # --- evaluations --------------------------------------------------------------------------------------------------

    def evaluations(self, row: RowPlan) -> tuple[EvaluateStage, ...]:
        """The evaluators that apply: a recognizer row has no dataset to judge."""
        found = []
        for index, entry in enumerate(self.suite.evaluate):
            cls = registry().load("evaluators", entry.use)
            assert issubclass(cls, Evaluator)
            key, elsewhere = f"evaluate.{index}", _looks_elsewhere(entry, cls)
            if "dataset" in cls.needs and row.align is None and row.mix is None and not elsewhere:
                crop = self.seen_in(row, cls, entry, key)
                self.evaluator_inputs(cls, entry, key, crop)  # a fault of the suite is told whatever the rows are
                continue
            stage = self.evaluation(row, cls, entry, key)
            found.append(stage)
            if entry.gate:
                if "recognizer" in cls.needs or elsewhere:
                    raise self.error(f"{key}.gate", f"{entry.use} does not measure the dataset alone; remove it")
                gates = self.out.gates.setdefault(row.recognizer.id, {})
                gates[stage.id] = {**gates.get(stage.id, {}), **entry.gate}
        return tuple(found)

    def evaluation(self, row: RowPlan, cls: type[Evaluator], entry: EvaluateEntry, key: str) -> EvaluateStage:
        """One evaluator on one row."""
        crop = self.seen_in(row, cls, entry, key)
        inputs = self.evaluator_inputs(cls, entry, key, crop)
        own_judge = "judge" in cls.needs and not entry.judge
        if "recognizer" in cls.needs:
            inputs["recognizer"] = row.recognizer.id
        if own_judge:
            inputs["judge"] = row.recognizer.id
        if {"people", "source"} <= cls.needs:
            inputs["people"] = self.people(row, inputs["source"])
        size: dict[str, Any] = {}
        if "dataset" in cls.needs and "dataset" not in inputs:
            inputs["dataset"] = self.dataset(row, crop).id
            if row.align is not None:  # a mixture's parts are counted where it is made
                size = {"identities": row.align.identities, "per_identity": row.align.per_identity}
        stage = EvaluateStage(
            label=f"{row.row} seed {row.seed}: {entry.use}",
            settings=entry.settings,
            seed=row.seed,
            looks_at=entry.source if _looks_elsewhere(entry, cls) else "",
            own_judge=own_judge,
            **size,
            **inputs,
        )
        return self.add(stage, "evaluators", entry.use)

    def people(self, row: RowPlan, source: StageId) -> StageId | None:
        """The row's contexts, if they were drawn from the people of this aligned source."""
        contexts = row.generate.contexts if row.generate else None
        if contexts is None:
            return None
        drawn_from, aligned = self.out.stages[contexts].parents.get("source"), self.out.stages[source]
        return contexts if drawn_from in (source, aligned.parents["faces"]) else None

    def seen_in(self, row: RowPlan, cls: type[Evaluator], entry: EvaluateEntry, key: str) -> Crop:
        """The crop in which an evaluator gets faces: that of the recognizer that looks at them."""
        crops: dict[str, Crop] = {}
        judged = "judge" in cls.needs and bool(entry.judge)
        if judged:
            self.judge(entry.judge, f"{key}.judge")
            crops[entry.judge] = self.aligned_crop(entry.judge, f"{key}.judge")
        if "recognizer" in cls.needs or ("judge" in cls.needs and not judged):
            own = self.suite.rows[row.row].recognizer
            crops[row.row] = self.aligned_crop(own, f"rows.{row.row}.recognizer") if own else self.suite_crop
        if len(set(crops.values())) > 1:
            told = " and ".join(f"{name} takes {crop.view}" for name, crop in crops.items())
            raise self.error(key, f"{entry.use} shows both recognizers the same faces, but {told}")
        return next(iter(crops.values()), self.suite_crop)

    def aligned_crop(self, name: str, key: str) -> Crop:
        """The crop of a recognizer that looks at aligned faces."""
        crop = self.crop(name, key)
        if crop.view == RAW:
            raise self.error(key, f"{name!r} takes raw pictures, not aligned faces")
        return crop

    def dataset(self, row: RowPlan, crop: Crop) -> AlignStage | MixStage:
        """The row's kept faces in a crop; the same ones in every crop, since that has no part in finding them."""
        if row.mix is not None:
            return self.mixture(row.row, self.suite.rows[row.row], row.seed, crop)[0]
        assert row.align is not None
        assert row.generate is not None
        if crop == row.align.crop:
            return row.align
        aligner = self.suite.rows[row.row].aligner or self.suite.aligner
        keep = (row.align.identities or 0, row.align.per_identity or 0)
        return self.aligned(row.generate, aligner, row.align.label, f"rows.{row.row}.aligner", crop, keep)

    def evaluator_inputs(self, cls: type[Evaluator], entry: EvaluateEntry, key: str, crop: Crop) -> dict[str, Any]:
        """What an evaluator reads beside the row's own artifacts, by field of its stage; faces in a crop."""
        lists = cls.needs & {"pairs", "templates"}
        takes = {
            "judge": "judge" in cls.needs,
            "protocols": bool(lists),
            "source": bool(cls.needs & {"source", "dataset"}),
        }
        for name, taken in takes.items():
            if getattr(entry, name) and not taken:
                raise self.error(f"{key}.{name}", takes_none(entry.use))
        inputs: dict[str, Any] = {}
        elsewhere = _looks_elsewhere(entry, cls)
        if entry.source:
            inputs["dataset" if elsewhere else "source"] = self.aligned_source(entry.source, f"{key}.source", crop).id
        elif "source" in cls.needs:
            raise self.error(f"{key}.source", missing(entry.use, "source"))
        if entry.judge:
            inputs["judge"] = self.judge(entry.judge, f"{key}.judge").id
        elif "judge" in cls.needs and not elsewhere:
            raise self.error(f"{key}.judge", missing(entry.use, "judge"))
        if lists:
            if not entry.protocols:
                raise self.error(f"{key}.protocols", missing(entry.use, min(lists)))
            for name in entry.protocols:
                self.gives(name, lists, entry.use, f"{key}.protocols")
            here = f"{key}.protocols"
            inputs["protocols"] = {name: self.protocol(name, here, crop).id for name in entry.protocols}
        return inputs

    def judge(self, name: str, key: str) -> Stage:
        """A recognizer that judges datasets; it may not be one that conditions a row."""
        judge = self.recognizer(name, key)
        if any(same_weights(used, judge) for used in self.conditioning()):
            text = f"{name!r} gives the contexts, so it may not judge; expected another recognizer"
            raise self.error(key, text)
        return judge

    def gives(self, name: str, lists: frozenset[Role], use: str, key: str) -> None:
        """Refuse pairs of templates where the evaluator takes pairs of faces, and the other way around."""
        entry = self.named(self.suite.protocols, name, key, "protocols")
        protocol = registry().load("protocols", entry.use)
        assert issubclass(protocol, Protocol)
        if protocol.gives not in lists:
            of, other = ("templates", "ijb") if protocol.gives == "templates" else ("faces", "verification")
            raise self.error(key, f"{name!r} has pairs of {of}, which {use} does not take; evaluate it with {other}")

    def conditioning(self) -> list[Stage]:
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


def _told(part: Part) -> str:
    """A part as a result's parameters name it."""
    size = [str(each) if each else "all" for each in (part.identities, part.per_identity)]
    return f"{part.name}, {' x '.join(size)}"


def _looks_elsewhere(entry: EvaluateEntry, cls: type[Evaluator]) -> bool:
    """Whether an entry's source is looked at instead of the row's dataset, and not beside it."""
    return bool(entry.source) and "source" not in cls.needs
