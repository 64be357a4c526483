"""A mixture in a real run: it trains on the faces of its parts, which are made once and not copied."""

import json
from pathlib import Path

import pytest
from suites import run_suite

from harness.faces.faceset import FaceSet
from harness.results import FILE_NAME, read_result, result_folder
from harness.stages.opening import open_faces
from harness.store.artifacts import Store


@pytest.mark.slow
def test_a_mixture_holds_the_faces_of_its_parts(tmp_path: Path) -> None:
    mixed = "rows.mixed={mix: [{row: toy, identities: 4}, {source: others, identities: 3}]}"
    run_suite(tmp_path, "--only", "mixed", "--set", mixed)
    result = read_result(result_folder(tmp_path, "tiny", "mixed", 0) / FILE_NAME)
    assert result.dataset is not None
    assert [(part.name, part.identities) for part in result.dataset.parts] == [("toy", 4), ("others", 3)]
    assert result.dataset.images == sum(part.images for part in result.dataset.parts)

    store = Store(tmp_path / "store")
    manifest = json.loads(next((tmp_path / "store").glob("mix/*/manifest.json")).read_text())
    union = open_faces(store.get("mix", manifest["key"]))
    parts = [open_faces(store.get(*id.split("/"))) for id in manifest["parents"].values()]
    assert len(set(union.identities.tolist())) == 7  # kept apart
    assert set(pictures(union)) <= set(pictures(parts[0])) | set(pictures(parts[1]))
    assert len(union) == result.dataset.images
    shards = list((union.folder / "shards").iterdir())
    assert all(shard.stat().st_nlink > 1 for shard in shards)


def pictures(faces: FaceSet) -> list[bytes]:
    return [image.tobytes() for image in faces.images()]
