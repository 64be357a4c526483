"""`harness weights`: `import` makes weights files of published checkpoints, `check` says how they want their pictures,
`export` writes a recognizer with its card.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import workdir_option
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.foreign.checkpoints import Terms
    from harness.store.weights import WeightsInfo

LATENT, VQ = "latent-diffusion", "vq-f4"
RECOGNIZER_PX = 112  # of the crops that published recognizers take

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_AS = f"A recognizer, such as iresnet, or {LATENT}, or {VQ}."
_SET = f"A setting of the recognizer, as in depth=100, or cpd=0.5 of a {LATENT}."


@click.group()
def weights() -> None:
    """Handle weights files."""


@weights.command("import")
@click.argument("file", required=False, type=_file)
@click.option("--as", "kind", required=True, metavar="NAME", help=_AS)
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE", help=_SET)
@click.option("--view", metavar="CROP", help="The crop that a recognizer takes: raw, arcface, or one of a plugin.")
@click.option("--color", type=click.Choice(["rgb", "bgr"]), help="The order of a recognizer's colors. Default: rgb.")
@click.option("--size-px", type=click.IntRange(min=16), help="Side of the crop or image. Default: 112, model: 128.")
@click.option("--entry", default="", help="Which table of a checkpoint that holds several, such as state_dict.")
@click.option("--unet", type=_file, help="Checkpoint of an IDiff-Face model, of any of its networks.")
@click.option("--encoder", type=_file, help="VQ-f4: the encoder's file, or one that holds all of it.")
@click.option("--decoder", type=_file, help="VQ-f4: the decoder's file, codebook included, or one that holds all.")
@click.option("--recognizer", type=_file, help="Weights file of the recognizer that gave the model its contexts.")
@click.option("--license", "license_name", default="unknown", show_default=True, help="The weights' own license.")
@click.option("--commercial-use", type=click.Choice(["yes", "no", "unknown"]), default="unknown", show_default=True)
@click.option("-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def import_weights(out: Path, kind: str, license_name: str, commercial_use: Any, **options: Any) -> None:
    """Turn a published checkpoint, FILE or that of --unet, into a weights file that suites can name.

    Of a checkpoint its tensors are read and nothing else; a missing, extra or misshapen one is refused with its name.
    """
    from harness.foreign.checkpoints import Terms
    from harness.store.weights import weights_content

    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: expected a name that ends in .safetensors")
    if out.exists():
        raise InputError(f"--out {out}: exists; remove it or choose another name")
    out.parent.mkdir(parents=True, exist_ok=True)
    terms = Terms(license_name, commercial_use)
    info = {LATENT: _model, VQ: _autoencoder}.get(kind, _recognizer)(out, kind, terms, options)
    click.echo(f"{out}: {info.role} {info.kind}, content {weights_content(out)[:12]}")
    click.echo(f"license {info.license}, commercial use {info.commercial_use}")


@weights.command("check")
@click.argument("file")
@click.argument("protocol")
@click.option("--pairs", default=300, show_default=True, type=click.IntRange(min=40), help="Pairs that are tried.")
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE", help="A setting of the protocol, as size_px=64.")
@click.option(
    "--aligner", default="", help="Finds the faces of photographs, such as mtcnn. Default: the protocol's landmarks."
)
@click.option("--device", default="cpu", show_default=True, help="Where the recognizer runs, such as cuda.")
def check_weights(
    file: str, protocol: str, pairs: int, values: tuple[str, ...], aligner: str | None, device: str
) -> None:
    """Say how the recognizer in FILE wants its pictures: color order, pixel values, crop, direction.

    FILE is a weights file, or demo:NAME. PROTOCOL brings the pairs to try them on: a .bin file, a folder with a list of
    pairs, or the name of a protocol, such as fw-lfw.
    """
    import tempfile

    from harness.components import Run
    from harness.foreign.wanted import find_wanted, sample_pairs
    from harness.stages.opening import load_recognizer
    from harness.store.shipped import find_weights

    brings = _protocol(protocol, _settings(values))
    finder = _component("aligners", aligner, {}) if aligner else None
    with tempfile.TemporaryDirectory() as folder:
        place = find_weights(file)
        info, _ = place.describe()
        if info.role != "recognizer":
            raise InputError(f"{file}: holds a {info.role}, expected a recognizer")
        path = Path(folder) / "weights.safetensors"
        place.put(path)
        recognizer = load_recognizer(path, device)
        run = Run(0, device)
        found = find_wanted(recognizer, sample_pairs(brings, pairs, run, finder), run)
    click.echo(found.line(file, protocol))


@weights.command("export")
@click.argument("recognizer")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", type=int, help="Of a row: which of its seeds. Default: the first.")
@workdir_option
def export_weights(recognizer: str, folder: Path, seed: int | None, workdir: Path) -> None:
    """Write RECOGNIZER, a folder of the store or SUITE/ROW, as a weights file with a card into FOLDER."""
    from harness.export.write import export_recognizer
    from harness.reading.escape import visible

    click.echo(visible(f"wrote {export_recognizer(workdir, recognizer, folder, seed)} and its card"))


def _protocol(text: str, settings: dict[str, Any]) -> Any:
    """The protocol that a path or a name means."""
    from harness.components import FaceProtocol

    path = Path(text)
    kind = "folder-pairs" if path.is_dir() else "bin" if path.is_file() else text
    made = _component("protocols", kind, settings if kind == text else {"path": text, **settings})
    if not isinstance(made, FaceProtocol) or made.gives != "pairs":
        raise InputError(f"{text}: expected a protocol with faces of its own and pairs of them, such as fw-lfw")
    return made


def _component(kind: str, name: str, settings: dict[str, Any]) -> Any:
    """A component by name with plain settings."""
    from pydantic import ValidationError

    from harness.errors import first_fault
    from harness.plugins import registry

    cls = registry().load(kind, name)
    try:
        return cls(cls.Settings.model_validate(settings))
    except ValidationError as error:
        raise InputError(f"{name}: {first_fault(error)}") from error


def _recognizer(out: Path, kind: str, terms: Terms, options: dict[str, Any]) -> WeightsInfo:
    from harness.components import Crop, Recognizer
    from harness.components.base import RAW
    from harness.faces.crops import crop_template
    from harness.foreign.recognizers import build_recognizer, import_recognizer
    from harness.plugins import registry

    _check(options, f"--as {kind}", needed=("file", "view"), refused=("unet", "encoder", "decoder", "recognizer"))
    cls = registry().load("recognizers", kind)
    if not issubclass(cls, Recognizer):
        raise InputError(f"--as {kind}: {cls.__name__} is not a recognizer")
    crop = Crop(options["view"], options["size_px"] or RECOGNIZER_PX, options["color"] or "rgb")
    if crop.view != RAW:
        crop_template(crop.view)
    recognizer = build_recognizer(kind, cls, _settings(options["values"]), crop)
    return import_recognizer(options["file"], out, kind, recognizer, terms, options["entry"])


def _model(out: Path, kind: str, terms: Terms, options: dict[str, Any]) -> WeightsInfo:
    _check(options, f"--as {kind}", needed=("unet", "encoder", "decoder"), refused=("file", "view", "color"))
    from harness.foreign.latent_diffusion import SIZE_PX, LatentFiles, import_latent_diffusion

    files = LatentFiles(options["unet"], options["encoder"], options["decoder"], options["entry"])
    size_px, cpd = options["size_px"] or SIZE_PX, _cpd(_settings(options["values"]))
    return import_latent_diffusion(files, out, terms, size_px, options["recognizer"], cpd=cpd)


def _cpd(settings: dict[str, Any]) -> float | None:
    """The one setting that a latent diffusion model takes."""
    cpd: float | None = settings.pop("cpd", None)
    if settings:
        raise InputError(f"--set {min(settings)}: --as {LATENT} takes cpd alone")
    if cpd is not None and (type(cpd) not in (int, float) or not 0 <= cpd < 1):
        raise InputError(f"--set cpd={cpd}: expected a number from 0 to below 1")
    return cpd


def _autoencoder(out: Path, kind: str, terms: Terms, options: dict[str, Any]) -> WeightsInfo:
    whole = options["file"] is not None
    halves = ("encoder", "decoder")
    others = ("unet", "view", "color", "values", "recognizer", "size_px")
    needed, refused = (("file",), (*halves, *others)) if whole else (halves, others)
    if not whole and not any(options[half] for half in halves):
        raise InputError(f"--as {kind} needs FILE, or --encoder and --decoder")
    _check(options, f"--as {kind}", needed, refused)
    from harness.foreign.vq_f4 import VQFiles, import_vq_f4

    paths = (options["file"], options["file"]) if whole else (options["encoder"], options["decoder"])
    return import_vq_f4(VQFiles(*paths, options["entry"]), out, terms)


def _check(options: dict[str, Any], who: str, needed: tuple[str, ...], refused: tuple[str, ...]) -> None:
    names = {"file": "FILE", "values": "--set", "size_px": "--size-px"}
    for name in needed:
        if not options[name]:
            raise InputError(f"{who} needs {names.get(name, f'--{name}')}")
    for name in refused:
        if options[name]:
            raise InputError(f"{who} takes no {names.get(name, f'--{name}')}")


def _settings(values: tuple[str, ...]) -> dict[str, Any]:
    from harness.suites.text import parse_yaml

    settings = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set {text}: expected key=value, such as depth=100")
        settings[key] = parse_yaml(value, f"--set {key}")
    return settings
