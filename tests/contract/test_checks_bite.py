"""The contract finds the mistakes that it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, Field

from harness.builtin.no_alignment import NoAlignment
from harness.components import (
    AlignedBatch,
    Aligner,
    Component,
    Crop,
    FittedGenerator,
    Generator,
    Given,
    ImageBatch,
    License,
    Model,
    Request,
    Run,
    SamplePlan,
    Settings,
    Source,
)
from harness.testing import (
    RULES,
    check_aligner,
    check_component,
    check_generator,
    check_light_import,
    check_source,
    component,
)
from harness.testing.toy import Toy


@pytest.fixture(autouse=True)
def _own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module cannot be found by name when pytest imports it, so only its name is checked."""
    monkeypatch.setattr("harness.code.code_of", lambda cls: dict.fromkeys(cls.code or (cls.__module__,), ""))


class Good(Generator):
    """Noise per image; the base of the wrong ones."""

    license = License("MIT")

    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Iterator[ImageBatch]:
        for rows in plan.batches(5):
            yield ImageBatch(rows.identities, rows.samples, self.draw(rows, run))

    def draw(self, rows: SamplePlan, run: Run) -> Any:
        x = run.noise(rows.identities.tolist(), rows.samples.tolist(), (8, 8, 3), "good")
        return (x.clamp(-2, 2) * 63 + 127).numpy().astype(np.uint8)


class NoisePerBatch(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return run.generator("batch").integers(0, 256, (len(rows), 8, 8, 3), dtype=np.uint8)


class RelativeToBatch(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        images = super().draw(rows, run)
        return images - images[0] // 2


class NotRepeatable(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return np.random.default_rng().integers(0, 256, (len(rows), 8, 8, 3), dtype=np.uint8)


class DrawsGlobally(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return np.random.randint(0, 256, (len(rows), 8, 8, 3)).astype(np.uint8)


class SeedsGlobally(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        np.random.seed(run.seed)
        return super().draw(rows, run)


class SeedsTorch(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        torch.manual_seed(run.seed + int(rows.identities[0]))
        return (torch.rand(len(rows), 8, 8, 3) * 255).numpy().astype(np.uint8)


class NoSeed(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return super().draw(rows, Run(0))


class Floats(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return super().draw(rows, run) / 2


class UnitFloats(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return super().draw(rows, run) // 128 / 1


class UnitInts(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return (super().draw(rows, run) / 255).round().astype(np.uint8)


class NaNFloats(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return np.where(rows.samples[:, None, None, None] == 2, np.nan, super().draw(rows, run))


class NaNInts(NaNFloats):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return super().draw(rows, run).astype(np.uint8)


class NaNByTorch(NaNFloats):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return torch.from_numpy(super().draw(rows, run)).clamp(0, 255).to(torch.uint8).numpy()


class RaisesInTheMiddle(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        if 2 in rows.identities:
            raise ValueError("no memory left")
        return super().draw(rows, run)


class WritesToThePlan(Good):
    def plan(self, request: Request, given: Given, run: Run) -> SamplePlan:
        style = np.ones((request.identities, 1), np.float32)
        return SamplePlan.grid(request.identities, request.per_identity, pool={"style": style})

    def draw(self, rows: SamplePlan, run: Run) -> Any:
        rows.pool["style"][rows.identities] = 0
        return super().draw(rows, run)


class Gray(Good):
    def draw(self, rows: SamplePlan, run: Run) -> Any:
        return super().draw(rows, run)[..., 0]


class WrongOrder(Good):
    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Iterator[ImageBatch]:
        for batch in super().sample(plan, given, run):
            yield ImageBatch(batch.identities[::-1], batch.samples[::-1], batch.images[::-1])


class StopsEarly(Good):
    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Iterator[ImageBatch]:
        yield next(super().sample(plan, given, run))


class PlansLess(Good):
    def plan(self, request: Request, given: Given, run: Run) -> SamplePlan:
        return SamplePlan.grid(request.identities, request.per_identity - 1)


class RandomPlan(Good):
    def plan(self, request: Request, given: Given, run: Run) -> SamplePlan:
        style = np.random.default_rng().normal(size=request.identities * request.per_identity).astype(np.float32)
        return SamplePlan.grid(request.identities, request.per_identity, items={"style": style})


class NoLicense(Good):
    license = License("unknown")


class OtherCode(Good):
    code = ("harness.noise",)


class NeedsContexts(Good):
    needs = frozenset({"contexts"})


class NeedsNoSuchRole(Good):
    needs = frozenset({"context"})  # type: ignore[arg-type]


class NeedsAnyModel(Good):
    needs = frozenset({"model"})


class AcceptsWhatItDoesNotNeed(Good):
    accepts = {"model": frozenset({"latent-diffusion/1"})}


class ReadsWhatItDoesNotNeed(Good):
    def sample(self, plan: SamplePlan, given: Given, run: Run) -> Iterator[ImageBatch]:
        assert len(given.contexts)
        yield from super().sample(plan, given, run)


class FitsNoKind(Good, FittedGenerator):
    def fit(self, given: Given, run: Run) -> Model:
        raise AssertionError


class FitsToNoSuchRole(FitsNoKind):
    fits = "latent-diffusion/1"
    fit_needs = frozenset({"faces"})  # type: ignore[arg-type]


CONTEXTS = np.eye(4, 8, dtype=np.float32)


def test_a_good_generator_passes() -> None:
    check_generator(Good())
    check_generator(NeedsContexts(), Given(contexts=CONTEXTS))


def test_a_generator_is_given_what_it_needs_and_no_more() -> None:
    with pytest.raises(AssertionError, match=r"^\[needs\] .*given\.contexts was not asked for; add 'contexts'"):
        check_generator(ReadsWhatItDoesNotNeed(), Given(contexts=CONTEXTS))


# The ten faults that plugins are most likely to have, by the rule that each breaks, and others.
@pytest.mark.parametrize(
    ("wrong", "rule", "says"),
    [
        (DrawsGlobally, "global-random", "draws from a global generator"),
        (SeedsGlobally, "global-random", "seeds numpy's global one"),
        (SeedsTorch, "global-random", "seeds torch's global one"),
        (UnitFloats, "range", "float64 from 0 to 1, expected uint8 from 0 to 255"),
        (UnitInts, "range", "no pixel is above 1"),
        (NoisePerBatch, "batch-independent", "may depend on its own row"),
        (RelativeToBatch, "batch-independent", "may depend on its own row"),
        (NoLicense, "license", "has no license"),
        (WritesToThePlan, "unchanged-input", "changed the plan it was given"),
        (StopsEarly, "count", "gave 5 images of the 12 planned"),
        (PlansLess, "count", r"plans \[3, 3, 3\] images per identity"),
        (NaNFloats, "finite", "NaN or infinity"),
        (NaNInts, "finite", "casts NaN to uint8"),
        (NaNByTorch, "finite", "the image is black"),
        (RaisesInTheMiddle, "raises", "12 images, after 1 batches: ValueError: no memory left"),
        (NotRepeatable, "repeatable", "identity 0, sample 0 is another image"),
        (NoSeed, "seed", "same images with two seeds"),
        (Floats, "pixels", r"gave images float64 \[5, 8, 8, 3\], expected uint8"),
        (Gray, "pixels", r"gave images uint8 \[5, 8, 8\], expected uint8"),
        (WrongOrder, "order", "other images than planned"),
        (RandomPlan, "repeatable", r"other items\['style'\]"),
        (OtherCode, "code", "its package among them"),
        (NeedsContexts, "needs", "needs contexts"),
        (NeedsNoSuchRole, "needs", "unknown role 'context', expected one of .*; did you mean 'contexts'"),
        (NeedsAnyModel, "kind", "needs a model but accepts none"),
        (AcceptsWhatItDoesNotNeed, "kind", "accepts kinds for model, which it does not need"),
        (FitsNoKind, "kind", "can be fitted; set fits to the kind"),
        (FitsToNoSuchRole, "needs", "unknown role 'faces'"),
    ],
)
def test_a_wrong_generator_is_found(wrong: type[Generator], rule: str, says: str) -> None:
    with pytest.raises(AssertionError, match=rf"^\[{rule}\] .*{says}"):
        check_generator(wrong())


def test_levels_allow_rounding_and_no_more() -> None:
    class Rounds(Good):
        def draw(self, rows: SamplePlan, run: Run) -> Any:
            return super().draw(rows, run) // 2 + np.uint8(len(rows) % 2)

    check_generator(Rounds(), levels=1)
    with pytest.raises(AssertionError, match="by up to 1 gray levels, at most 0"):
        check_generator(Rounds())


class Undescribed(Settings):
    size_px: int = 32


class Lenient(BaseModel):
    size_px: int = Field(32, description="pixels")


class Lossy(Settings):
    size_px: int = Field(32, description="pixels", exclude=True)


@pytest.mark.parametrize(
    ("schema", "values", "says"),
    [
        (Undescribed, {}, "no description .* of size_px"),
        (Lenient, {}, "lets typos pass"),
        (Lossy, {"size_px": 64}, "come back from JSON"),
    ],
)
def test_wrong_settings_are_found(schema: type[BaseModel], values: dict[str, int], says: str) -> None:
    class Chosen(Component):
        Settings = schema
        license = License("MIT")

    with pytest.raises(AssertionError, match=rf"^\[settings\] .*{says}"):
        check_component(Chosen(schema(**values)))


class Twice(Source):
    """Plans an image twice."""

    license = License("MIT")

    def plan(self, run: Run) -> SamplePlan:
        return SamplePlan(np.zeros(2, np.int64), np.zeros(2, np.int64))

    def sample(self, plan: SamplePlan, run: Run) -> Iterator[ImageBatch]:
        yield ImageBatch(plan.identities, plan.samples, np.zeros((len(plan), 8, 8, 3), np.uint8))


def test_a_source_that_plans_an_image_twice_is_found() -> None:
    with pytest.raises(AssertionError, match=r"^\[plan\] .*twice"):
        check_source(Twice())


class Paints(NoAlignment):
    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        batch.images[:, 0] = 0
        return super().align(batch, crop, run)


class KeepsFailed(NoAlignment):
    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        made = super().align(batch, crop, run)
        return AlignedBatch(made.images, ["no face"] * len(batch), made.landmarks, made.boxes, made.scores)


class RejectsByCompany(NoAlignment):
    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        made = super().align(batch, crop, run)
        reasons: list[str | None] = ["too few"] * len(batch) if len(batch) < 3 else [None] * len(batch)
        images = np.zeros_like(made.images) if len(batch) < 3 else made.images
        return AlignedBatch(images, reasons, made.landmarks, made.boxes, made.scores)


class CountsOnce(NoAlignment):
    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        return replace(super().align(batch, crop, run), faces=np.ones(1, dtype=np.int64))


class RaisesWithoutFace(NoAlignment):
    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        if not batch.images.any():
            raise ValueError("no face found")
        return super().align(batch, crop, run)


class SwapsColors(NoAlignment):
    def align(self, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
        made = super().align(batch, crop, run)
        return replace(made, images=np.ascontiguousarray(made.images[..., ::-1]))


@pytest.mark.parametrize(
    ("wrong", "rule", "says"),
    [
        (Paints, "unchanged-input", "changed the images it was given"),
        (KeepsFailed, "reasons", "expected zeros"),
        (RejectsByCompany, "batch-independent", "image 0 alone: reasons"),
        (CountsOnce, "shapes", r"gave faces int64 \[1\], expected int64 \[4\] or None"),
        (RaisesWithoutFace, "raises", "ValueError: no face found"),
        (SwapsColors, "rgb", "gave crops with 100% of it and 50% of red"),
    ],
)
def test_a_wrong_aligner_is_found(wrong: type[Aligner], rule: str, says: str) -> None:
    (batch,) = Toy().sample(SamplePlan.grid(4, 1), Given(), Run(0))
    with pytest.raises(AssertionError, match=rf"^\[{rule}\] .*{says}"):
        check_aligner(wrong(), batch)


def test_a_heavy_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_plugin.py").write_text("import scipy\n")
    (tmp_path / "slow_plugin.py").write_text("import time\ntime.sleep(0.2)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(AssertionError, match=r"^\[light-import\] heavy_plugin imports scipy"):
        check_light_import("heavy_plugin")
    with pytest.raises(AssertionError, match=r"^\[raises\] no_such_plugin cannot be imported"):
        check_light_import("no_such_plugin")
    monkeypatch.setattr(component, "IMPORT_S", 0.15)  # of 2
    with pytest.raises(AssertionError, match=r"^\[light-import\] slow_plugin takes 0\.\d s to import"):
        check_light_import("slow_plugin")


def test_the_contract_itself_is_light_and_needs_no_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "HEAVY", (*component.HEAVY, "pytest"))
    check_light_import("harness.testing")


def test_the_page_for_authors_says_every_rule() -> None:
    page = (Path(__file__).parents[2] / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", page.partition("| rule | what it asks |")[2], re.MULTILINE)
    assert dict(table[: len(RULES)]) == RULES


def test_every_rule_is_broken_by_a_test() -> None:
    """A rule that no planted fault breaks may as well not be checked."""
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*bite.py"))
    assert [rule for rule in RULES if f'"{rule}", ' not in tests and f"[{rule}" not in tests] == []
