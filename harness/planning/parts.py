"""The stages that rows share: sources, weights files, recognizers, models, contexts and protocols.

Each is made once, on first need, and gets its key from everything its result depends on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from harness.code import code_of
from harness.components.base import RAW, Component, Crop
from harness.components.contexts import ContextLaw
from harness.components.generator import FittedGenerator
from harness.components.protocol import FaceProtocol, Protocol
from harness.components.roles import Role, missing, takes_none, wrong_kind
from harness.components.trainer import Trainer
from harness.errors import DataError, InputError, unknown
from harness.faces.crops import ARCFACE, crop_template
from harness.graph import (
    AlignStage,
    ContextsStage,
    FitStage,
    ProtocolStage,
    SourceStage,
    Stage,
    StageId,
    SuitePlan,
    TrainStage,
    WeightsStage,
)
from harness.planning.recognized import crop_definition, crop_label, same_recognizer
from harness.plugins import registry
from harness.store.keys import stage_key
from harness.store.shipped import find_weights
from harness.store.weights import WeightsInfo, taken_otherwise
from harness.suites.schema import ContextsEntry, ModelEntry, ProtocolEntry, RecognizerEntry, Suite, Use

# Raised when the stages' own code changes what an artifact holds; components are keyed by their source instead.
STAGE_SCHEMA = 1
UNALIGNED = "none"  # the aligner that takes pictures as they are
WARP = "landmarks"  # the aligner whose work the stage does for a protocol with faces of its own

AnyStage = TypeVar("AnyStage", bound=Stage)


class Parts:
    """The shared stages of one suite.

    Args:
        suite: resolved.
        path: the suite file, for the errors.
        like: parts of the same suite whose files need not be read again: the key of a source, a protocol or a weights
            file is a digest of its bytes.
    """

    def __init__(self, suite: Suite, path: Path, like: Parts | None = None) -> None:
        self.suite, self.path = suite, path
        self.out = SuitePlan(suite, path, suite.to_yaml())
        self.sources: dict[str, SourceStage] = like.sources if like else {}
        self.protocols: dict[tuple[str, Crop], ProtocolStage] = like.protocols if like else {}
        self.photographs: dict[str, SourceStage] = like.photographs if like else {}  # of protocols with an aligner
        self.believed: dict[StageId, str] = {}  # the view of pictures that no aligner warps
        self.files: dict[str, tuple[WeightsInfo, str]] = like.files if like else {}

    # --- keys and errors ----------------------------------------------------------------------------------------------

    def error(self, key: str, text: str) -> InputError:
        return InputError(f"{self.path}: {key}: {' '.join(text.split())}")

    def add(self, stage: AnyStage, kind: str = "", use: str = "") -> AnyStage:
        """Give a stage its component and its key, and keep it.

        Args:
            kind, use: the component that does its work, such as ``generators`` and ``id3``; none for weights.
        """
        stage = replace(stage, told=self.suite.stored(dict(stage.settings)))
        identity = dict(stage.settings)
        code: dict[str, str] = {}
        if use:
            cls = registry().load(kind, use)
            stage = replace(stage, component=use, target=registry().find(kind, use).target)
            component = cls(cls.schema(stage.kind).model_validate(stage.settings))
            identity = component.identity()
            also = (registry().load("aligners", WARP),) if isinstance(component, FaceProtocol) else ()
            for each in (cls, *component.uses(), *also):
                code |= code_of(each)
        key = stage_key(
            kind=stage.kind,
            schema=STAGE_SCHEMA,
            component=stage.target,
            code=code,
            settings=identity,
            seed=stage.seed,
            parents={role: list(id) for role, id in stage.parents.items()},
            options=stage.options | crop_definition(stage),
        )
        return self.keep(replace(stage, key=key))

    def keep(self, stage: AnyStage) -> AnyStage:
        """Put a stage into the plan, once."""
        self.out.stages.setdefault(stage.id, stage)
        return stage

    def named(self, section: dict[str, Any], name: str, key: str, title: str) -> Any:
        """The entry of a section of the suite."""
        if not name:
            raise self.error(key, f"this key is missing; expected a name from {title}")
        if name not in section:
            raise self.error(key, unknown(title.removesuffix("s"), name, section))
        return section[name]

    def fits_needs(self, who: str, needs: frozenset[Role], given: dict[Role, str], key: str) -> None:
        """Refuse a key that names what a component has no use for, and the lack of one that it needs.

        Args:
            given: what the suite names for each role that has a key of its own.
        """
        for role, value in given.items():
            if value and role not in needs:
                raise self.error(f"{key}.{role}", takes_none(who))
            if role in needs and not value:
                raise self.error(f"{key}.{role}", missing(who, role))

    # --- sources and crops --------------------------------------------------------------------------------------------

    def source(self, name: str, key: str) -> SourceStage:
        """Raw faces of a source."""
        entry: Use = self.named(self.suite.sources, name, key, "sources")
        if name not in self.sources:
            try:
                stage = SourceStage(label=f"source {name}", settings=entry.settings)
                self.sources[name] = self.add(stage, "sources", entry.use)
            except (InputError, DataError) as error:
                raise self.error(f"sources.{name}", str(error)) from error
        return self.keep(self.sources[name])

    @property
    def suite_crop(self) -> Crop:
        """The crop of FR training, and of every recognizer that takes ArcFace crops."""
        return Crop(ARCFACE, self.suite.crop_px)

    def aligned_source(self, name: str, key: str, crop: Crop, aligner: Use | None = None) -> AlignStage:
        """Faces of a source in a crop, all that are found."""
        return self.aligned(self.source(name, key), aligner or self.suite.aligner, f"align source {name}", key, crop)

    def aligned(
        self,
        faces: Stage,
        aligner: Use,
        label: str,
        key: str,
        crop: Crop,
        keep: tuple[int, int] | tuple[None, None] = (None, None),
    ) -> AlignStage:
        """Faces in a crop; of ``keep[0]`` identities ``keep[1]`` images each, or all."""
        if aligner.use == UNALIGNED and self.believed.setdefault(faces.id, crop.view) != crop.view:
            views = f"{self.believed[faces.id]} and {crop.view}"
            raise self.error(key, f"pictures that no aligner warps cannot be {views} crops at once; name an aligner")
        stage = AlignStage(
            label=f"{label}{crop_label(crop)}",
            settings=aligner.settings,
            view=crop.view,
            crop_px=crop.size_px,
            identities=keep[0],
            per_identity=keep[1],
            faces=faces.id,
        )
        return self.add(stage, "aligners", aligner.use)

    # --- weights, recognizers, models ---------------------------------------------------------------------------------

    def weights(self, text: str, key: str, role: str) -> tuple[WeightsStage, WeightsInfo]:
        """A weights file and what it says of itself."""
        try:
            place = find_weights(text)
            if text not in self.files:
                self.files[text] = place.describe()
            info, content = self.files[text]
            if info.role == "recognizer":
                registry().find("recognizers", info.kind)
                if info.view != RAW:
                    crop_template(info.view)
        except (DataError, InputError) as error:
            raise self.error(f"{key}.weights", str(error)) from error
        if info.role != role:
            raise self.error(f"{key}.weights", f"{text!r} holds a {info.role}, expected a {role}")
        described = info.model_dump(mode="json", exclude={"provenance"})
        stage = WeightsStage(
            label=f"{role} {text}", settings=described, content=content, path=place.path, maker=place.maker
        )
        return self.add(stage), info

    def recognizer(self, name: str, key: str) -> Stage:
        """A recognizer: weights, or one trained on a source."""
        entry: RecognizerEntry = self.named(self.suite.recognizers, name, key, "recognizers")
        here = f"recognizers.{name}"
        if entry.weights:
            return self.weights(entry.weights, here, "recognizer")[0]
        crop = self.crop(name, key)
        if crop.view == RAW:
            faces: Stage = self.source(entry.source, f"{here}.source")
        else:
            faces = self.aligned_source(entry.source, f"{here}.source", crop, entry.aligner)
        cls = registry().load("trainers", entry.train)
        assert issubclass(cls, Trainer)
        if cls(cls.Settings.model_validate(entry.settings)).chosen_on_benchmarks:
            text = "benchmarks choose the epochs of rows alone; set `select` to held-out or last"
            raise self.error(f"{here}.settings", text)
        stage = TrainStage(label=f"recognizer {name}", settings=entry.settings, seed=entry.seed, dataset=faces.id)
        return self.add(stage, "trainers", entry.train)

    def crop(self, name: str, key: str) -> Crop:
        """The crop in which a recognizer gets faces: the suite's where it takes ArcFace crops of whatever size."""
        entry: RecognizerEntry = self.named(self.suite.recognizers, name, key, "recognizers")
        if not entry.weights:
            self.known_crop(entry.view, f"recognizers.{name}.view")
            return Crop(entry.view, self.suite.crop_px)
        info = self.weights(entry.weights, f"recognizers.{name}", "recognizer")[1]
        return self.suite_crop if info.view == ARCFACE else Crop(info.view, info.size_px)

    def known_crop(self, view: str, key: str) -> None:
        """Refuse the name of a crop that nobody registered."""
        if view != RAW:
            try:
                crop_template(view)
            except InputError as error:
                raise self.error(key, str(error)) from error

    def model(self, name: str, key: str) -> tuple[Stage, Stage | None, str]:
        """The model's stage, the stage of the recognizer that conditions it, and its kind."""
        entry: ModelEntry = self.named(self.suite.models, name, key, "models")
        here = f"models.{name}"
        if entry.weights:
            stage, info = self.weights(entry.weights, here, "model")
            return stage, self.fitted_with(info, here), info.kind
        return self.fit(name, entry, here)

    def fit(self, name: str, entry: ModelEntry, key: str) -> tuple[Stage, Stage | None, str]:
        """A model that is fitted here."""
        cls = registry().load("generators", entry.fit)
        assert issubclass(cls, FittedGenerator)
        given: dict[Role, str] = {"source": entry.source, "recognizer": entry.recognizer}
        self.fits_needs(entry.fit, cls.fit_needs, given, key)
        source, recognizer, autoencoder = self.source(entry.source, f"{key}.source"), None, None
        if entry.recognizer:
            if self.crop(entry.recognizer, f"{key}.recognizer").view != RAW:
                text = f"{entry.recognizer!r} takes aligned faces, expected one with view raw"
                raise self.error(f"{key}.recognizer", text)
            recognizer = self.recognizer(entry.recognizer, f"{key}.recognizer")
        if entry.autoencoder:
            autoencoder = self.autoencoder(entry, cls, f"{key}.autoencoder")
        stage = FitStage(
            label=f"model {name}",
            settings=entry.settings,
            seed=entry.seed,
            source=source.id,
            recognizer=_id(recognizer),
            autoencoder=_id(autoencoder),
        )
        return self.add(stage, "generators", entry.fit), recognizer, cls.fits

    def autoencoder(self, entry: ModelEntry, cls: type[FittedGenerator], key: str) -> Stage:
        """The model with weights whose autoencoder a fit takes over."""
        if "autoencoder" not in cls.accepts:
            raise self.error(key, takes_none(entry.fit))
        other: ModelEntry = self.named(self.suite.models, entry.autoencoder, key, "models")
        if not other.weights:
            raise self.error(key, f"{entry.autoencoder!r} is fitted itself, expected an entry of models with weights")
        stage, info = self.weights(other.weights, f"models.{entry.autoencoder}", "model")
        self.accepts(cls, "autoencoder", info.kind, entry.fit, key)
        return stage

    def accepts(self, cls: type[Component], role: Role, kind: str, use: str, key: str) -> None:
        """Refuse a model of a kind that a component cannot use."""
        accepted = cls.accepts.get(role, frozenset())
        if kind not in accepted:
            raise self.error(key, wrong_kind(kind, use, accepted))

    def fitted_with(self, model: WeightsInfo, key: str) -> Stage | None:
        """The suite's recognizer that a model in a file was fitted with: the same tensors, taken in the same way."""
        if not model.recognizer:
            return None
        faults = []
        for name, entry in self.suite.recognizers.items():
            if entry.weights:
                stage, info = self.weights(entry.weights, f"recognizers.{name}", "recognizer")
                if stage.content == model.recognizer:
                    fault = taken_otherwise(model, info)
                    if not fault:
                        return stage
                    faults.append(f"was fitted with the tensors of {name!r}, but {fault}")
        absent = f"was fitted with recognizer {model.recognizer[:12]}, which no entry of recognizers holds; add it"
        raise self.error(key, "; ".join(faults) or absent)

    # --- contexts and protocols ---------------------------------------------------------------------------------------

    def contexts(self, seed: int) -> ContextsStage | None:
        """The identity contexts, if the suite defines any."""
        dataset = self.suite.dataset
        if dataset is None or dataset.contexts is None:
            return None
        entry, key = dataset.contexts, "dataset.contexts"
        law = registry().load("contexts", entry.use)
        assert issubclass(law, ContextLaw)
        given: dict[Role, str] = {"source": entry.source, "model": entry.model}
        self.fits_needs(entry.use, law.needs, given, key)
        recognizer = self.recognizer(entry.recognizer, f"{key}.recognizer")
        source: Stage | None = None
        if entry.source:
            crop, here = self.crop(entry.recognizer, f"{key}.recognizer"), f"{key}.source"
            raw = crop.view == RAW
            source = self.source(entry.source, here) if raw else self.aligned_source(entry.source, here, crop)
        stage = ContextsStage(
            label=f"contexts seed {seed}",
            settings=entry.settings,
            seed=seed,
            count=dataset.identities + dataset.spare.identities,
            recognizer=recognizer.id,
            source=_id(source),
            model=_id(self.context_model(entry, law, recognizer)) if entry.model else None,
        )
        try:
            return self.add(stage, "contexts", entry.use)
        except (InputError, DataError) as error:
            raise self.error(key, str(error)) from error

    def context_model(self, entry: ContextsEntry, law: type[ContextLaw], recognizer: Stage) -> Stage:
        """The model that a law of contexts samples from."""
        key = "dataset.contexts.model"
        stage, fitted_with, kind = self.model(entry.model, key)
        self.accepts(law, "model", kind, entry.use, key)
        self.one_recognizer(fitted_with, recognizer, f"{key} ({entry.model})")
        return stage

    def one_recognizer(self, fitted_with: Stage | None, given: Stage, who: str) -> None:
        """Refuse contexts of another recognizer than a model was fitted with."""
        if fitted_with is not None and not same_recognizer(fitted_with, given):
            name = self.suite.dataset.contexts.recognizer if self.suite.dataset and self.suite.dataset.contexts else ""
            text = f"got {name!r}, expected the recognizer that {who} was fitted with"
            raise self.error("dataset.contexts.recognizer", text)

    def protocol(self, name: str, key: str, crop: Crop) -> ProtocolStage:
        """Evaluation faces in a crop, with their pairs."""
        entry = self.named(self.suite.protocols, name, key, "protocols")
        here = f"protocols.{name}"
        cls = registry().load("protocols", entry.use)
        assert issubclass(cls, Protocol)
        self.fits_needs(entry.use, cls.needs, {"source": entry.source}, here)
        source: Stage | None = None
        if entry.source:
            source = self.aligned_source(entry.source, f"{here}.source", crop, entry.aligner)
        elif entry.aligner:
            pictures = self.pictures(name, entry, here)
            source = self.aligned(pictures, entry.aligner, f"align protocol {name}", f"{here}.aligner", crop)
        if (name, crop) not in self.protocols:
            stage = ProtocolStage(
                label=f"protocol {name}{crop_label(crop)}",
                settings=entry.settings,
                view=crop.view,
                crop_px=crop.size_px,
                source=_id(source),
            )
            try:
                self.protocols[name, crop] = self.add(stage, "protocols", entry.use)
            except (InputError, DataError) as error:
                raise self.error(here, str(error)) from error
        return self.keep(self.protocols[name, crop])

    def pictures(self, name: str, entry: ProtocolEntry, key: str) -> SourceStage:
        """A protocol's own pictures, as they are; only those that it pairs."""
        if name not in self.photographs:
            stage = SourceStage(label=f"pictures of protocol {name}", settings=entry.settings)
            try:
                self.photographs[name] = self.add(stage, "protocols", entry.use)
            except (InputError, DataError) as error:
                raise self.error(key, str(error)) from error
        return self.keep(self.photographs[name])


def _id(stage: Stage | None) -> StageId | None:
    return None if stage is None else stage.id
