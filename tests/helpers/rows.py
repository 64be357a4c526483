"""Result files for tests: rows with decisions, scores and pictures, as a run leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from harness.results import Dataset, Environment, MetricRecord, Result, StageRecord, result_folder, write_result

PAIRS, PEOPLE = 400, 60
ACCURACY: dict[str, Any] = {"unit": "fraction", "better": "higher", "headline": True, "ranked": True}
ACCURACY |= {"average": "average/accuracy", "margin": 0.02, "interval_over": "identities", "method": "bootstrap"}
FDR: dict[str, Any] = {"title": "FDR", "better": "higher", "headline": True, "relative": True, "margin": 0.1}


def pairs() -> dict[str, np.ndarray]:
    """The pairs of every benchmark, the same each time."""
    rng = np.random.default_rng(5)
    same = np.arange(PAIRS) % 2 == 0
    first = rng.integers(0, PEOPLE, PAIRS)
    second = np.where(same, first, (first + rng.integers(1, PEOPLE, PAIRS)) % PEOPLE)
    place = np.arange(PAIRS)
    known = {"identity_a": first, "identity_b": second, "same": same}
    return {"a": 2 * place, "b": 2 * place + 1, **known, "fold": place * 10 // PAIRS}


def scored(accuracy: float, *seed: int) -> dict[str, np.ndarray]:
    """The pairs with made scores and decisions."""
    rng, table = np.random.default_rng(seed), pairs()
    score = np.where(table["same"], 0.5, 0.0) + rng.normal(0, 0.2, PAIRS)
    return {**table, "score": score, "correct": rng.random(PAIRS) < accuracy}


def put(workdir: Path, row: str, seed: int, accuracy: float, folder: str = "", **more: Any) -> Result:
    """Write a result with two benchmarks, an FDR and a sample sheet; ``folder`` where the row's name cannot be one."""
    suite = more.get("suite", "demo")
    place = result_folder(workdir, "demo" if folder else suite, folder or row, seed)
    (place / "tables").mkdir(parents=True)
    (place / "figures").mkdir()
    records = []
    for index, name in enumerate(("fw-lfw", "fw-cfp")):
        table = scored(accuracy, seed, index, sum(map(ord, row)))
        pq.write_table(pa.table(table), place / "tables" / f"{name}-pairs.parquet")
        value = float(table["correct"].mean())
        common = {"n": PAIRS, "protocol": f"sha256:{name}"}
        said = {"title": name, "pairs": f"{name}-pairs", "interval": (value - 0.02, value + 0.02), **ACCURACY}
        records.append(MetricRecord(name=f"{name}/accuracy", value=value, **common, **said))
        far = {"unit": "fraction", "better": "higher", "ranked": True}
        records.append(MetricRecord(name=f"{name}/tar_at_far_1e-2", value=0.4, **common, **far))
    fdr = 2 * accuracy + 0.01 * seed
    records.append(MetricRecord(name="separability/fdr", value=fdr, n=9, protocol="sha256:judge", **FDR))
    colors = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(colors).resize((240, 160)).save(place / "figures" / "samples.png")
    given: dict[str, Any] = {
        "suite": "demo",
        "row": row,
        "generator": "made",
        "seed": seed,
        "status": "done",
        "recipe": "sha256:recipe",
        "commercial_use": "no",
        "dataset": Dataset(identities=12, per_identity=4, images=48),
        "parameters": {"settings.w": 0.5},
        "metrics": records,
        "stages": [
            StageRecord(kind="generate", key="k1", content="c", component="made", license="MIT", seconds=24, images=48),
            StageRecord(kind="train", key="k2", content="c", component="margin", license="Apache-2.0", seconds=60),
        ],
        "curves": {"train/loss": [(step, 9.0 / (1 + step)) for step in range(20)]},
        "figures": ["figures/samples.png"],
        "tables": ["tables/fw-lfw-pairs.parquet", "tables/fw-cfp-pairs.parquet"],
        "started": 1_795_000_000.0,
        "finished": 1_795_000_100.0 + seed,
        "environment": Environment(harness="0.1.0"),
    }
    result = Result(**(given | more))
    write_result(place, result)
    return result
