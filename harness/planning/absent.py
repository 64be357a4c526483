"""A suite whose data is not on this machine: what is missing, where it is to be had, and what a run would cost."""

from __future__ import annotations

from collections.abc import Iterator

from harness.suites.missing import Missing
from harness.suites.schema import Part, RowEntry, Suite

_DDPM_STEPS = 1000  # DDPM takes every step of the models that are fitted or imported here


def describe_missing(suite: Suite, missing: list[Missing]) -> Iterator[str]:
    """A line per missing file or folder, and the terms that the suite's ``data`` gives for it."""
    said = {entry.path: entry for entry in suite.data.values()}
    for text in dict.fromkeys(each.text for each in missing):
        keys = ", ".join(each.key for each in missing if each.text == text)
        yield f"missing  {text} ({keys})"
        entry = said.get(text)
        yield f"         from: {entry.origin}" if entry else "         from: not said; add it to `data`"
        if entry:
            yield f"         terms: {entry.terms}"


def describe_cost(suite: Suite) -> Iterator[str]:
    """Images, network evaluations and training images of a run in which nothing is cached; no hours without rates."""
    seeds, size = len(suite.seeds), suite.dataset
    for name, model in suite.models.items():
        if model.fit and {"steps", "batch_size"} <= model.settings.keys():
            seen = model.settings["steps"] * model.settings["batch_size"]
            yield f"fit      {name}: {seen:,} training images ({model.settings['steps']:,} steps)"
    for name, row in suite.rows.items():
        if size is None or row.recognizer:
            continue
        parts = []
        if row.use:
            images = (size.identities + size.spare.identities) * (size.per_identity + size.spare.images) * seeds
            calls = _calls(row.settings)
            parts.append(f"{images:,} images" + (f", {images * calls:,} network evaluations" if calls else ""))
        kept = _kept(suite, row)
        if suite.trainer and "epochs" in suite.trainer.settings and kept:
            seen = kept * suite.trainer.settings["epochs"] * seeds
            parts.append(f"at most {seen:,} training images")
        yield f"row      {name}: {'; '.join(parts) or 'not known before its sources are'} ({seeds} seeds)"


def _kept(suite: Suite, row: RowEntry) -> int:
    """How many images a row trains on; 0 where that depends on what a source holds."""
    size = suite.dataset
    assert size is not None
    found = 0
    for part in row.mix or [Part(row="this row")]:
        people = part.identities or (size.identities if part.row else 0)
        each = part.per_identity or (size.per_identity if part.row else 0)
        if not people * each:
            return 0
        found += people * each
    return found


def _calls(settings: dict[str, object]) -> int:
    """Network evaluations for one image, at most; 0 for a generator that takes no steps."""
    steps = settings.get("steps")
    if not isinstance(steps, int):
        return 0
    sampler = settings.get("sampler")
    calls = {"ddpm": _DDPM_STEPS, "heun": 2 * steps - 1}.get(str(sampler), steps)
    guided = settings.get("negative", "none") != "none" and bool(settings.get("w"))
    return calls * (2 if guided else 1)
