"""Copies the weights that `fit.yaml` made into the packages that ship them.

harness run benchmarks/quickstart/fit.yaml --until fit
python benchmarks/quickstart/export.py [WORKDIR]
"""

import shutil
import sys
from pathlib import Path

from harness.graph import Stage
from harness.planning.planner import plan_suite
from harness.store.artifacts import Store
from harness.store.shipped import demo_path
from harness.suites.read import load_suite

SUITE = Path(__file__).parent / "fit.yaml"


def main(workdir: Path) -> None:
    """Find each recognizer and model of the suite in the store and copy its file."""
    plan = plan_suite(load_suite(SUITE), SUITE)
    store = Store(workdir / "store")
    for stage in plan.stages.values():
        name = demo_name(stage)
        if name:
            origin = store.get(*stage.id).folder / "weights.safetensors"
            target = demo_path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin, target)
            print(f"demo:{name}  {target.stat().st_size / 1e6:.1f} MB  {target}")


def demo_name(stage: Stage) -> str:
    """The shipped name of a stage's weights: the last word of its label; empty for other stages."""
    kind, _, name = stage.label.partition(" ")
    return name if kind in ("recognizer", "model") and stage.kind in ("train", "fit") else ""


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
