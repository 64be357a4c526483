"""A stage killed while it finishes can finish again: nothing it needs is gone before the artifact is in place."""

import pytest

from harness.stages import run_phase
from harness.store.artifacts import Store
from harness.store.stage import StageSpec

SOURCE = StageSpec(
    kind="source",
    key="s",
    label="source",
    component="faceworld",
    target="harness.builtin.faceworld:FaceWorldSource",
    settings={"identities": 3, "per_identity": 2, "size_px": 32},
)
PROTOCOL = StageSpec(
    kind="protocol",
    key="p",
    label="protocol",
    component="fw-lfw",
    target="harness.builtin.faceworld:FwLfw",
    settings={"pairs": 20, "size_px": 32},
    options={"crop_px": 32},
)


@pytest.fixture(autouse=True)
def _arithmetic():
    """Give back what a worker sets for its whole process."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("spec", [SOURCE, PROTOCOL], ids=lambda spec: spec.kind)
def test_finishing_twice_gives_the_same(spec, tmp_path):
    def phase(name, index=0):
        return run_phase(spec, name, index, tmp_path, "cpu", emit=lambda *event: None, should_stop=lambda: False)

    for index in phase("prepare")["value"]["missing"]:
        phase("shard", index)
    first = phase("finish")["value"]
    assert phase("finish")["value"] == first
    assert (Store(tmp_path).building(spec.kind, spec.key) / "items.parquet").exists()
    assert phase("prepare")["value"]["missing"] == []
