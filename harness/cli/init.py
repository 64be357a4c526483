"""`harness init`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from harness.errors import InputError


@click.command()
@click.argument("folder", required=False, default=".", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Write a commented suite file into FOLDER (default: here)."""
    target = folder / "suite.yaml"
    if target.exists():
        raise InputError(f"{target} exists; remove it or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    template = files("harness.cli").joinpath("suite_template.yaml")
    target.write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    click.echo(f"wrote {target}; next: harness plan {target}, then harness run {target}")
