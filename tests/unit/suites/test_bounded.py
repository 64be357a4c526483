"""No suite takes memory or time out of proportion, and none ends in a traceback: a line says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.components import ImageBatch, Run, SamplePlan, Settings, Source
from harness.errors import InputError
from harness.plugins import Registration, registry
from harness.suites.read import load_suite
from harness.suites.text import MAX_BYTES, MAX_VALUES, parse_yaml

# A hostile suite may take as long as so many ordinary ones; what is not bounded takes minutes, or all memory.
MOST_ORDINARY = 1000
BASE = """
name: small
crop_px: 32
sources:
  world: {use: faceworld, range: train, identities: 12, per_identity: 24, size_px: 32}
dataset: {identities: 10, per_identity: 20}
aligner: none
trainer: {use: margin, recipe: tiny}
rows:
  authentic: {use: authentic, source: world}
evaluate:
  - {use: separability}
"""


def aliases(levels: int = 12, width: int = 9) -> str:
    """Billion laughs: each list holds the one before it several times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines) + BASE


def merges(levels: int = 24) -> str:
    """Each table merges the one before it twice."""
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: v}}" for n in range(1, levels)]
    return "\n".join(lines) + BASE


def row(settings: str) -> str:
    return BASE.replace("source: world}", f"source: world, settings: {settings}}}")


BOMBS = {
    "aliases": (aliases(), f"more than {MAX_VALUES:,} values, repeats included"),
    "merges": (merges(), f"more than {MAX_VALUES:,} values, repeats included"),
    "brackets": (f"rows: {'[' * 10_000}{']' * 10_000}", "tables within tables"),
    "brackets that stay open": ("rows: " + "{a: " * 10_000, "tables within tables"),
    "a list within a list, line by line": ("- " * 10_000 + "x", "tables within tables"),
    "keys within keys": ("? " * 10_000 + "x", "tables within tables"),
    "a list that holds itself": ("rows: &a [*a]", "'a' holds itself"),
    "a table that holds itself": ("rows: &a {x: {y: *a}}", "'a' holds itself"),
    "a table that merges itself": ("rows: &a {<<: *a}", "'a' holds itself"),
    "a table that is its own key": ("rows: &a {? *a : x}", "'a' holds itself"),
    "many values": ("seeds: [" + "1," * 50_000 + "]", f"more than {MAX_VALUES:,} values"),
    "a large file": ("#" * (MAX_BYTES + 1), f"more than {MAX_BYTES:,} bytes"),
    "a date": (row("{per: 2024-01-01}"), "YAML reads a value as a date; put text in quotes"),
    "a time": (row("{per: 2001-12-14t21:59:43.10-05:00}"), "as a date"),
    "a date as a key": (BASE.replace("authentic:", "2024-01-01:"), "the key '2024-01-01' as a date, expected text"),
    "infinity": (row("{per: .inf}"), ".inf is no finite number"),
    "less than anything": (row("{per: -.inf}"), "-.inf is no finite number"),
    "not a number": (row("{per: .nan}"), ".nan is no finite number"),
    "a number too large": (row("{per: 1.0e+999}"), "no finite number"),
    "a huge integer": (BASE.replace("crop_px: 32", "crop_px: 1" + "0" * 30), "a whole number beyond"),
    "an integer of 5,000 digits": (BASE.replace("crop_px: 32", "crop_px: " + "9" * 5_000), "a whole number beyond"),
    "a hexadecimal one": (BASE.replace("crop_px: 32", "crop_px: 0x" + "f" * 20), "a whole number beyond"),
    "binary": (row("{per: !!binary aGVsbG8=}"), "as binary data"),
    "a set": (row("{per: !!set {a, b}}"), "as a set"),
    "an ordered table": (row("{per: !!omap [a: 1]}"), "'omap', which no suite holds"),
    "a Python object": (row("{per: !!python/object/apply:os.system [id]}"), "os.system', which no suite holds"),
    "a tag of its own": (row("{per: !mine x}"), "'!mine', which no suite holds"),
    "a number as a key": (BASE.replace("authentic:", "1.5:"), "the key '1.5' as a number, expected text"),
    "a list as a key": (BASE.replace("authentic:", "? [a]\n  :"), "a key is no text"),
    "binary as a key": (BASE.replace("authentic:", "!!binary aGk= :"), "a key is no text"),
    "null as a key": (row("{~: 1}"), "settings.None.[key]: got None, expected: a valid string"),
    "null as a key of the suite": ("~: 1" + BASE, "unknown key 'None'"),
    "a number that is none": (BASE.replace("crop_px: 32", "crop_px: !!int x"), "cannot be read as YAML"),
    "no digits": (BASE.replace("crop_px: 32", 'crop_px: !!int ""'), "cannot be read as YAML"),
    "a boolean that is none": (BASE.replace("crop_px: 32", "crop_px: !!bool x"), "cannot be read as YAML"),
    "a sign beyond Unicode": (BASE.replace("name: small", r'name: "\UFFFFFFFF"'), "cannot be read as YAML"),
    "an escape sequence": (BASE.replace("name: small", r'name: "\e[31m"'), "control character U+001B"),
    "half a sign": (BASE.replace("name: small", r'name: "\ud800"'), "control character U+D800"),
    "zero in a path": (
        BASE.replace("world: {", r'x: {use: images, path: "a\0b"}' + "\n  world: {"),
        "control character U+0000",
    ),
    "a control character": (BASE + "\x07", "cannot be read as YAML"),
    "two documents": (f"{BASE}---{BASE}", "cannot be read as YAML"),
    "no text": ("\ud800", "cannot be read as YAML"),
}


@pytest.fixture(scope="module")
def ordinary_s(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Processor seconds that an ordinary suite takes."""
    path = tmp_path_factory.mktemp("ordinary") / "suite.yaml"
    path.write_text(BASE, encoding="utf-8")
    load_suite(path)  # imports components
    start = time.process_time()
    load_suite(path)
    return time.process_time() - start


@pytest.mark.parametrize("case", BOMBS)
def test_a_hostile_suite_is_one_line_at_once(tmp_path: Path, case: str, ordinary_s: float) -> None:
    text, says = BOMBS[case]
    path = tmp_path / "suite.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        load_suite(path)
    assert time.process_time() - start < MOST_ORDINARY * ordinary_s
    message = str(caught.value)
    assert says in message
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize("case", ["aliases", "merges", "brackets", "a list that holds itself", "half a sign"])
def test_so_are_values_of_the_command_line(tmp_path: Path, case: str, ordinary_s: float) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(BASE, encoding="utf-8")
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        load_suite(path, [f"rows.authentic.settings={BOMBS[case][0]}"])
    assert time.process_time() - start < MOST_ORDINARY * ordinary_s
    assert str(caught.value).startswith("--set rows.authentic.settings: ")
    assert len(str(caught.value)) < 1000


def test_a_key_of_the_command_line_is_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(BASE, encoding="utf-8")
    with pytest.raises(InputError, match="more than 32 tables within tables"):
        load_suite(path, [f"rows.{'a.' * 20_000}a=1"])
    within: list[object] = []
    within.append(within)
    with pytest.raises(InputError, match="more than 32 tables within tables"):
        load_suite(path, {"seeds": within})
    with pytest.raises(InputError, match="inf is no finite number"):
        load_suite(path, {"rows.authentic.settings": {"per": float("inf")}})


def test_the_largest_suite_that_is_read_takes_little(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(f"seeds: [{', '.join(map(str, range(MAX_VALUES - 100)))}]{BASE}", encoding="utf-8")
    assert len(load_suite(path).seeds) == MAX_VALUES - 100


def test_repeats_and_merges_within_the_limits_mean_what_they_do_in_yaml() -> None:
    text = "a: &a {x: 1, y: [1.5, yes, ~, text]}\nb: {<<: *a, x: 2}\nc: [*a, *a]\n7: {08: 0x10}"
    a = {"x": 1, "y": [1.5, True, None, "text"]}
    assert parse_yaml(text, "test") == {"a": a, "b": {**a, "x": 2}, "c": [a, a], "7": {"08": 16}}


def test_a_pipe_is_no_suite(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "suite.yaml")
    command = [sys.executable, "-m", "harness", "plan", str(tmp_path / "suite.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "suite.yaml: it is no file; expected a YAML file" in done.stderr


@pytest.mark.parametrize("value", ["x" * 100_000, "a\nb\x1b[31m"])
def test_variables_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HARNESS_TEST", value)
    path = tmp_path / "suite.yaml"
    path.write_text(row(f"{{per: '{'${HARNESS_TEST}' * 1000}'}}"), encoding="utf-8")
    with pytest.raises(InputError, match=r"characters into the suite|holds control characters"):
        load_suite(path)


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        (BASE.replace("name: small", f"name: {'n' * 65}"), "name", "at most 64 characters"),
        (BASE.replace("authentic:", f"{'n' * 65}:"), "rows.", "at most 64 characters"),
        (BASE.replace("name: small", "name: suite.yaml"), "name", "not that of a file"),
        (BASE.replace("authentic:", "suite.yaml:"), "rows.suite.yaml", "not that of a file"),
        (BASE.replace("authentic:", "Results.JSON:"), "rows.Results.JSON", "not that of a file"),
        (BASE.replace("authentic:", "Starts:"), "rows", "'Starts' is the name of a folder beside the rows"),
        (BASE.replace("name: small", "name: ../up"), "name", "should match pattern"),
        (BASE.replace("name: small", "name: ..") , "name", "should match pattern"),
        (BASE.replace("name: small", 'name: "a\\n"'), "name", "should match pattern"),
        (
            BASE.replace("rows:", "rows:\n  Authentic: {use: authentic, source: world}"),
            "rows",
            "'Authentic' and 'authentic' differ only in case, and some file systems take them for one",
        ),
    ],
)  # fmt: skip
def test_names_are_checked_before_anything_runs(tmp_path: Path, text: str, where: str, says: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_suite(path)
    assert str(caught.value).startswith(f"{path}: {where}")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


class FreeText(Settings):
    """Settings with text, a number and a list."""

    url: str = ""
    pin: int = 0
    words: list[str] = []


class Downloads(Source):
    """A source with credentials."""

    Settings = FreeText

    def plan(self, run: Run) -> SamplePlan:
        """Nothing is drawn here."""
        raise NotImplementedError

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        """Nothing is drawn here."""
        raise NotImplementedError


SECRETS = """
  photos: {use: images, path: "${HARNESS_HOME}/faces"}
  paid:
    use: downloads
    url: "https://host/?token=${HARNESS_TOKEN}&of=${HARNESS_HOME}"
    pin: "${harness_api_key}"
    words: ["${HARNESS_TOKEN}", "${HARNESS_LINK}/x", "https://you:pw2@host/y", "me@host", "${HARNESS_PASSWD}", "a b"]
  more: {like: paid, pin: 7}
"""


def test_secrets_are_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered = Registration("sources", "downloads", f"{__name__}:Downloads", "tests")
    monkeypatch.setitem(registry().names["sources"], "downloads", registered)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    (tmp_path / "home" / "faces").mkdir(parents=True)
    values = {"HARNESS_HOME": f"{tmp_path}/home", "HARNESS_TOKEN": "hf_abc", "harness_api_key": "4711"}
    for name, value in (values | {"HARNESS_LINK": "http://me:pw1@host", "HARNESS_PASSWD": "a"}).items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "suite.yaml"
    path.write_text(BASE.replace("sources:", f"sources:{SECRETS.rstrip()}"), encoding="utf-8")
    suite = load_suite(path)
    assert suite.sources["paid"].settings["words"][0] == "hf_abc"  # the run has the values
    text = suite.to_yaml()
    for secret in ("hf_abc", "4711", "pw1", "pw2"):
        assert secret not in text
    stored = parse_yaml(text, "stored")["sources"]
    assert stored["photos"]["settings"]["path"] == f"{tmp_path}/home/faces"  # paths stay readable
    assert stored["paid"]["settings"] == {
        "url": f"https://host/?token=${{HARNESS_TOKEN}}&of={tmp_path}/home",
        "pin": "${harness_api_key}",
        "words": [
            "${HARNESS_TOKEN}",
            "${HARNESS_LINK}/x",
            "https://***@host/y",
            "me@host",
            "${HARNESS_PASSWD}",
            "a b",
        ],
    }
    assert stored["more"]["settings"]["pin"] == 7
    (tmp_path / "again.yaml").write_text(text, encoding="utf-8")
    again = load_suite(tmp_path / "again.yaml")
    assert again.to_yaml() == text
    assert again.sources["paid"].settings["pin"] == 4711
    assert suite.stored({"a": "x hf_abc", "b": 4711}) == {"a": "x ${HARNESS_TOKEN}", "b": "${harness_api_key}"}
