"""The resolution of a suite against the installed components: every name checked, every default written out.

Everything that can be wrong is found here or by the planner, before anything starts, and is told in one line: file,
key, value, what was expected, the nearest match.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from harness.components.base import Component
from harness.components.generator import FittedGenerator
from harness.errors import InputError, unknown
from harness.plugins import registry
from harness.suites.missing import Missing
from harness.suites.schema import (
    ContextsEntry,
    DatasetEntry,
    Entry,
    EvaluateEntry,
    ModelEntry,
    ProtocolEntry,
    RecognizerEntry,
    RowEntry,
    Suite,
    TrainerEntry,
    Use,
)

MAX_SHOWN = 200  # characters of a wrong value in its error

# Which component kind each section's ``use`` names, and which keys are the suite's own; other keys are settings.
_SECTIONS: dict[str, tuple[str, type[Entry]]] = {
    "sources": ("sources", Use),
    "protocols": ("protocols", ProtocolEntry),
}


class Resolver:
    """Turns the file's tables into a :class:`Suite`; knows where each value stands, for its errors."""

    def __init__(self, path: Path, missing: list[Missing] | None = None) -> None:
        self.path, self.folder, self.missing = path, path.parent, missing

    def error(self, key: str, text: str) -> InputError:
        return InputError(f"{self.path}: {key}: {text}")

    def parse(self, model: type[BaseModel], data: Any, key: str) -> Any:
        """Validate one table; the first fault becomes one line."""
        if not isinstance(data, Mapping):
            raise self.error(key, f"got {_shown(data)}, expected a table with keys {', '.join(model.model_fields)}")
        try:
            return model.model_validate(dict(data))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join([key, *map(str, first["loc"])]).lstrip(".")
            raise self.error(where, _explain(first, model)) from None

    def suite(self, data: dict[str, Any]) -> Suite:
        """Resolve the whole file."""
        self.known_keys(data, Suite.model_fields, "")
        out = dict(data)
        data = {**data, "sources": self.likenesses(data)}
        for section, (kind, entry) in _SECTIONS.items():
            entries = {n: self.with_aligner(e, f"{section}.{n}") for n, e in self.table(data, section)}
            out[section] = {n: self.use(kind, entry, e, f"{section}.{n}") for n, e in entries.items()}
        out["recognizers"] = {n: self.recognizer(e, f"recognizers.{n}") for n, e in self.table(data, "recognizers")}
        out["models"] = {n: self.model(e, f"models.{n}") for n, e in self.table(data, "models")}
        out["rows"] = {n: self.row(n, e, out) for n, e in self.table(data, "rows")}
        if data.get("dataset") is not None:
            out["dataset"] = self.dataset(data["dataset"])
        out["aligner"] = self.aligner(data.get("aligner", "mtcnn"), "aligner")
        if data.get("trainer") is not None:
            out["trainer"] = self.trainer(data["trainer"], "trainer")
        if not isinstance(data.get("evaluate"), list):
            raise self.error("evaluate", "expected a list of evaluators, such as [{use: separability, ...}]")
        out["evaluate"] = [
            self.use("evaluators", EvaluateEntry, e, f"evaluate.{i}") for i, e in enumerate(data["evaluate"])
        ]
        suite: Suite = self.parse(Suite, out, "")
        return suite

    def likenesses(self, data: dict[str, Any]) -> dict[str, Any]:
        """Sources, with ``{like: OTHER, ...}`` replaced by OTHER's table and what the entry changes in it."""
        given = dict(self.table(data, "sources"))
        whole = {name: entry for name, entry in given.items() if isinstance(entry, dict) and "like" not in entry}
        entries = dict(given)
        for name, entry in given.items():
            if isinstance(entry, dict) and "like" in entry:
                other = whole.get(str(entry["like"]))
                if other is None:
                    raise self.error(
                        f"sources.{name}.like", unknown("source written out in full", entry["like"], whole)
                    )
                entries[name] = {**other, **{key: value for key, value in entry.items() if key != "like"}}
        return entries

    def table(self, data: dict[str, Any], section: str) -> list[tuple[str, Any]]:
        entries = data.get(section) or {}
        if not isinstance(entries, dict):
            raise self.error(section, f"expected a table of names, got {type(entries).__name__}")
        for name in entries:
            if name is None or isinstance(name, bool):  # null, yes, no, on, off
                raise self.error(section, f"YAML reads a name as {name}, expected text; put it in quotes")
        return [(str(name), entry) for name, entry in entries.items()]

    def known_keys(self, data: Mapping[str, Any], known: Iterable[str], key: str) -> None:
        names = list(known)
        for name in data:
            if name not in names:
                raise self.error(f"{key}.{name}".lstrip("."), unknown("key", name, names))

    def component(self, kind: str, name: Any, key: str) -> type[Component]:
        try:
            return registry().load(kind, str(name))
        except InputError as error:
            raise self.error(key, " ".join(str(error).split())) from error

    def settings(self, cls: type[Component], given: Any, key: str, kind: str = "") -> dict[str, Any]:
        """A component's settings with every default, paths made absolute; ``kind`` is the stage they are for."""
        schema, given = cls.schema(kind), self.mapping(given, key)
        self.known_keys(given, schema.model_fields, key)
        settings = self.parse(schema, given, key)
        out: dict[str, Any] = settings.model_dump(mode="json")
        for name, value in settings:
            if isinstance(value, Path):
                out[name] = str(self.existing(str(value), f"{key}.{name}"))
        return out

    def existing(self, text: str, key: str) -> Path:
        path = (self.folder / Path(text).expanduser()).resolve()
        if not path.exists() and self.missing is not None:
            self.missing.append(Missing(key, text))
        elif not path.exists():
            raise self.error(key, f"{text!r} does not exist (looked for {path}); paths are relative to the suite file")
        return path

    def use(self, kind: str, entry: type[Entry], data: Any, key: str) -> dict[str, Any]:
        """An entry whose further keys are the component's settings."""
        if isinstance(data, str):
            data = {"use": data}
        if not isinstance(data, dict) or "use" not in data:
            raise self.error(key, f"got {_shown(data)}, expected a table with a key 'use' that names one of the {kind}")
        cls = self.component(kind, data["use"], f"{key}.use")
        own = {name: value for name, value in data.items() if name in entry.model_fields and name != "settings"}
        inline = {name: value for name, value in data.items() if name not in entry.model_fields}
        given = self.mapping(data.get("settings"), f"{key}.settings")
        self.known_keys(inline, [*entry.model_fields, *cls.Settings.model_fields], key)
        self.known_keys(given, cls.Settings.model_fields, f"{key}.settings")
        both = set(inline) & set(given)
        if both:
            raise self.error(f"{key}.{min(both)}", "given twice: beside 'use' and under 'settings'")
        own["settings"] = self.settings(cls, {**given, **inline}, key)
        return own

    def mapping(self, data: Any, key: str) -> Mapping[str, Any]:
        """A table, empty when it is not given."""
        if data is not None and not isinstance(data, Mapping):
            raise self.error(key, f"got {_shown(data)}, expected a table")
        return data or {}

    def aligner(self, data: Any, key: str) -> dict[str, Any]:
        return self.use("aligners", Use, data, key)

    def weights(self, text: str, key: str) -> str:
        """``demo:NAME`` stays; a path becomes absolute."""
        if text.startswith("demo:"):
            try:
                registry().find("weights", text.removeprefix("demo:"))
            except InputError as error:
                raise self.error(key, str(error)) from error
            return text
        return str(self.existing(text, key))

    def recipe_settings(self, data: dict[str, Any], cls: Any, key: str) -> dict[str, Any]:
        recipe = data.get("recipe") or ""
        recipes = getattr(cls, "recipes", {})
        if recipe and recipe not in recipes:
            raise self.error(f"{key}.recipe", unknown("recipe", recipe, recipes))
        return self.settings(cls, {**recipes.get(recipe, {}), **(data.get("settings") or {})}, f"{key}.settings")

    def trainer(self, data: Any, key: str) -> dict[str, Any]:
        entry: TrainerEntry = self.parse(TrainerEntry, {"use": data} if isinstance(data, str) else data, key)
        cls = self.component("trainers", entry.use, f"{key}.use")
        out = entry.model_dump()
        return {**out, "settings": self.recipe_settings(out, cls, key)}

    def recognizer(self, data: Any, key: str) -> dict[str, Any]:
        entry: RecognizerEntry = self.parse(RecognizerEntry, self.with_aligner(data, key), key)
        self.one_of(entry.weights, entry.train, key, "weights", "train")
        if entry.weights:
            self.alone("weights", entry, key)
            return {"weights": self.weights(entry.weights, f"{key}.weights")}
        cls = self.component("trainers", entry.train, f"{key}.train")
        out = entry.model_dump(exclude_none=True)
        return {**out, "settings": self.recipe_settings(out, cls, key)}

    def with_aligner(self, data: Any, key: str) -> Any:
        if isinstance(data, dict) and data.get("aligner") is not None:
            return {**data, "aligner": self.aligner(data["aligner"], f"{key}.aligner")}
        return data

    def model(self, data: Any, key: str) -> dict[str, Any]:
        entry: ModelEntry = self.parse(ModelEntry, data, key)
        self.one_of(entry.weights, entry.fit, key, "weights", "fit")
        if entry.weights:
            self.alone("weights", entry, key)
            return {"weights": self.weights(entry.weights, f"{key}.weights")}
        cls = self.component("generators", entry.fit, f"{key}.fit")
        if not issubclass(cls, FittedGenerator):
            raise self.error(f"{key}.fit", f"{entry.fit!r} cannot be fitted; give the model as weights")
        return {**entry.model_dump(), "settings": self.settings(cls, entry.settings, f"{key}.settings", "fit")}

    def one_of(self, a: str, b: str, key: str, first: str, second: str) -> None:
        if bool(a) == bool(b):
            raise self.error(key, f"expected exactly one of the keys '{first}' and '{second}'")

    def alone(self, name: str, entry: Entry, key: str) -> None:
        """An entry that names something finished has no further keys."""
        for other, field in type(entry).model_fields.items():
            if other != name and getattr(entry, other) != field.default:
                raise self.error(f"{key}.{other}", f"has no effect beside {name!r}; remove it")

    def new(self, section: dict[str, Any], name: str, key: str, title: str) -> None:
        """What a row writes in place must not hide an entry of the same name."""
        if name in section:
            raise self.error(key, f"{title}.{name} exists already; rename the row or that entry")

    def row(self, name: str, data: Any, out: dict[str, Any]) -> dict[str, Any]:
        """Resolve a row; a source or recognizer that it writes in place becomes an entry of its section."""
        key = f"rows.{name}"
        data = self.with_aligner(data, key)
        if isinstance(data, dict) and "path" in data:
            self.new(out["sources"], name, f"{key}.path", "sources")
            if "source" in data:
                raise self.error(f"{key}.source", "given twice: as 'source' and as 'path'")
            data = dict(data)
            source = {"use": "images", "path": data.pop("path")}
            out["sources"][name] = self.use("sources", Use, source, key)
            data["source"] = name
        if isinstance(data, dict) and isinstance(data.get("recognizer"), dict):
            self.new(out["recognizers"], name, f"{key}.recognizer", "recognizers")
            out["recognizers"][name] = self.recognizer(data["recognizer"], f"{key}.recognizer")
            data = {**data, "recognizer": name}
        entry: RowEntry = self.parse(RowEntry, data, key)
        if [bool(entry.use), bool(entry.mix), bool(entry.recognizer)].count(True) != 1:
            raise self.error(key, "expected exactly one of the keys 'use', 'mix' and 'recognizer'")
        if entry.mix:
            self.alone("mix", entry, key)
            return {"mix": [part.model_dump(exclude_none=True) for part in entry.mix]}
        if entry.recognizer:
            self.alone("recognizer", entry, key)
            return {"recognizer": entry.recognizer}
        cls = self.component("generators", entry.use, f"{key}.use")
        settings = self.settings(cls, entry.settings, f"{key}.settings")
        return {**entry.model_dump(exclude_none=True), "settings": settings}

    def dataset(self, data: Any) -> dict[str, Any]:
        out = dict(data) if isinstance(data, dict) else data
        if isinstance(out, dict) and out.get("contexts") is not None:
            out["contexts"] = self.use("contexts", ContextsEntry, out["contexts"], "dataset.contexts")
        entry: DatasetEntry = self.parse(DatasetEntry, out, "dataset")
        return entry.model_dump()


def _shown(value: Any) -> str:
    """A value as an error quotes it: its beginning is enough."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _explain(fault: Any, model: type[BaseModel]) -> str:
    if fault["type"] == "extra_forbidden":
        return unknown("key", fault["loc"][-1], _table_at(model, fault["loc"][:-1]).model_fields)
    if fault["type"] == "missing":
        return "this key is missing"
    if fault["type"] == "too_short":
        return f"got {_shown(fault['input'])}, expected at least {fault['ctx']['min_length']} entry"
    text = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if fault["type"] == "value_error" and isinstance(fault["input"], Mapping):
        return str(text)  # of several keys together: it names them, and the whole table would only hide it
    return f"got {_shown(fault['input'])}, expected: {text.removeprefix('should be ')}"


def _table_at(model: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel]:
    """The schema of a table within a table."""
    for part in place:
        field = model.model_fields.get(str(part))
        inner = (field.annotation, *get_args(field.annotation)) if field else ()
        model = next((t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)), model)
    return model
