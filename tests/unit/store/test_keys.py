"""Keys and contents."""

import pytest

from harness.store.keys import digest, stage_key
from harness.store.weights import WeightsInfo, load_tensors, read_info, weights_content, write_weights


def test_key_depends_on_values_and_not_on_order():
    assert stage_key(a=1, b={"x": 1, "y": 2}) == stage_key(b={"y": 2, "x": 1}, a=1)
    assert stage_key(a=1) != stage_key(a=2)
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))


def test_weights_round_trip_and_content(tmp_path):
    import torch

    info = WeightsInfo(role="model", kind="toy/1", settings={"width": 4})
    tensors = {"a": torch.arange(6.0).view(2, 3).half(), "b": torch.arange(3)}
    write_weights(tmp_path / "w.safetensors", tensors, info)
    assert read_info(tmp_path / "w.safetensors") == info
    loaded = load_tensors(tmp_path / "w.safetensors")
    assert loaded["a"].dtype == torch.float32
    assert torch.equal(loaded["a"], tensors["a"].float())
    assert loaded["b"].dtype == torch.int64
    write_weights(tmp_path / "again.safetensors", dict(reversed(tensors.items())), info)
    assert weights_content(tmp_path / "again.safetensors") == weights_content(tmp_path / "w.safetensors")
    tensors["a"][0, 0] = 1
    write_weights(tmp_path / "other.safetensors", tensors, info)
    assert weights_content(tmp_path / "other.safetensors") != weights_content(tmp_path / "w.safetensors")


@pytest.mark.parametrize("cut", [0, 4, 30, -1])
def test_damaged_weights_are_refused(tmp_path, cut):
    import torch

    from harness.errors import DataError

    path = tmp_path / "w.safetensors"
    write_weights(path, {"a": torch.ones(4)}, WeightsInfo(role="model", kind="toy/1", settings={}))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"w\.safetensors"):
        read_info(path) and weights_content(path)
