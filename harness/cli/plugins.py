"""`harness plugins` and `harness components`."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import Any

import click

from harness.errors import InputError
from harness.plugins import ALLOWED, COMPONENT_KINDS, KINDS, registry
from harness.reading.escape import visible


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(name: str | None, as_json: bool) -> None:
    """List the plugins: what each offers and watches, or why it failed to load.

    The environment variable HARNESS_PLUGINS names the distributions to load, with commas between; unset: all.
    """
    with redirect_stdout(sys.stderr):  # what a plugin prints at import is no part of the list
        loaded = registry().plugins
    found = [p for p in loaded if name in (None, p.name, p.distribution)]
    if name and not found:
        raise InputError(f"no plugin {name!r}; installed: {', '.join(p.name for p in loaded)}")
    if as_json:
        listed = [
            {
                "name": p.name,
                "module": p.module,
                "distribution": p.distribution,
                "version": p.version,
                "error": p.error,
                "left_out": p.left_out,
                "registered": [{"kind": r.kind, "name": r.name, "target": r.target} for r in p.registered],
                "events": p.events,
            }
            for p in found
        ]
        click.echo(json.dumps(listed, indent=1))
        return
    for p in found:
        state = f"  FAILED: {p.error}" if p.error else f"  left out by {ALLOWED}" if p.left_out else ""
        click.echo(visible(f"{p.name}  ({p.distribution} {p.version}){state}"))
        offered = {kind: [r.name for r in p.registered if r.kind == kind] for kind in KINDS} | {"watches": p.events}
        for kind, names in offered.items():
            if names and not p.error:
                click.echo(visible(f"  {kind}: {', '.join(names)}"))


@click.command()
@click.argument("kind", required=False, type=click.Choice(COMPONENT_KINDS))
@click.option("--json", "as_json", is_flag=True, help="Print JSON schemas.")
def components(kind: str | None, as_json: bool) -> None:
    """List the components with their settings."""
    with redirect_stdout(sys.stderr):  # what a component's module prints at import is no part of the list
        listed = {each: _described(each) for each in ([kind] if kind else COMPONENT_KINDS)}
    if as_json:
        click.echo(json.dumps(listed, indent=1))
        return
    for each, entries in listed.items():
        click.echo(each)
        for name, entry in entries.items():
            click.echo(visible(f"  {name}: {entry.get('error') or entry['summary']}"))
            _show_settings(entry.get("settings", {}))
            if "fit_settings" in entry:
                click.echo("    to fit a model:")
                _show_settings(entry["fit_settings"])
            for recipe, values in entry.get("recipes", {}).items():
                click.echo(visible(f"    recipe {recipe}: {json.dumps(values) if values else 'the defaults'}"))


def _described(kind: str) -> dict[str, dict[str, Any]]:
    """By name, what each component of a kind says of itself, or why it cannot be imported."""
    listed: dict[str, dict[str, Any]] = {}
    for name, registration in sorted(registry().names[kind].items()):
        try:
            cls = registry().load(kind, name)
        except InputError as error:
            listed[name] = {"error": str(error)}
            continue
        summary = (cls.__doc__ or "").strip().splitlines()
        listed[name] = {
            "distribution": registration.distribution,
            "summary": summary[0] if summary else "",
            "license": cls.license.name,
            "commercial_use": cls.license.commercial_use,
            "settings": cls.Settings.model_json_schema(),
        }
        fit = cls.schema("fit")
        if fit is not cls.Settings and fit.model_fields:
            listed[name]["fit_settings"] = fit.model_json_schema()
        if recipes := getattr(cls, "recipes", None):
            listed[name]["recipes"] = {recipe: dict(values) for recipe, values in recipes.items()}
    return listed


def _show_settings(schema: dict[str, Any]) -> None:
    for field, described in schema.get("properties", {}).items():
        default = f" [{json.dumps(described['default'])}]" if "default" in described else ""
        click.echo(visible(f"    {field}{default}  {described.get('description', '')}"))
