"""Do heads turn the way they are asked to? Asked and measured poses of a study's rows, as markdown.

    python benchmarks/studies/id3-ablations/pose.py [WORKDIR]

The pose is measured by `landmark-pose` from the landmarks that the aligner found, so by geometry and not by a network
that any row was fitted with. It needs the datasets, which stay in the workdir of the runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from harness_id3.pose import LandmarkPose, estimate_pose

from harness.reading import formats
from harness.results import FILE_NAME, read_result, result_folder
from harness.stages.opening import open_faces
from harness.store.artifacts import Store
from harness.suites.read import load_suite

STUDY = Path(__file__).parent
ANGLES = LandmarkPose.gives


def main(workdir: Path) -> None:
    """Print one table: a row per row of the study, mean over its seeds."""
    store, table = Store(workdir / "store"), []
    for path in sorted(STUDY.glob("*.yaml")):
        suite = load_suite(path)
        for row in suite.rows:
            seeds = [faces_pose(store, suite.name, row, seed) for seed in suite.seeds]
            means = np.array(seeds).mean(axis=0)
            table.append([f"{suite.name}/{row}", *("-" if np.isnan(x) else f"{x:.2f}" for x in means)])
    heads = [f"{what} {angle}" for what in ("correlation,", "spread of") for angle in ANGLES]
    print(formats.pipes(["row", *heads], table))


def faces_pose(store: Store, suite: str, row: str, seed: int) -> list[float]:
    """Correlation of each measured angle with the one asked for (NaN where none was), and its spread in degrees."""
    result = read_result(result_folder(STUDY, suite, row, seed) / FILE_NAME)
    (aligned,) = (stage for stage in result.stages if stage.kind == "align")
    faces = open_faces(store.get("align", aligned.key))
    assert faces.landmarks is not None
    measured, asked = estimate_pose(faces.landmarks).T, faces.attributes
    correlations = [np.corrcoef(seen, asked[name])[0, 1] for name, seen in zip(ANGLES, measured, strict=True)]
    return [*map(float, correlations), *measured.std(axis=1).tolist()]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
