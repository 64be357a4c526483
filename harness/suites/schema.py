"""The schema of a suite file: one class per table, every key with its default.

:mod:`harness.suites.resolve` reads a file into these classes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from harness.suites.variables import Secrets

RESERVED = ("starts",)  # what lies beside the folders of a suite's rows
MAX_NAME = 64  # characters: names become folders, and their paths have a limit too
FILE_SUFFIXES = (".yaml", ".yml", ".json", ".parquet", ".png", ".partial", ".lock")  # of what lies beside such folders


def _no_file(name: str) -> str:
    if name.lower().endswith(FILE_SUFFIXES):
        raise ValueError(f"a name that is not that of a file ({', '.join(FILE_SUFFIXES)})")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=MAX_NAME), AfterValidator(_no_file)]


class Entry(BaseModel):
    """A table of the suite file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Use(Entry):
    """A component by name with its settings, resolved: every default is written out."""

    use: str
    settings: dict[str, Any] = {}


class RecognizerEntry(Entry):
    """A recognizer: weights that exist, or one trained here on a source's faces.

    ``view`` is the crop it is trained on: ``raw`` pictures, or faces that ``aligner`` brings to a crop by its name.
    """

    weights: str = ""
    train: str = ""
    source: str = ""
    view: Name = "arcface"
    aligner: Use | None = None
    recipe: str = ""
    seed: int = 0
    settings: dict[str, Any] = {}


class ModelEntry(Entry):
    """A generator's model: weights that exist, or one fitted here. Rows share it.

    ``autoencoder`` names an entry with weights whose autoencoder (such as VQ-f4) the fit takes over.
    """

    weights: str = ""
    fit: str = ""
    source: str = ""
    recognizer: str = ""
    autoencoder: str = ""
    seed: int = 0
    settings: dict[str, Any] = {}


class Spare(Entry):
    """What is made beyond the need, for faces that no detector finds."""

    identities: Annotated[int, Field(ge=0)] = 0
    images: Annotated[int, Field(ge=0)] = 0


class ContextsEntry(Entry):
    """Where the identity contexts come from; rows share them. ``model`` is for laws that sample one."""

    use: str
    source: str = ""
    model: str = ""
    recognizer: str
    settings: dict[str, Any] = {}


class DatasetEntry(Entry):
    """The size of every row's training set, after alignment."""

    identities: int = Field(ge=2)
    per_identity: int = Field(ge=2)
    spare: Spare = Spare()
    contexts: ContextsEntry | None = None


class TrainerEntry(Entry):
    """The one recipe of all rows.

    A recipe that chooses among its epochs by benchmarks names them in ``protocols``, and the suite says by ``consent``
    that its numbers are then chosen on the test set.
    """

    use: str
    recipe: str = ""
    protocols: list[str] = []
    consent: Literal["", "chosen-on-test"] = ""
    settings: dict[str, Any] = {}


class Part(Entry):
    """Faces that a row trains on: the first ``identities`` of another row or of a source, of each the first images.

    "First" is by number, so that a smaller part lies within a larger one. Without ``identities`` or ``per_identity``
    the part is as large as the other row's dataset, or all that a source has.
    """

    row: str = ""
    source: str = ""
    identities: Annotated[int, Field(ge=1)] | None = None
    per_identity: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Part:
        if bool(self.row) == bool(self.source):
            raise ValueError("expected exactly one of the keys 'row' and 'source'")
        return self

    @property
    def name(self) -> str:
        """Whose faces they are."""
        return self.row or self.source


class RowEntry(Entry):
    """One row: a generator with its settings, a mixture of others' faces, or a recognizer to evaluate only."""

    use: str = ""
    model: str = ""
    source: str = ""
    aligner: Use | None = None
    settings: dict[str, Any] = {}
    mix: list[Part] = []
    recognizer: str = ""


class ProtocolEntry(Entry):
    """A verification protocol; ``source`` names whose aligned faces it pairs, if it brings none of its own.

    ``aligner`` finds the faces in pictures that are no crops yet, or in the source's instead of the suite's aligner.
    """

    use: str
    source: str = ""
    aligner: Use | None = None
    settings: dict[str, Any] = {}


class DataEntry(Entry):
    """Where data is to be had that a path of the suite names, and under which terms; ``harness plan`` shows it."""

    path: str
    origin: str
    terms: str


class Gate(Entry):
    """Limits of one metric of a row's dataset, and what happens to a row beyond them before FR training starts."""

    at_least: float | None = None
    at_most: float | None = None
    then: Literal["refuse", "warn"] = "refuse"

    @model_validator(mode="after")
    def _limited(self) -> Gate:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a gate needs at_least, at_most or both")
        return self


class EvaluateEntry(Entry):
    """One evaluator; ``judge`` names a recognizer, ``gate`` sets limits by metric name.

    With ``source`` it looks at that source's aligned faces instead of the row's dataset, by default through the row's
    own recognizer; an evaluator that needs a source compares the row's dataset with them.
    """

    use: str
    judge: str = ""
    source: str = ""
    protocols: list[str] = []
    gate: dict[str, Gate] = {}
    settings: dict[str, Any] = {}


class Suite(Entry):
    """A resolved suite: every default written out, every name checked. Its YAML is itself a valid suite."""

    name: Name
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    crop_px: int = Field(112, ge=16, le=512, description="side of the FR crop in pixels (ArcFace crop)")
    data: dict[Name, DataEntry] = {}
    sources: dict[Name, Use] = {}
    recognizers: dict[Name, RecognizerEntry] = {}
    models: dict[Name, ModelEntry] = {}
    dataset: DatasetEntry | None = None
    aligner: Use = Use(use="mtcnn")
    trainer: TrainerEntry | None = None
    rows: dict[Name, RowEntry] = Field(min_length=1)
    protocols: dict[Name, ProtocolEntry] = {}
    evaluate: list[EvaluateEntry] = Field(min_length=1)
    _secrets: Secrets = PrivateAttr(Secrets())

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed once")
        return seeds

    @field_validator("rows")
    @classmethod
    def _folders(cls, rows: dict[str, RowEntry]) -> dict[str, RowEntry]:
        seen: dict[str, str] = {}
        for name in rows:
            if name.lower() in RESERVED:
                raise ValueError(f"{name!r} is the name of a folder beside the rows; choose another name")
            if other := seen.get(name.lower()):
                raise ValueError(f"{other!r} and {name!r} differ only in case, and some file systems take them for one")
            seen[name.lower()] = name
        return rows

    def keep_secret(self, secrets: Secrets) -> None:
        """Say which values are not to be stored."""
        self._secrets = secrets

    def stored(self, value: Any) -> Any:
        """Plain values as they may be stored: with ``${NAME}`` where a secret value stood."""
        return self._secrets.hide(value)

    def to_yaml(self) -> str:
        """The suite as text that :func:`harness.suites.read.load_suite` reads back to the same suite.

        Secret values are left as ``${NAME}``; the user and the password of a URL that the suite holds itself are lost.
        """
        data = self.model_dump(mode="json", exclude_defaults=False)
        for section in ("recognizers", "models"):
            for name, entry in data[section].items():
                if entry["weights"]:  # the other keys' defaults say nothing of a file
                    data[section][name] = {"weights": entry["weights"]}
        return yaml.safe_dump(self.stored(_pruned(data)), sort_keys=False, allow_unicode=True)


def _pruned(value: Any) -> Any:
    """Without the empty entries that mean 'not given', so that the resolved file stays readable."""
    if isinstance(value, dict):
        kept = {name: item if name == "settings" else _pruned(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item not in (None, "", [], {})}
    return [_pruned(item) for item in value] if isinstance(value, list) else value
