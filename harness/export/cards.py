"""Cards in Hugging Face's format: what made a face set or a recognizer, from what, its terms, and what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from harness import __version__
from harness.data.exports import HF_FILES, Format
from harness.export.chosen import Chosen, generators
from harness.faces.faceset import FaceSet
from harness.reading.escape import markdown_text, visible
from harness.reading.fields import key as row_name
from harness.reading.leaderboard import Cell, Interval
from harness.reading.metrics import About
from harness.results import Result
from harness.store.artifacts import Manifest
from harness.store.weights import WeightsInfo

if TYPE_CHECKING:
    from jinja2 import Environment

# Hugging Face's identifiers of the licenses that components and sources name; others are "other" with their name.
HF_LICENSES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-nd-4.0", "gpl-3.0", "openrail", "creativeml-openrail-m", "unknown"),
)
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
LARGEST = "10M<n<100M"
SHORT = 12  # characters of a digest in a table
ASKED = ("leakage", "fairness")  # families of metrics that a card misses aloud


@dataclass(frozen=True)
class Part:
    """A line of the table of what it was made from."""

    id: str
    component: str
    seed: str
    content: str
    license: str
    commercial_use: str
    made_with: str


@dataclass(frozen=True)
class Measured:
    """A metric of the seed, with its own interval, and the mean over the row's seeds with the interval over them."""

    title: str
    value: str
    interval: str
    mean: str
    n: str
    note: str


@dataclass(frozen=True)
class RowMeasured:
    """What was measured of one row and seed."""

    row: str
    seed: int
    seeds: int
    lines: tuple[Measured, ...]


def dataset_card(chosen: Chosen, faces: FaceSet, format_: Format) -> str:
    """The card of a face set, as ``README.md``."""
    made, drawn = chosen.artifact.manifest, list(generators(chosen))
    header: dict[str, Any] = _license(chosen) | {
        "pretty_name": _title(chosen),
        "task_categories": ["image-classification"],
        "size_categories": [next((name for size, name in SIZES.items() if len(faces) < size), LARGEST)],
        "tags": ["face-recognition", *(["synthetic"] if drawn else []), "facegen-harness"],
    }
    if format_ == "huggingface":
        header["configs"] = [{"config_name": "default", "data_files": [{"split": "train", "path": HF_FILES}]}]
    return _render(
        "dataset.md.j2",
        chosen,
        header,
        images=len(faces),
        identities=len(set(faces.identities.tolist())),
        crop=made.details.get("crop", {}),
        rejected=made.counts.get("rejected", 0),
        drawn=[each.component for each in drawn],
        format=format_,
    )


def recognizer_card(chosen: Chosen, info: WeightsInfo, file: str) -> str:
    """The card of a recognizer's weights file, as ``README.md``."""
    header = _license(chosen) | {
        "pipeline_tag": "image-feature-extraction",
        "tags": ["face-recognition", "facegen-harness"],
    }
    drawn = [each.component for each in generators(chosen)]
    architecture = json.dumps(info.settings, sort_keys=True)
    parameters = chosen.artifact.manifest.counts.get("parameters")
    return _render(
        "recognizer.md.j2",
        chosen,
        header,
        info=info,
        architecture=architecture,
        parameters=parameters,
        drawn=drawn,
        file=file,
    )


def _render(template: str, chosen: Chosen, header: dict[str, Any], **view: Any) -> str:
    made = chosen.artifact.manifest
    measured = [found for result in chosen.rests if (found := _measured(chosen, result.suite, result.row, result.seed))]
    families = {name.split("/")[0] for result in chosen.rests for name in _names(chosen, result.suite, result.row)}
    view |= {
        "header": yaml.safe_dump(header, sort_keys=False, allow_unicode=True),
        "title": _title(chosen),
        "made": made,
        "settings": json.dumps(made.settings, sort_keys=True),
        "rows": [_result(each) for each in chosen.rests],
        "parts": [_part(id, each) for id, each in chosen.lineage.items()],
        "commercial_use": chosen.commercial_use,
        "measured": measured,
        "missing": [name for name in ASKED if name not in families],
        "warnings": list(dict.fromkeys(text for result in chosen.rests for text in result.warnings)),
        "chosen_on": list(dict.fromkeys(name for result in chosen.rests for name in result.chosen_on)),
    }
    return _environment().get_template(template).render(version=__version__, **view)


def _result(result: Result) -> str:
    failed = " (failed)" if result.status == "failed" else ""
    return f"{result.suite}/{result.row}, seed {result.seed}{failed}"


def _title(chosen: Chosen) -> str:
    made = chosen.artifact.manifest
    if chosen.row is None:
        return visible(f"{made.component or made.kind} {made.key}")
    suite, row, seed = chosen.row
    return visible(f"{suite}/{row}, seed {seed}")


def _license(chosen: Chosen) -> dict[str, str]:
    """The license in the header: the one that all parts have, else what Hugging Face calls other or unknown."""
    names = {"unknown" if each is None else each.license.get("name") or "unknown" for each in chosen.lineage.values()}
    name = "unknown" if "unknown" in names else names.pop() if len(names) == 1 else "several, listed in this card"
    identifier = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
    return {"license": identifier} if identifier in HF_LICENSES else {"license": "other", "license_name": identifier}


def _part(id: str, made: Manifest | None) -> Part:
    if made is None:
        return Part(id, "not in the store any more", "", "", "unknown", "unknown", "")
    noted = made.environment
    versions = [f"{name} {noted[name]}" for name in ("harness", "torch", "numpy", "python", "gpu") if name in noted]
    commit = [f"commit {noted['commit'][:SHORT]}"] if "commit" in noted else []
    terms = made.license.get("name") or "unknown", made.license.get("commercial_use", "unknown")
    return Part(id, made.component, str(made.seed), made.content[:SHORT], *terms, ", ".join(versions + commit))


def _names(chosen: Chosen, suite: str, row: str) -> Sequence[str]:
    return [name for each in chosen.board.rows if (each.suite, each.name) == (suite, row) for name in each.cells]


def _measured(chosen: Chosen, suite: str, row: str, seed: int) -> RowMeasured | None:
    """The headline metrics of a seed, and all of those families that a card misses aloud."""
    found = next((each for each in chosen.board.rows if (each.suite, each.name) == (suite, row)), None)
    if found is None:
        return None
    cells = [cell for cell in found.cells.values() if seed in cell.values and _shown(cell.about)]
    return RowMeasured(row_name(found), seed, len(found.seeds), tuple(_lines(cells, seed))) if cells else None


def _shown(about: About) -> bool:
    return about.headline or about.name.split("/")[0] in ASKED


def _lines(cells: Sequence[Cell], seed: int) -> Iterator[Measured]:
    for cell in cells:
        about, own = cell.about, cell.intervals.get(seed)
        percent = " (%)" if about.unit == "fraction" else ""
        mean = f"{about.number(cell.value)} {_interval(about, cell.over_seeds)}".strip() if len(cell.values) > 1 else ""
        title = about.title if about.headline or about.title == about.name else f"{about.family} {about.title}"
        value, notes = about.number(cell.values[seed]), "; ".join(cell.notes)
        yield Measured(f"{title}{percent}", value, _interval(about, own), mean, f"{cell.n:,}", notes)


def _interval(about: About, found: Interval | None) -> str:
    return f"[{about.number(found.low)}, {about.number(found.high)}] over {found.over}" if found else ""


@cache
def _environment() -> Environment:
    """Templates of markdown, in which what comes from files and plugins has no meaning."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def plain(value: Any) -> Any:
        text = isinstance(value, str) and not isinstance(value, Markup)
        return markdown_text(visible(value)).replace("`", "\\`") if text else value

    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    made = Environment(loader=PackageLoader("harness.export"), finalize=plain, keep_trailing_newline=True, **options)
    made.filters["raw"] = Markup  # the header, which is YAML already
    return made
