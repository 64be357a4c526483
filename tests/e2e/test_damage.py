"""What is read is what was written: damage is found, set aside, and built again, while other rows go on."""

import json
import os
import shutil
import subprocess

import pytest
from suites import TINY, command, contents, environment


@pytest.fixture
def workdir(tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny[0], copy)
    return copy


def run(workdir):
    call = command("run", str(TINY), "--workers", "2")
    return subprocess.run(call, env=environment(workdir), capture_output=True, text=True, timeout=1200, check=False)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def artifacts(workdir, kind, component=""):
    """The folders of a kind of artifact, in order of their keys; of one component's, if it is named."""
    found = sorted((workdir / "store" / kind).glob("*"))
    made = {artifact: json.loads((artifact / "manifest.json").read_text())["component"] for artifact in found}
    return [artifact for artifact in found if component in ("", made[artifact])]


def of_row(workdir, row, kind):
    """The folders of a row's artifacts of a kind."""
    result = json.loads((workdir / "results" / "tiny" / row / "seed-0" / "results.json").read_text())
    return [workdir / "store" / kind / stage["key"] for stage in result["stages"] if stage["kind"] == kind]


def weights(workdir):
    flip(of_row(workdir, "toy", "train")[0] / "weights.safetensors")


def report(workdir):
    path = of_row(workdir, "authentic", "evaluate")[0] / "report.json"
    path.write_text(path.read_text().replace('"value": 0.', '"value": 0.9', 1))


def manifest(workdir):
    (of_row(workdir, "authentic", "generate")[0] / "manifest.json").write_text("{")


def edited_manifest(workdir):
    path = of_row(workdir, "authentic", "align")[0] / "manifest.json"
    path.write_text(path.read_text().replace('"detected": ', '"detected": 1', 1))


def swapped(workdir):
    (a,), (b,) = (of_row(workdir, row, "generate") for row in ("idiffface", "negfacediff"))
    a.rename(a.with_name("aside"))
    b.rename(a)
    a.with_name("aside").rename(b)


def shard(workdir):
    (a,), (b,) = (of_row(workdir, row, "align") for row in ("idiffface", "negfacediff"))
    shutil.copy(a / "shards" / "00000.parquet", b / "shards" / "00000.parquet")


def symlink(workdir):
    path = of_row(workdir, "idiffface", "train")[0] / "weights.safetensors"
    path.rename(workdir / "elsewhere.safetensors")
    path.symlink_to(workdir / "elsewhere.safetensors")


def test_damage_is_found_and_mended(tiny, workdir):
    """All kinds at once, each on an artifact of its own."""
    made = contents(tiny[0])
    before = {path: path.read_bytes() for path in sorted((workdir / "results").glob("**/results.json"))}
    kinds = (weights, report, manifest, edited_manifest, swapped, shard, symlink)
    for damage in kinds:
        damage(workdir)
    done = run(workdir)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [line for line in done.stderr.splitlines() if "set aside as" in line]
    assert all(line.endswith("and built again") for line in told)
    causes = (
        "weights.safetensors: other bytes",
        "report.json: ",
        "manifest is damaged",
        "00000.parquet: ",
        "no regular",
    )
    assert all(any(cause in line for line in told) for cause in causes)
    assert len(told) == len(list((workdir / "store" / ".damaged").iterdir())) == len(kinds) + 1  # two were swapped
    assert contents(workdir) == made
    for path, data in before.items():
        assert json.loads(path.read_bytes())["metrics"] == json.loads(data)["metrics"]


def test_the_plan_says_what_is_damaged(workdir):
    manifest(workdir)
    done = subprocess.run(
        command("plan", str(TINY)), env=environment(workdir), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert sum(line.startswith("  damaged  generate") for line in done.stdout.splitlines()) == 1


def test_damage_under_construction_is_built_over(workdir, tiny):
    """Half-written remains of a killed run: a plan, a shard and a checkpoint that cannot be read."""
    (row,) = artifacts(workdir, "generate", "toy")
    (training,) = of_row(workdir, "authentic", "train")
    drawn = ["plan.parquet", "pool.parquet", "shards/00000.parquet", "work/items/00000.parquet"]
    for artifact, remains in ((row, drawn), (training, ["work/checkpoint.safetensors"])):
        building = workdir / "store" / ".building" / f"{artifact.parent.name}-{artifact.name}"
        shutil.rmtree(artifact)
        for name in remains:
            (building / name).parent.mkdir(parents=True, exist_ok=True)
            (building / name).write_bytes(b"PAR1 half of it" + os.urandom(100))
    done = run(workdir)
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(workdir) == contents(tiny[0])
