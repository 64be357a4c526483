"""The code of a component follows from its imports, so that an edit never meets a stale artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import code
from harness.code import code_of
from harness.components import Evaluator
from harness.plugins import COMPONENT_KINDS, registry

COMPONENTS = [(kind, name) for kind in COMPONENT_KINDS for name in sorted(registry().names[kind])]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_a_component_depends_on_its_own_module(kind: str, name: str) -> None:
    cls = registry().load(kind, name)
    assert cls.__module__ in code_of(cls)


def names(kind: str, name: str) -> set[str]:
    return set(code_of(registry().load(kind, name)))


def test_imports_count_late_and_indirect_ones_too() -> None:
    assert {"harness.builtin.mtcnn", "harness.faces.warp"} <= names("evaluators", "crops")
    assert {"harness.stats.intervals", "harness.figures"} <= names("evaluators", "verification")
    assert {"harness.diffusion.unet", "harness.noise", "harness_id3.network"} <= names("generators", "id3")


def test_what_only_carries_data_or_is_seen_by_type_checkers_does_not_count() -> None:
    for kind, name in COMPONENTS:
        found = {module.split(".")[1] for module in names(kind, name) if module.startswith("harness.")}
        assert not found & {"components", "stages", "store", "planning", "reading", "plugins", "graph"}, name
    assert "harness.faces.faceset" not in names("evaluators", "separability")


def test_a_law_of_contexts_does_not_depend_on_the_one_beside_it() -> None:
    assert not any(module.startswith("harness.diffusion") for module in names("contexts", "uniform"))
    assert "harness.diffusion.unet" in names("contexts", "two-stage")


STRANGER = """
from harness import Evaluator, mean_uncertainty

class Mean(Evaluator):
    def evaluate(self, given, run):
        from harness.stats.neighbors import means
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Evaluator]:
    """An evaluator of somebody else's, in a package with a second module."""
    import importlib

    package = tmp_path / "strangers_package"
    package.mkdir()
    (package / "__init__.py").write_text(STRANGER, encoding="utf-8")
    (package / "helper.py").write_text("VALUE = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found: Any = importlib.import_module("strangers_package")
    evaluator: type[Evaluator] = found.Mean
    return evaluator


def forget() -> None:
    for remembered in (code._derived, code._imports, code._file):
        remembered.cache_clear()


def test_a_strangers_evaluator_depends_on_its_package_and_on_what_it_takes_from_the_harness(
    stranger: type[Evaluator], tmp_path: Path
) -> None:
    before = code_of(stranger)
    own = {"strangers_package", "strangers_package.helper"}
    assert own | {"harness.stats.intervals", "harness.stats.neighbors"} <= set(before)
    (tmp_path / "strangers_package" / "helper.py").write_text("VALUE = 2\n", encoding="utf-8")
    forget()
    after = code_of(stranger)
    assert {name for name in after if after[name] != before[name]} == {"strangers_package.helper"}


def test_an_edit_of_the_statistics_changes_what_a_strangers_evaluator_depends_on(
    stranger: type[Evaluator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code_of(stranger)
    edited = tmp_path / "intervals.py"
    real = code._file
    edited.write_text(str(real("harness.stats.intervals").read_text(encoding="utf-8")) + "\n# edited\n")
    forget()
    monkeypatch.setattr(code, "_file", lambda module: edited if module == "harness.stats.intervals" else real(module))
    after = code_of(stranger)
    monkeypatch.undo()
    code._derived.cache_clear()
    assert {name for name in after if after[name] != before[name]} == {"harness.stats.intervals"}


def test_an_override_replaces_what_the_imports_say(stranger: type[Evaluator]) -> None:
    class Narrow(stranger):  # type: ignore[misc, valid-type]
        code = ("harness.noise",)

    assert set(code_of(Narrow)) == {"harness.noise"}
    Narrow.code = ("harness.nosie",)
    with pytest.raises(ModuleNotFoundError, match=r"'harness.nosie', which cannot be found"):
        code_of(Narrow)
