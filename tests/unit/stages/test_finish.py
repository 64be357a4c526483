"""A stage killed while it finishes can finish again: nothing it needs is gone before the artifact is in place."""

import pytest

from harness.graph import ProtocolStage, SourceStage
from harness.stages.phases import run_phase
from harness.store.artifacts import Store

SOURCE = SourceStage(
    key="s",
    label="source",
    component="faceworld",
    target="harness.builtin.faceworld:FaceWorldSource",
    settings={"identities": 3, "per_identity": 2, "size_px": 32},
)
PROTOCOL = ProtocolStage(
    key="p",
    label="protocol",
    component="fw-lfw",
    target="harness.builtin.faceworld:FwLfw",
    settings={"pairs": 20, "size_px": 32},
    crop_px=32,
)


@pytest.fixture(autouse=True)
def _arithmetic():
    """Give back what a worker sets for its whole process."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("stage", [SOURCE, PROTOCOL], ids=lambda stage: stage.kind)
def test_finishing_twice_gives_the_same(stage, tmp_path):
    def phase(name, index=0):
        return run_phase(stage, name, index, tmp_path, "cpu", emit=lambda *event: None, should_stop=lambda: False)

    for index in phase("prepare")["value"]["missing"]:
        phase("shard", index)
    first = phase("finish")["value"]
    assert phase("finish")["value"] == first
    assert (Store(tmp_path).building(*stage.id) / "items.parquet").exists()
    assert phase("prepare")["value"]["missing"] == []
