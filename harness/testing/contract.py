"""The contract of components as checks that a plugin's tests call, with pytest or without.

Each check draws a few images at the smallest size that your settings allow and raises ``AssertionError`` with the
component, what was found and what the contract asks::

    def test_the_contract() -> None:
        check_generator(Blobs(BlobsSettings(size_px=16)))
        check_light_import("blobs")

Letters: B images of a batch, M planned images, H, W pixels, S crop size in pixels.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from harness.arrays import Floats, Images, Ints
from harness.components import (
    AlignedBatch,
    Aligner,
    Component,
    Crop,
    FittedGenerator,
    Generator,
    Given,
    ImageBatch,
    Recognizer,
    Request,
    Run,
    SamplePlan,
    Source,
)
from harness.components.given import NOTHING
from harness.components.roles import check_roles
from harness.errors import InputError, StageError

# Packages that take a second or more to import; listing plugins and checking a suite must not wait for them.
HEAVY = ("torch", "torchvision", "mlflow", "tensorflow", "jax", "pandas", "scipy", "matplotlib")
# Enough for halves and single rows of a plan to be different things.
IDENTITIES, PER_IDENTITY = 3, 4

Sample = Callable[[SamplePlan], Iterable[ImageBatch]]


def check_generator(generator: Generator, given: Given = NOTHING, levels: int = 0) -> None:
    """Check a generator: its plan, its images, its needs, settings, license and code.

    Args:
        generator: with small settings; about 80 images are drawn.
        given: what it needs to plan and sample. With contexts [I, D], I becomes the number of identities.
        levels: gray levels by which an image may differ when it is drawn in other company. 0 for arithmetic on single
            images; 2 for a network on a GPU or with another batch size.
    """
    who, seed = _name(generator), 7
    check_component(generator)
    check_own_code(generator)
    given = _asked_for(generator, given)
    identities = len(given.contexts) if "contexts" in generator.needs else IDENTITIES
    request = Request(identities, PER_IDENTITY)
    plan = generator.plan(request, given, Run(seed))
    _check_plan(plan, generator.plan(request, given, Run(seed)), who)
    made = np.unique(plan.identities, return_counts=True)[1].tolist()
    wanted = [PER_IDENTITY] * identities
    assert made == wanted, f"{who} plans {made} images per identity, expected what the request says: {wanted}"
    faces = _check_sampling(plan, lambda part: generator.sample(part, given, Run(seed)), who, levels)
    other = Run(seed + 1)
    other_plan = generator.plan(request, given, other)
    other_faces = _drawn(other_plan, lambda part: generator.sample(part, given, other), who)
    same_images = all(np.array_equal(a, b) for a, b in zip(faces, other_faces, strict=True))
    assert not same_images, f"{who} draws the same images with two seeds; take noise from run.noise or run.generator"


def check_source(source: Source) -> None:
    """Check a source: its plan, its images (of the whole plan, so choose a small part), settings, license and code."""
    who, run = _name(source), Run(0)
    check_component(source)
    plan = source.plan(run)
    _check_plan(plan, source.plan(Run(0)), who)
    _check_sampling(plan, lambda part: source.sample(part, Run(0)), who, levels=0)


def check_aligner(aligner: Aligner, batch: ImageBatch, size_px: int = 32, levels: int = 0) -> None:
    """Check an aligner.

    Args:
        aligner: the aligner.
        batch: a few images for it, with landmarks if it wants them; not all of them need to show a face.
        size_px: S, side of the crop.
        levels: gray levels by which a crop may differ when its image comes in other company.
    """
    who, crop, run = _name(aligner), Crop("arcface", size_px), Run(0)
    check_component(aligner)
    check_own_code(aligner)
    before = batch.images.copy()
    whole = _aligned(aligner, batch, crop, run)
    assert np.array_equal(batch.images, before), f"{who} changed the images it was given; work on a copy"
    orders = {"in reverse order": np.arange(len(batch))[::-1]}
    orders |= {f"image {row} alone": np.array([row]) for row in range(min(4, len(batch)))}
    for label, rows in orders.items():
        part = _aligned(aligner, _batch_rows(batch, rows), crop, run)
        reasons = [whole.reasons[row] for row in rows]
        assert part.reasons == reasons, f"{who}, {label}: reasons {part.reasons}, in the whole batch {reasons}"
        _check_same(whole.images[rows], part.images, f"{who}, {label}", levels)
    faceless = ImageBatch(batch.identities[:1], batch.samples[:1], np.zeros_like(batch.images[:1]))
    _aligned(aligner, faceless, crop, run)


def check_recognizer(recognizer: Recognizer, gradient: bool = True) -> None:
    """Check a recognizer that has weights: its embeddings are functions of single images and of its state.

    Args:
        recognizer: with weights, its initial ones if it starts with any.
        gradient: whether its embeddings have one, as a fit that is conditioned through them needs.
    """
    import torch

    who, size = _name(recognizer), recognizer.takes.size_px
    check_component(recognizer)
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    whole = recognizer.embed(images)
    expected = (len(images), recognizer.width)
    assert whole.shape == expected, f"{who} embeds {len(images)} images as {list(whole.shape)}, expected {expected}"
    assert np.isfinite(whole).all(), f"{who} gives embeddings that are not finite"
    alone = np.concatenate([recognizer.embed(image[None]) for image in images])
    _check_close(whole, alone, f"{who}: an embedding depends on the images beside it (is evaluation mode on?)")
    again = type(recognizer)(recognizer.settings, recognizer.takes)
    again.load(recognizer.state())
    _check_close(whole, again.embed(images), f"{who}: state() and load() do not give the same recognizer again")
    if gradient:
        x = torch.zeros(1, 3, size, size, requires_grad=True)
        (gradients,) = torch.autograd.grad(recognizer.features(x).square().sum(), x, allow_unused=True)
        assert gradients is not None, f"{who}: no gradient reaches the image"


def check_component(component: Component) -> None:
    """Check what every component has: needs, settings that survive JSON and explain themselves, a license, and code."""
    from harness.code import code_of
    from harness.store.keys import digest

    who, settings = _name(component), component.settings
    _check_needs(component)
    again = type(settings).model_validate_json(settings.model_dump_json())
    assert again == settings, f"{who}: its settings come back from JSON as {again!r}, expected {settings!r}"
    digest(component.identity())  # plain JSON values, or the stage has no key
    for schema in {component.schema(""), component.schema("fit")}:
        extra = schema.model_config.get("extra")
        assert extra == "forbid", (
            f"{who}: {schema.__name__} lets typos pass; derive it from harness.components.Settings"
        )
        silent = [name for name, field in schema.model_fields.items() if not field.description]
        assert not silent, f"{who}: {schema.__name__} has no description (unit, range, source) of {', '.join(silent)}"
    name = component.license.name
    assert name not in ("", "unknown"), f"{who} has no license; set license = License(NAME, URL, commercial_use)"
    code_of(type(component))


def _check_needs(component: Component) -> None:
    """Roles are known, kinds are said for those that have kinds, and what is fitted is of a kind."""
    who = _name(component)
    fits = isinstance(component, FittedGenerator)
    try:
        check_roles(who, component.needs | frozenset(component.accepts) | getattr(component, "fit_needs", frozenset()))
    except InputError as error:
        raise AssertionError(str(error)) from error
    assert "model" not in component.needs or component.accepts.get("model"), (
        f"{who} needs a model but accepts none; set accepts = {{'model': frozenset({{KIND}})}}"
    )
    stray = component.accepts.keys() - component.needs - ({"autoencoder"} if fits else set())
    assert not stray, f"{who} accepts kinds for {', '.join(sorted(stray))}, which it does not need"
    assert not fits or hasattr(component, "fits"), f"{who} can be fitted; set fits to the kind of Model it gives"


def check_own_code(component: Component) -> None:
    """Check that the code its results depend on has the class's own module, so that an edit never meets a stale one."""
    from harness.code import code_of

    own, code = type(component).__module__, sorted(code_of(type(component)))
    assert own in code, f"{_name(component)}: code is {code}, expected {own!r} or its package among them"


def check_light_import(*modules: str) -> None:
    """Check that the modules load nothing heavy: import torch and the like inside the methods that need it."""
    code = "import sys, importlib; [importlib.import_module(m) for m in sys.argv[1:]]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False)
    assert not done.returncode, f"{', '.join(modules)} cannot be imported: {done.stderr.strip().splitlines()[-1:]}"
    heavy = sorted(set(HEAVY) & set(done.stdout.split()))
    text = "import them inside the methods, or under TYPE_CHECKING"
    assert not heavy, f"{', '.join(modules)} imports {', '.join(heavy)} when it is imported; {text}"


def _asked_for(component: Component, given: Given) -> Given:
    """What the component needs and nothing else, as a run gives it."""
    roles = {}
    for role in sorted(component.needs):
        try:
            roles[role] = getattr(given, role)
        except StageError:
            raise AssertionError(f"{_name(component)} needs {role}; give the check some: Given({role}=...)") from None
    return Given(**roles)


def _name(component: Component) -> str:
    return f"{type(component).__module__}.{type(component).__qualname__}"


def _check_plan(plan: SamplePlan, again: SamplePlan, who: str) -> None:
    assert len(plan), f"{who} plans no image"
    for name, column in {"identities": plan.identities, "samples": plan.samples}.items():
        got = f"{column.dtype} {list(column.shape)}"
        fits = column.dtype == np.int64 and column.shape == (len(plan),)
        assert fits, f"{who}: the plan's {name} are {got}, expected int64 [{len(plan)}]"
    keys = set(zip(plan.identities.tolist(), plan.samples.tolist(), strict=True))
    assert len(keys) == len(plan), f"{who} plans an (identity, sample) twice"
    for name, item in plan.items.items():
        assert len(item) == len(plan), f"{who}: the plan's items[{name!r}] has {len(item)} rows, not {len(plan)}"
    for name, table in plan.pool.items():
        needed = int(plan.identities.max()) + 1
        assert len(table) >= needed, f"{who}: the plan's pool[{name!r}] has {len(table)} rows, expected {needed}"
    for label, a, b in _columns(plan, again):
        assert np.array_equal(a, b), f"{who} plans other {label} when asked again with the same seed"


def _columns(plan: SamplePlan, again: SamplePlan) -> Iterator[tuple[str, Ints | Floats, Ints | Floats]]:
    yield "identities", plan.identities, again.identities
    yield "samples", plan.samples, again.samples
    for name in plan.items:
        yield f"items[{name!r}]", plan.items[name], again.items[name]
    for name in plan.pool:
        yield f"pool[{name!r}]", plan.pool[name], again.pool[name]


def _check_sampling(plan: SamplePlan, sample: Sample, who: str, levels: int) -> list[Images]:
    """An image is a function of its row of the plan: not of its neighbors, their order or earlier calls."""
    whole = _drawn(plan, sample, who)
    rows, half = np.arange(len(plan)), len(plan) // 2
    parts = {
        "the whole plan again": (rows, 0),
        "the second half of the plan first": (rows[half:], levels),
        "the plan in reverse order": (rows[::-1], levels),
        "every second row of the plan": (rows[::2], levels),
    }
    parts |= {f"row {row} of the plan alone": (rows[row : row + 1], levels) for row in {0, half, len(plan) - 1}}
    for label, (chosen, allowed) in parts.items():
        part = _drawn(_plan_rows(plan, chosen), sample, who)
        for row, image in zip(chosen, part, strict=True):
            where = f"{who}, {label}: identity {plan.identities[row]}, sample {plan.samples[row]}"
            _check_same(whole[row], image, where, allowed)
    return whole


def _drawn(plan: SamplePlan, sample: Sample, who: str) -> list[Images]:
    """The images of a plan, row for row, drawn and checked (shape, type, order) as in a run; sizes may differ."""
    from harness.stages.images import checked

    images: list[Images] = []
    try:
        for batch in checked(iter(sample(plan)), plan, who):
            _check_extras(batch, who)
            images.extend(batch.images)
    except StageError as error:
        raise AssertionError(str(error)) from error
    return images


def _check_extras(batch: ImageBatch, who: str) -> None:
    if batch.landmarks is not None:
        got = list(batch.landmarks.shape)
        assert got == [len(batch), 5, 2], f"{who} gave landmarks {got}, expected [{len(batch)}, 5, 2]"
    for name, column in batch.attributes.items():
        got = list(column.shape)
        assert got == [len(batch)], f"{who} gave attribute {name!r} as {got}, expected [{len(batch)}]"


def _aligned(aligner: Aligner, batch: ImageBatch, crop: Crop, run: Run) -> AlignedBatch:
    """Align a batch and check the shapes of what comes back."""
    who, count = _name(aligner), len(batch)
    made = aligner.align(batch, crop, run)
    shape = (count, crop.size_px, crop.size_px, 3)
    got = f"{made.images.dtype} {list(made.images.shape)}"
    assert made.images.dtype == np.uint8, f"{who} gave crops {got}, expected uint8 {list(shape)}"
    assert made.images.shape == shape, f"{who} gave crops {got}, expected uint8 {list(shape)}"
    assert len(made.reasons) == count, f"{who} gave {len(made.reasons)} reasons for {count} images"
    named = {"landmarks": (made.landmarks, (count, 5, 2)), "boxes": (made.boxes, (count, 4))}
    for name, (values, expected) in {**named, "scores": (made.scores, (count,))}.items():
        assert values.shape == expected, f"{who} gave {name} {list(values.shape)}, expected {list(expected)}"
    if made.faces is not None:
        got = f"{made.faces.dtype} {list(made.faces.shape)}"
        assert got == f"int64 [{count}]", f"{who} gave faces {got}, expected int64 [{count}] or None"
    for row, reason in enumerate(made.reasons):
        assert reason is None or reason.strip(), f"{who} gave an empty reason; say why there is no face"
        assert reason is None or not made.images[row].any(), (
            f"{who} gave a crop of an image that failed; expected zeros"
        )
    return made


def _check_close(expected: Floats, got: Floats, fault: str) -> None:
    """Equal up to rounding, in units of the largest value."""
    apart = float(np.abs(expected - got).max()) / max(float(np.abs(expected).max()), 1e-12)
    assert apart < 1e-4, f"{fault}: they differ by {apart:.1e} of the largest value"


def _check_same(expected: Images, got: Images, where: str, levels: int) -> None:
    assert expected.shape == got.shape, f"{where}: {list(got.shape)} pixels, before {list(expected.shape)}"
    off = int(np.abs(expected.astype(np.int16) - got.astype(np.int16)).max()) if expected.size else 0
    text = "an image may depend on its own row and run.noise only"
    assert off <= levels, f"{where}: differs by up to {off} gray levels, at most {levels} are allowed; {text}"


def _plan_rows(plan: SamplePlan, rows: Ints) -> SamplePlan:
    items = {name: column[rows] for name, column in plan.items.items()}
    return SamplePlan(plan.identities[rows], plan.samples[rows], items, plan.pool)


def _batch_rows(batch: ImageBatch, rows: Ints) -> ImageBatch:
    landmarks = None if batch.landmarks is None else batch.landmarks[rows]
    attributes = {name: column[rows] for name, column in batch.attributes.items()}
    return ImageBatch(batch.identities[rows], batch.samples[rows], batch.images[rows], landmarks, attributes)
