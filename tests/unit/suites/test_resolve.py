"""Every mistake in a suite is told in one line before anything starts; a resolved suite resolves to itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from suites import BASE, ROOT

import harness.plugins
from harness.cli import main
from harness.errors import InputError
from harness.planning.planner import plan_suite
from harness.suites.aliases import modernize
from harness.suites.read import load_suite

SUITES = sorted([*(ROOT / "tests" / "suites").glob("*.yaml"), *(ROOT / "benchmarks").rglob("*.yaml")])
GONE = object()


def changed(key: str, value: Any) -> str:
    """The base suite with one value changed; GONE removes the key."""
    data = yaml.safe_load(BASE)
    *parents, last = [int(part) if part.isdigit() else part for part in key.split("/")]
    here = data
    for part in parents:
        here = here[part]
    if value is GONE:
        del here[last]
    else:
        here[last] = value
    return yaml.safe_dump(data, sort_keys=False)


def fault(folder: Path, text: str, *overrides: str) -> str:
    """What the error of a suite says."""
    path = folder / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        plan_suite(load_suite(path, overrides), path)
    message = str(caught.value)
    assert "\n" not in message
    return message


# key to change, value, where the error is, what it says of the value, what was expected
MISTAKES = {
    "top level key": ("trianer", {"use": "margin"}, "trianer", "'trianer'", "did you mean 'trainer'?"),
    "source": ("sources/world/identitis", 5, "sources.world.identitis", "'identitis'", "did you mean 'identities'?"),
    "source settings": (
        "sources/world/settings",
        {"mod": "mild"},
        "sources.world.settings.mod",
        "'mod'",
        "did you mean 'mode'?",
    ),
    "recognizer": ("recognizers/judge/recipy", "tiny", "recognizers.judge.recipy", "'recipy'", "mean 'recipe'?"),
    "model": ("models/ldm/recogniser", "cond", "models.ldm.recogniser", "'recogniser'", "did you mean 'recognizer'?"),
    "fit settings": ("models/ldm/settings/step", 4, "models.ldm.settings.step", "'step'", "did you mean 'steps'?"),
    "dataset": ("dataset/identites", 4, "dataset.identites", "'identites'", "did you mean 'identities'?"),
    "spare": ("dataset/spare/imagess", 4, "dataset.spare.imagess", "'imagess'", "one of identities, images; did you"),
    "contexts": ("dataset/contexts/sorce", "world", "dataset.contexts.sorce", "'sorce'", "did you mean 'source'?"),
    "trainer": ("trainer/recip", "tiny", "trainer.recip", "'recip'", "did you mean 'recipe'?"),
    "trainer settings": ("trainer/settings", {"epoch": 3}, "trainer.settings.epoch", "'epoch'", "mean 'epochs'?"),
    "row": ("rows/idiffface/modle", "ldm", "rows.idiffface.modle", "'modle'", "did you mean 'model'?"),
    "row settings": (
        "rows/negfacediff/settings/negativ",
        "far",
        "rows.negfacediff.settings.negativ",
        "'negativ'",
        "did you mean 'negative'?",
    ),
    "protocol": ("protocols/fw-lfw/pair", 200, "protocols.fw-lfw.pair", "'pair'", "did you mean 'pairs'?"),
    "evaluator": ("evaluate/1/juge", "judge", "evaluate.1.juge", "'juge'", "mean 'judge'?"),
    "unknown source": ("sources/world/use", "faceword", "sources.world.use", "'faceword'", "did you mean 'faceworld'?"),
    "unknown trainer": ("trainer/use", "margins", "trainer.use", "'margins'", "did you mean 'margin'?"),
    "unknown recognizer": (
        "recognizers/judge/train",
        "margn",
        "recognizers.judge.train",
        "'margn'",
        "'margin'?",
    ),
    "unknown recipe": ("trainer/recipe", "tyny", "trainer.recipe", "'tyny'", "did you mean 'tiny'?"),
    "unknown fit": ("models/ldm/fit", "idifface", "models.ldm.fit", "'idifface'", "did you mean 'idiffface'?"),
    "cannot be fitted": (
        "models/ldm/fit",
        "toy",
        "models.ldm.fit",
        "'toy'",
        "cannot be fitted; give the model as weights",
    ),
    "unknown contexts": ("dataset/contexts/use", "uniforn", "dataset.contexts.use", "'uniforn'", "mean 'uniform'?"),
    "unknown aligner": ("aligner", "mtcn", "aligner.use", "'mtcn'", "did you mean 'mtcnn'?"),
    "unknown generator": ("rows/idiffface/use", "idifface", "rows.idiffface.use", "'idifface'", "mean 'idiffface'?"),
    "unknown protocol": ("protocols/fw-lfw/use", "fw-lwf", "protocols.fw-lfw.use", "'fw-lwf'", "did you mean 'fw-"),
    "unknown evaluator": ("evaluate/0/use", "verificaton", "evaluate.0.use", "'verificaton'", "mean 'verification'?"),
    "unknown demo weights": (
        "recognizers/cond",
        {"weights": "demo:conds"},
        "recognizers.cond.weights",
        "'conds'",
        "did you mean 'cond'?",
    ),
    "name of a source": ("rows/authentic/source", "wrld", "rows.authentic.source", "'wrld'", "did you mean 'world'?"),
    "name of a model": ("rows/idiffface/model", "lmd", "rows.idiffface.model", "'lmd'", "did you mean 'ldm'?"),
    "name of a judge": ("evaluate/1/judge", "juge", "evaluate.1.judge", "'juge'", "did you mean 'judge'?"),
    "name of a protocol": ("evaluate/0/protocols", ["fw-lf"], "evaluate.0.protocols", "'fw-lf'", "mean 'fw-lfw'?"),
    "likeness": ("sources/more", {"like": "wrld"}, "sources.more.like", "'wrld'", "did you mean 'world'?"),
    "likeness of a list": (
        "sources/more",
        {"like": ["world"]},
        "sources.more.like",
        "['world']",
        "written out in full",
    ),
    "source of an evaluator": ("evaluate/1/source", "wrld", "evaluate.1.source", "'wrld'", "did you mean 'world'?"),
    "missing path": ("rows/mine", {"use": "images", "path": "no/where"}, "rows.mine.path", "'no/where'", "relative to"),
    "missing weights": ("recognizers/judge", {"weights": "no.pt"}, "recognizers.judge.weights", "'no.pt'", "relative"),
    "source out of range": ("sources/world/size_px", 24, "sources.world.size_px", "24", "greater than or equal to 32"),
    "setting out of range": ("rows/negfacediff/settings/w", -1, "rows.negfacediff.settings.w", "-1", "or equal to 0"),
    "settings that contradict": (
        "rows/idiffface/settings",
        {"sampler": "dpm-solver++", "eta": 0.5},
        "rows.idiffface.settings",
        "eta 0.5",
        "set it to 0.0",
    ),
    "fit settings that contradict": (
        "models/ldm/settings",
        {"size_px": 40, "network": "published"},
        "models.ldm.settings",
        "size_px 40",
        "multiple of 32",
    ),
    "setting of wrong type": ("trainer/settings", {"epochs": "many"}, "trainer.settings.epochs", "'many'", "integer"),
    "size out of range": ("dataset/identities", 1, "dataset.identities", "1", "greater than or equal to 2"),
    "seed out of range": ("seeds", [0, -1], "seeds.1", "-1", "greater than or equal to 0"),
    "seed twice": ("seeds", [1, 1], "seeds", "[1, 1]", "each seed once"),
    "no seed": ("seeds", [], "seeds", "[]", "at least 1"),
    "judge equal to cond": ("evaluate/1/judge", "cond", "evaluate.1.judge", "'cond'", "another recognizer"),
    "judge of raw pictures": ("recognizers/judge/view", "raw", "evaluate.1.judge", "'judge'", "not aligned faces"),
    "cond of aligned faces": ("recognizers/cond/view", "arcface", "models.ldm.recognizer", "'cond'", "view raw"),
    "source as model": (
        "rows/idiffface",
        {"use": "idiffface", "source": "world"},
        "rows.idiffface.source",
        "idiffface",
        "takes none; remove it",
    ),
    "model kind": (
        "rows/id3",
        {"use": "id3", "model": "ldm"},
        "rows.id3.model",
        "'latent-diffusion/1'",
        "id3 accepts id3/1",
    ),
    "no model": ("rows/idiffface/model", GONE, "rows.idiffface.model", "missing", "needs a fitted model"),
    "no source": ("rows/authentic/source", GONE, "rows.authentic.source", "missing", "needs the faces of a source"),
    "no rows": ("rows", {}, "rows", "{}", "at least 1"),
    "rows missing": ("rows", GONE, "rows", "{}", "at least 1"),
    "no evaluator": ("evaluate", [], "evaluate", "[]", "at least 1"),
    "evaluators missing": ("evaluate", GONE, "evaluate", "expected a list", "[{use:"),
    "protocols missing": ("protocols", GONE, "evaluate.0.protocols", "'fw-lfw'", "unknown protocol"),
    "no protocol named": ("evaluate/0/protocols", GONE, "evaluate.0.protocols", "missing", "at least one protocol"),
    "judge missing": ("evaluate/1/judge", GONE, "evaluate.1.judge", "missing", "needs a recognizer that judges"),
    "dataset missing": ("dataset", GONE, "dataset", "missing", "training set"),
    "contexts missing": ("dataset/contexts", GONE, "dataset.contexts", "missing", "needs identity contexts"),
    "trainer missing": ("trainer", GONE, "trainer", "missing", "recipe"),
    "name missing": ("name", GONE, "name", "missing", ""),
    "component missing": ("sources/world/use", GONE, "sources.world", "'use'", "names one of the sources"),
    "trainer's name missing": ("trainer/use", GONE, "trainer.use", "missing", ""),
    "two ways to give a model": ("models/ldm/weights", "demo:ldm", "models.ldm", "'weights'", "exactly one"),
    "two ways to give a recognizer": (
        "recognizers/cond/weights",
        "demo:cond",
        "recognizers.cond",
        "'weights'",
        "exactly one",
    ),
    "two ways to give a setting": (
        "sources/world/settings",
        {"identities": 4},
        "sources.world.identities",
        "twice",
        "under 'settings'",
    ),
    "keys beside weights": (
        "recognizers/cond",
        {"weights": "demo:cond", "view": "raw"},
        "recognizers.cond.view",
        "'weights'",
        "no effect",
    ),
    "keys beside a recognizer row": (
        "rows/own",
        {"recognizer": "judge", "settings": {"steps": 3}},
        "rows.own.settings",
        "'recognizer'",
        "no effect",
    ),
    "row and source of one name": (
        "rows/world",
        {"use": "images", "path": "."},
        "rows.world.path",
        "sources.world",
        "rename",
    ),
    "key that an evaluator does not take": (
        "evaluate/0/judge",
        "judge",
        "evaluate.0.judge",
        "verification",
        "takes none",
    ),
    "list for a table": ("rows/idiffface/settings", [1], "rows.idiffface.settings", "[1]", "dictionary"),
    "number for a trainer": ("trainer", 3, "trainer", "3", "expected a table"),
    "name that YAML reads as nothing": ("sources", {None: {}}, "sources", "None", "put it in quotes"),
    "name that YAML reads as yes": ("sources", {True: {}}, "sources", "True", "put it in quotes"),
    "text for a section": ("sources", "world", "sources", "str", "expected a table of names"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_with_file_key_value_and_expectation(tmp_path: Path, case: str) -> None:
    key, value, where, got, expected = MISTAKES[case]
    message = fault(tmp_path, changed(key, value))
    assert message.startswith(f"{tmp_path / 'suite.yaml'}: {where}: "), message
    assert got in message
    assert expected in message


@pytest.mark.parametrize("case", ["row settings", "missing path", "model kind", "judge equal to cond"])
def test_the_command_line_exits_with_2_and_starts_nothing(tmp_path: Path, case: str) -> None:
    key, value, where, *_ = MISTAKES[case]
    (tmp_path / "suite.yaml").write_text(changed(key, value), encoding="utf-8")
    workdir = tmp_path / "work"
    done = CliRunner().invoke(main, ["run", str(tmp_path / "suite.yaml"), "--workdir", str(workdir)])
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert done.output.startswith(f"error: {tmp_path / 'suite.yaml'}: {where}: ")
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rows: [", "cannot be read as YAML"),
        ("rows: {a: b\nc: d", "cannot be read as YAML"),
        ("rows: {a: 1, a: 2}", "key 'a' is given twice; rename or remove one"),
        ("name: a\nname: b", "key 'name' is given twice; rename or remove one"),
        ("- a\n- b", "expected a table of keys, got list"),
        ("", "expected a table of keys, got NoneType"),
    ],
)
def test_broken_yaml(tmp_path: Path, text: str, says: str) -> None:
    assert says in fault(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such suite file; `harness init`"):
        load_suite(tmp_path / "none.yaml")


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = changed("rows/mine", {"use": "images", "path": "${HARNESS_TEST_DATA}/faces"})
    monkeypatch.delenv("HARNESS_TEST_DATA", raising=False)
    message = fault(tmp_path, text)
    assert "rows.mine.path: '${HARNESS_TEST_DATA}/faces' needs the environment variable HARNESS_TEST_DATA" in message
    (tmp_path / "data" / "faces").mkdir(parents=True)
    monkeypatch.setenv("HARNESS_TEST_DATA", str(tmp_path / "data"))
    (tmp_path / "suite.yaml").write_text(text, encoding="utf-8")
    suite = load_suite(tmp_path / "suite.yaml")
    assert suite.sources["mine"].settings["path"] == str(tmp_path / "data" / "faces")
    assert suite.rows["mine"].source == "mine"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("rows.negfacediff.settings.gama=1", "rows.negfacediff.settings.gama: unknown key 'gama'"),
        ("rowz.negfacediff.settings.w=1", "rowz: unknown key 'rowz'"),
        ("rows.negfacedif.settings.w=1", "did you mean 'negfacediff'?"),
        ("rows.negfacediff.settings.w=-1", "got -1, expected"),
        ("evaluate.7.judge=cond", "'7' is no place in a list of 2"),
        ("evaluate.judge=cond", "'judge' is no place in a list of 2"),
        ("seeds.1=3", "'1' is no place in a list of 1"),
        ("crop_px.w=3", "'crop_px' is not a table"),
        ("rows.negfacediff", "expected key=value"),
        ("=3", "expected key=value"),
        ("seeds=[1", "cannot be read as YAML"),
    ],
)
def test_overrides_that_are_wrong(tmp_path: Path, override: str, says: str) -> None:
    assert says in fault(tmp_path, BASE, override)


def test_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(BASE, encoding="utf-8")
    (tmp_path / "faces").mkdir()
    monkeypatch.chdir(tmp_path)
    given = ("rows.negfacediff.settings.w=0.25", "seeds.0=7", "evaluate.0.far=0.1", "dataset.spare={}", "name=other")
    suite = load_suite(path, [*given, "sources.photos={use: images, path: faces}", "sources.photos.path=faces"])
    assert suite.rows["negfacediff"].settings["w"] == 0.25
    assert suite.seeds == [7]
    assert suite.evaluate[0].settings["far"] == [0.1]
    assert suite.dataset is not None
    assert suite.dataset.spare.images == 0
    assert suite.name == "other"
    assert suite.sources["photos"].settings["path"] == str(tmp_path / "faces")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Adds a plugin of two modules to the registry for one test."""

    def add(module: str, generator: str) -> None:
        folder = tmp_path / "plugin"
        folder.mkdir()
        (folder / "strange_plugin.py").write_text(module, encoding="utf-8")
        (folder / "strange_generator.py").write_text(generator, encoding="utf-8")
        monkeypatch.syspath_prepend(str(folder))
        found = harness.plugins.entry_points(group="facegen_harness")
        extra = EntryPoint("strange", "strange_plugin", "facegen_harness")
        monkeypatch.setattr(harness.plugins, "entry_points", lambda group: [*found, extra])
        harness.plugins.registry.cache_clear()

    yield add
    harness.plugins.registry.cache_clear()
    for name in ("strange_plugin", "strange_generator"):
        sys.modules.pop(name, None)


REGISTERS = """
from harness.hookspecs import hookimpl

@hookimpl
def register_generators(register):
    register("strange", "strange_generator:Strange")
"""


def test_a_plugin_that_fails_to_load(tmp_path: Path, plugin: Callable[[str, str], None]) -> None:
    plugin("raise RuntimeError('no licence key\\nsecond line')", "")
    message = fault(tmp_path, changed("rows/strange", {"use": "strange"}))
    assert "rows.strange.use: unknown generator 'strange', expected one of authentic, " in message
    assert "failed to load: RuntimeError: no licence key" in message
    path = tmp_path / "suite.yaml"
    path.write_text(BASE, encoding="utf-8")
    plan_suite(load_suite(path), path)  # suites that do not name it go on


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import a_package_that_nobody_has", "fails to import: ModuleNotFoundError: No module named"),
        ("1 / 0", "fails to import: ZeroDivisionError"),
        ("Other = 1", "fails to import: AttributeError"),
        ("raise ValueError('one\\ntwo')", "fails to import: ValueError: one two"),
        ("Strange = 3", "is not a harness component class"),
    ],
)
def test_a_component_that_fails_to_import(
    tmp_path: Path, plugin: Callable[[str, str], None], code: str, says: str
) -> None:
    plugin(REGISTERS, code)
    message = fault(tmp_path, changed("rows/strange", {"use": "strange"}))
    assert "rows.strange.use: generator 'strange'" in message
    assert says in message


@pytest.mark.parametrize("path", SUITES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_resolved_suite_resolves_to_itself(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text(encoding="utf-8")
    data = tmp_path / "data"
    data.mkdir()
    for name, inner in set(re.findall(r"\$\{(\w+)\}([\w/.-]*)", text)):
        monkeypatch.setenv(name, str(data))
        Path(f"{data}{inner}").mkdir(parents=True, exist_ok=True)
    overrides = []
    for name, source in (yaml.safe_load(text).get("sources") or {}).items():
        if "path" in source:  # data that is not part of the repository
            overrides.append(f"sources.{name}.path={data}")
    suite = load_suite(path, overrides)
    (tmp_path / "resolved.yaml").write_text(suite.to_yaml(), encoding="utf-8")
    again = load_suite(tmp_path / "resolved.yaml")
    assert again == suite
    assert again.to_yaml() == suite.to_yaml()


def test_a_source_may_be_like_another(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(changed("sources/more", {"like": "world", "range": "spare"}), encoding="utf-8")
    sources = load_suite(path).sources
    assert sources["more"].settings == {**sources["world"].settings, "range": "spare"}


def test_a_resolved_suite_writes_defaults_out_and_in_place_entries_apart(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    data = yaml.safe_load(changed("rows/mine", {"use": "images", "path": "faces", "aligner": "none"}))
    data["rows"]["own"] = {"recognizer": {"train": "margin", "source": "world", "recipe": "tiny"}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    suite = load_suite(tmp_path / "suite.yaml")
    assert suite.trainer is not None
    assert suite.trainer.settings["epochs"] == 1  # the recipe's
    assert suite.trainer.settings["momentum"] == 0.9  # the component's
    assert suite.rows["idiffface"].settings["sampler"] == "ddim"
    assert suite.rows["own"].recognizer == "own"
    assert suite.recognizers["own"].source == "world"
    (tmp_path / "resolved.yaml").write_text(suite.to_yaml(), encoding="utf-8")
    assert load_suite(tmp_path / "resolved.yaml") == suite


OLD = """
models:
  ldm: {fit: idiffface, source: world, recognizer: cond, first_stage: vq, settings: {first_stage: small, steps: 4}}
evaluate:
  - {use: verification, protocols: [fw-lfw]}
  - {use: separability, recognizer: judge}
"""


def test_words_of_earlier_versions_are_read_with_a_line_that_says_what_to_write_now() -> None:
    data = yaml.safe_load(OLD)
    assert modernize(data) == [
        "models.ldm.first_stage is called autoencoder now; write autoencoder: vq",
        "models.ldm.settings.first_stage is called autoencoder now; write autoencoder: small",
        "evaluate.1.recognizer is called judge now; write judge: judge",
    ]
    assert data["models"]["ldm"]["autoencoder"] == "vq"
    assert data["models"]["ldm"]["settings"] == {"steps": 4, "autoencoder": "small"}
    assert data["evaluate"][1] == {"use": "separability", "judge": "judge"}
    assert modernize(data) == []


def test_an_old_suite_still_means_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    new, old = tmp_path / "new.yaml", tmp_path / "old.yaml"
    new.write_text(BASE, encoding="utf-8")
    old.write_text(BASE.replace("judge: judge}", "recognizer: judge}"), encoding="utf-8")
    assert load_suite(old) == load_suite(new)
    (line,) = caplog.messages
    assert line == f"{old}: evaluate.1.recognizer is called judge now; write judge: judge"


def test_values_for_python_need_no_text(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(BASE, encoding="utf-8")
    assert load_suite(path, {"seeds": [3], "crop_px": 40}) == load_suite(path, ["seeds=[3]", "crop_px=40"])
