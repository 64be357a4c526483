"""Weights that a suite names: a file, or ``demo:NAME``, which an installed package holds."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.plugins import import_target, registry
from harness.store.weights import WeightsInfo, read_info, weights_content

DEMO = "demo:"


@dataclass(frozen=True)
class WeightsPlace:
    """Where weights come from.

    Attributes:
        path: a weights file.
        maker: import string of a function that writes one; then there is no path.
    """

    path: str = ""
    maker: str = ""

    def put(self, target: Path) -> None:
        """Have the weights file at ``target``."""
        if self.maker:
            import_target(self.maker)(target)
        else:
            shutil.copyfile(self.path, target)

    def describe(self) -> tuple[WeightsInfo, str]:
        """What the file says of itself, and its content.

        Raises:
            DataError: it is damaged, or what it is made of is missing.
        """
        if not self.maker:
            return read_info(Path(self.path)), weights_content(Path(self.path))
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "weights.safetensors"
            self.put(made)
            return read_info(made), weights_content(made)


def find_weights(text: str) -> WeightsPlace:
    """Where the weights lie that a suite names.

    Args:
        text: a path, or ``demo:NAME``.

    Raises:
        InputError: nobody ships weights of that name.
    """
    if not text.startswith(DEMO):
        return WeightsPlace(path=text)
    name = text.removeprefix(DEMO)
    target = registry().find("weights", name).target
    is_file = bool(Path(target.partition(":")[2]).suffix)  # a function's name has no dot
    return WeightsPlace(path=str(demo_path(name))) if is_file else WeightsPlace(maker=target)


def demo_path(name: str) -> Path:
    """Where the weights file lies that a distribution ships as ``demo:NAME``."""
    package, _, inner = registry().find("weights", name).target.partition(":")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"demo:{name}: its package {package} cannot be found; install it again")
    return Path(next(iter(spec.submodule_search_locations))) / inner
