"""``harness data``: look at, check and convert data sets in the field's formats."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from harness.cli.options import workdir_option
from harness.reading.escape import visible

if TYPE_CHECKING:
    from harness.data.exports import Format
    from harness.data.survey import Findings, Summary

source_argument = click.argument("source", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def data() -> None:
    """Look at, check and convert data: .bin, RecordIO, parquet, folders of images, folders with pairs, IJB."""


@data.command()
@source_argument
@json_option
def inspect(source: Path, as_json: bool) -> None:
    """Say what SOURCE holds: kind, counts, image sizes, content hash."""
    from harness.data.datasets import open_dataset
    from harness.data.survey import summarize

    summary = summarize(open_dataset(source))
    click.echo(json.dumps(asdict(summary), indent=1) if as_json else _summary_text(summary))


@data.command()
@source_argument
@click.option("--audit", is_flag=True, help="Also measure alignment (MTCNN) and color order on a sample.")
@json_option
def check(source: Path, audit: bool, as_json: bool) -> None:
    """Decode every image of SOURCE and look for faults; the exit status is 1 if there are any."""
    from harness.builtin.mtcnn import MTCNNAligner
    from harness.data.datasets import open_dataset
    from harness.data.survey import check as look

    faults: list[str] = []
    found = look(open_dataset(source, faults), MTCNNAligner() if audit else None, faults=faults)
    click.echo(json.dumps(found.as_json(), indent=1) if as_json else _findings_text(found))
    sys.exit(1 if found.problems else 0)


@data.command()
@source_argument
@click.argument("folder", type=click.Path(path_type=Path))
def convert(source: Path, folder: Path) -> None:
    """Write SOURCE as parquet into FOLDER; the bytes of every image are kept."""
    from harness.data.transfer import convert as write

    click.echo(visible(f"wrote {write(source, folder)} images to {folder}"))


@data.command()
@source_argument
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--dialect",
    type=click.Choice(["python3", "python2"]),
    default="python3",
    show_default=True,
    help="How a .bin is pickled.",
)
def pack(source: Path, target: Path, dialect: Literal["python2", "python3"]) -> None:
    """Write a folder with pairs as TARGET.bin, or a folder per identity as TARGET.rec, .idx and .lst."""
    from harness.data.transfer import pack as write

    click.echo(visible(f"wrote {write(source, target, dialect)} images to {target}"))


@data.command()
@source_argument
@click.argument("folder", type=click.Path(path_type=Path))
def unpack(source: Path, folder: Path) -> None:
    """Write the images of a .bin or .rec file into FOLDER, their bytes kept; a .bin with its pairs.csv."""
    from harness.data.transfer import unpack as write

    click.echo(visible(f"wrote {write(source, folder)} images to {folder}"))


@data.command()
@click.argument("faces")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["folders", "huggingface", "recordio", "lmdb"]),
    default="folders",
    show_default=True,
    help="How the faces are laid out.",
)
@click.option("--seed", type=int, help="Of a row: which of its seeds. Default: the first.")
@workdir_option
def export(faces: str, folder: Path, format_: Format, seed: int | None, workdir: Path) -> None:
    """Write FACES, a folder of the store or SUITE/ROW, with a card into FOLDER; the bytes of every image are kept.

    Of a row these are the faces that its recognizer was trained on. folders are files under the names that faces were
    read from, huggingface is for datasets.load_dataset, recordio for insightface's trainers, lmdb for ImageFolderLMDB.
    """
    from harness.export.write import export_faces

    def told(done: int, total: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done:,} of {total:,} images", err=True, nl=done == total)

    count = export_faces(workdir, faces, folder, format_, seed, told)
    click.echo(visible(f"wrote {count} images and their card to {folder}"))


def _summary_text(summary: Summary) -> str:
    lines = [f"{summary.path}: {summary.kind}, {summary.images:,} images"]
    if summary.identities is not None and summary.per_identity is not None:
        low, high = summary.per_identity
        lines.append(f"identities  {summary.identities:,} with {low} to {high} images")
    if summary.genuine + summary.impostor:
        lines.append(f"pairs       {summary.genuine:,} genuine, {summary.impostor:,} impostor")
    lines += [f"{name:<12}{count:,}" for name, count in summary.further.items()]
    lines.append(f"sizes       {_counts(summary.sizes)}")
    lines.append(f"formats     {_counts(summary.formats)}")
    if summary.unreadable:
        lines.append(f"unreadable  {summary.unreadable:,}; `harness data check` names them")
    lines.append(f"content     {summary.content}")
    return "\n".join(map(visible, lines))


def _findings_text(found: Findings) -> str:
    lines = [f"{found.images:,} images, sizes {_counts(found.sizes)}"]
    if found.audit is not None:
        audit = found.audit
        right, down = audit.offset_px
        lines.append(
            f"audit: faces in {audit.found} of {audit.images}, {audit.residual_px:.1f} px of 112 from the reference, "
            f"shift ({right:+.1f}, {down:+.1f}) px, {audit.warm:.0%} of {audit.colored} with more red than blue"
        )
    lines += [f"note: {note}" for note in found.notes] + [f"problem: {problem}" for problem in found.problems]
    return "\n".join(map(visible, lines if found.problems else [*lines, "no problem found"]))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in list(counts.items())[:8]) or "none"
