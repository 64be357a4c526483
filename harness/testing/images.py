"""Checks of what draws or reads images by a plan: generators and sources.

Letters: B images of a batch, M planned images, I identities, H, W pixels, D context width.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from harness.arrays import Floats, Images, Ints
from harness.components import Generator, Given, ImageBatch, Request, Run, SamplePlan, Source
from harness.components.given import NOTHING
from harness.errors import StageError
from harness.testing.component import asked_for, check_component, check_own_code, left_alone
from harness.testing.rules import calling, name_of, repeated, require, steps

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

    Raises:
        AssertionError: with the rule that is broken.
    """
    who, seed = name_of(generator), 7
    check_component(generator)
    check_own_code(generator)
    given = asked_for(generator, given)
    identities = len(given.contexts) if "contexts" in generator.needs else IDENTITIES
    request = Request(identities, PER_IDENTITY)

    def planned(seed: int) -> SamplePlan:
        with calling(who, "plan"), left_alone(who, given):
            return generator.plan(request, given, Run(seed))

    plan = check_plan(lambda: planned(seed), who)
    made = np.unique(plan.identities, return_counts=True)[1].tolist()
    wanted = [PER_IDENTITY] * identities
    text = f"{who} plans {made} images per identity, expected what the request says: {wanted}"
    require(made == wanted, "count", text)
    faces = check_sampling(plan, lambda part: generator.sample(part, given, Run(seed)), who, levels, given)
    for row, image in enumerate(faces):
        where = f"{who}: identity {plan.identities[row]}, sample {plan.samples[row]}"
        require(
            bool(image.any()), "finite", f"{where}: the image is black, which NaN turns into; look at what is drawn"
        )
    largest = max(int(image.max()) for image in faces)
    require(largest > 1, "range", f"{who}: no pixel is above 1; scale to 0 to 255 before the conversion to uint8")
    other_faces = drawn(planned(seed + 1), lambda part: generator.sample(part, given, Run(seed + 1)), who)
    same_images = all(np.array_equal(a, b) for a, b in zip(faces, other_faces, strict=True))
    text = f"{who} draws the same images with two seeds; take noise from run.noise or run.generator"
    require(not same_images, "seed", text)


def check_source(source: Source) -> None:
    """Check a source: its plan, its images (of the whole plan, so choose a small part), settings, license and code.

    That files are read with their colors in order is for a test that knows what is in the files.

    Raises:
        AssertionError: with the rule that is broken.
    """
    who = name_of(source)
    check_component(source)

    def planned() -> SamplePlan:
        with calling(who, "plan"):
            return source.plan(Run(0))

    plan = check_plan(planned, who)
    check_sampling(plan, lambda part: source.sample(part, Run(0)), who, levels=0)


def check_plan(make: Callable[[], SamplePlan], who: str) -> SamplePlan:
    """A plan that is made the same twice, and is well formed."""
    plan = repeated(make, _plans_differ, f"{who}: its plan")
    require(len(plan) > 0, "plan", f"{who} plans no image")
    for name, column in {"identities": plan.identities, "samples": plan.samples}.items():
        got = f"{column.dtype} {list(column.shape)}"
        fits = column.dtype == np.int64 and column.shape == (len(plan),)
        require(fits, "shapes", f"{who}: the plan's {name} are {got}, expected int64 [{len(plan)}]")
    keys = set(zip(plan.identities.tolist(), plan.samples.tolist(), strict=True))
    require(len(keys) == len(plan), "plan", f"{who} plans an (identity, sample) twice")
    for name, item in plan.items.items():
        text = f"{who}: the plan's items[{name!r}] has {len(item)} rows, not {len(plan)}"
        require(len(item) == len(plan), "plan", text)
    for name, table in plan.pool.items():
        needed = int(plan.identities.max()) + 1
        text = f"{who}: the plan's pool[{name!r}] has {len(table)} rows, expected {needed}"
        require(len(table) >= needed, "plan", text)
    return plan


def _plans_differ(plan: SamplePlan, again: SamplePlan) -> str:
    pairs = _columns(plan, again)
    return ", ".join(label for label, a, b in pairs if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _columns(plan: SamplePlan, again: SamplePlan) -> Iterator[tuple[str, Ints | Floats, Ints | Floats]]:
    yield "other identities", plan.identities, again.identities
    yield "other samples", plan.samples, again.samples
    for name in plan.items:
        yield f"other items[{name!r}]", plan.items[name], again.items[name]
    for name in plan.pool:
        yield f"other pool[{name!r}]", plan.pool[name], again.pool[name]


def check_sampling(plan: SamplePlan, sample: Sample, who: str, levels: int, given: Given = NOTHING) -> list[Images]:
    """An image is a function of its row of the plan: not of its neighbors, their order or earlier calls."""
    with left_alone(who, given, plan=plan):
        whole = repeated(lambda: drawn(plan, sample, who), lambda a, b: _images_differ(plan, a, b), who)
    next(iter(sample(plan)))  # one that is not drawn to its end, as after a kill
    rows, half = np.arange(len(plan)), len(plan) // 2
    parts = {
        "the second half of the plan first": rows[half:],
        "the plan in reverse order": rows[::-1],
        "every second row of the plan": rows[::2],
    }
    parts |= {f"row {row} of the plan alone": rows[row : row + 1] for row in (0, half, len(plan) - 1)}
    for label, chosen in parts.items():
        part = drawn(plan_rows(plan, chosen), sample, who)
        for row, image in zip(chosen, part, strict=True):
            where = f"{who}, {label}: identity {plan.identities[row]}, sample {plan.samples[row]}"
            text = "an image may depend on its own row and run.noise only"
            check_same(whole[row], image, where, levels, text)
    return whole


def _images_differ(plan: SamplePlan, first: list[Images], second: list[Images]) -> str:
    for row, (a, b) in enumerate(zip(first, second, strict=True)):
        if not np.array_equal(a, b):
            return f"identity {plan.identities[row]}, sample {plan.samples[row]} is another image"
    return ""


def drawn(plan: SamplePlan, sample: Sample, who: str) -> list[Images]:
    """The images of a plan, row for row, drawn and checked (shape, type, order) as in a run; sizes may differ."""
    from harness.stages.images import checked

    images: list[Images] = []
    ended = False

    def looked_at() -> Iterator[ImageBatch]:
        nonlocal ended
        for batch in steps(sample(plan), who, f"{len(plan)} images"):
            check_pixels(batch, who)
            yield batch
        ended = True

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "invalid value encountered in cast", RuntimeWarning)  # NaN as uint8
        try:
            for batch in checked(looked_at(), plan, who):
                images.extend(batch.images)
        except StageError as error:
            raise AssertionError(f"[{'count' if ended or len(images) > len(plan) else 'order'}] {error}") from error
        except AssertionError as error:
            if isinstance(error.__cause__, RuntimeWarning):
                raise AssertionError(f"[finite] {who} casts NaN to uint8: {error.__cause__}") from error
            raise
    return images


def check_pixels(batch: ImageBatch, who: str) -> None:
    """What a batch holds: uint8 RGB images, landmarks and attributes in their shapes."""
    images = np.asarray(batch.images)
    if images.dtype.kind == "f" and images.size:
        require(bool(np.isfinite(images).all()), "finite", f"{who} gave images with NaN or infinity")
        low, high = float(images.min()), float(images.max())
        text = f"{who} gave images {images.dtype} from {low:.2g} to {high:.2g}, expected uint8 from 0 to 255"
        require(high > 1, "range", text)
    got, right = f"{images.dtype} {list(images.shape)}", images.shape[:1] + images.shape[3:] == (len(batch), 3)
    text = f"{who} gave images {got}, expected uint8 [{len(batch)}, H, W, 3]"
    require(images.dtype == np.uint8 and images.ndim == 4 and right, "pixels", text)
    if batch.landmarks is not None:
        got = str(list(batch.landmarks.shape))
        right = batch.landmarks.shape == (len(batch), 5, 2)
        require(right, "shapes", f"{who} gave landmarks {got}, expected [{len(batch)}, 5, 2]")
    for name, column in batch.attributes.items():
        text = f"{who} gave attribute {name!r} as {list(column.shape)}, expected [{len(batch)}]"
        require(column.shape == (len(batch),), "shapes", text)


def check_same(expected: Images, got: Images, where: str, levels: int, text: str) -> None:
    """An image in other company is the same, to so many gray levels."""
    sizes = f"{where}: {list(got.shape)} pixels, before {list(expected.shape)}"
    require(expected.shape == got.shape, "batch-independent", sizes)
    off = int(np.abs(expected.astype(np.int16) - got.astype(np.int16)).max(initial=0))
    found = f"{where}: differs by up to {off} gray levels, at most {levels} are allowed; {text}"
    require(off <= levels, "batch-independent", found)


def plan_rows(plan: SamplePlan, rows: Ints) -> SamplePlan:
    """Some rows of a plan, in any order; the pool stays whole."""
    items = {name: column[rows] for name, column in plan.items.items()}
    return SamplePlan(plan.identities[rows], plan.samples[rows], items, plan.pool)


def batch_rows(batch: ImageBatch, rows: Ints) -> ImageBatch:
    """Some images of a batch, in any order."""
    landmarks = None if batch.landmarks is None else batch.landmarks[rows]
    attributes = {name: column[rows] for name, column in batch.attributes.items()}
    return ImageBatch(batch.identities[rows], batch.samples[rows], batch.images[rows], landmarks, attributes)
