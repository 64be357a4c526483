"""A store that is looked after: what is used, what is whole, what can go; and rows that move in one file."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.engine import Engine
from harness.planning.planner import plan_suite
from harness.results import iterate_results
from harness.store.artifacts import Store
from harness.store.upkeep import artifacts, unused, verify
from harness.suites.read import load_suite

SUITE = """
name: kept
crop_px: 32
dataset: {identities: 3, per_identity: 2}
aligner: none
trainer: {use: margin, recipe: tiny}
rows: {toy: {use: toy}, other: {use: toy, settings: {spread: 0.5}}}
evaluate: [{use: separability, source: world}]
sources: {world: {use: faceworld, identities: 4, per_identity: 2, size_px: 32}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    path = folder / "suite.yaml"
    path.write_text(SUITE, encoding="utf-8")
    results = Engine(plan_suite(load_suite(path), path), folder / "runs", 2, "cpu").run()
    assert [result.error for result in results] == ["", ""]
    return folder / "runs"


@pytest.fixture
def workdir(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def harness(*args: str | Path, status: int = 0) -> str:
    done = CliRunner().invoke(main, [str(arg) for arg in args])
    assert done.exit_code == status, done.output
    return done.output


def row(workdir: Path, name: str, kind: str) -> Path:
    (stages,) = (result.stages for _, result in iterate_results(workdir) if result.row == name)
    (key,) = (stage.key for stage in stages if stage.kind == kind)
    return workdir / "store" / kind / key


def test_everything_is_used_and_by_whom(workdir: Path) -> None:
    held = artifacts(workdir)
    assert held.keys() == {(p.parent.name, p.name) for p in (workdir / "store").glob("[!.]*/*")}
    assert [one.used_by for (kind, _), one in held.items() if kind == "source"] == [{"kept/toy", "kept/other"}]
    assert held["generate", row(workdir, "toy", "generate").name].used_by == {"kept/toy"}
    said = harness("store", "ls", "--workdir", workdir)
    assert f"{len(held)} artifacts" in said
    assert said.count("kept/other, kept/toy") == sum(len(one.used_by) == 2 for one in held.values())


@pytest.mark.parametrize("quick", [False, True])
def test_damage_is_found(workdir: Path, quick: bool) -> None:
    assert not any(verify(held, quick) for held in artifacts(workdir).values())
    shard = next((row(workdir, "toy", "align") / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    (row(workdir, "other", "train") / "weights.safetensors").unlink()
    faults = {held.place.split("/")[0]: fault for held in artifacts(workdir).values() if (fault := verify(held, quick))}
    assert faults.keys() == ({"train"} if quick else {"align", "train"})  # the sizes are as they were
    harness("store", "verify", *(["--quick"] if quick else []), "--workdir", workdir, status=1)


def test_what_no_result_rests_on_can_go(workdir: Path) -> None:
    before = artifacts(workdir)
    assert {held.place.split("/")[0] for held in unused(workdir, 0.0)} == {"decoded"}  # made again when it is needed
    shutil.rmtree(workdir / "results" / "kept" / "toy")
    said = harness("store", "gc", "--older-than", "0", "--workdir", workdir)
    assert "to free" in said
    assert artifacts(workdir).keys() == before.keys(), "nothing goes without --delete"
    harness("store", "gc", "--delete", "--workdir", workdir)
    assert artifacts(workdir).keys() == before.keys(), "what is younger than 30 days stays"
    harness("store", "gc", "--older-than", "0", "--delete", "--workdir", workdir)
    left = artifacts(workdir)
    assert left.keys() == {id for id, held in before.items() if "kept/other" in held.used_by}
    assert not any(verify(held, quick=False) for held in left.values())


def test_what_is_being_built_stays(workdir: Path) -> None:
    store = Store(workdir / "store")
    building = store.building("fit", "abc")
    lock = store.claim("fit", "abc")
    assert lock is not None
    assert "is being built; kept" in harness("store", "gc", "--older-than", "0", "--delete", "--workdir", workdir)
    assert building.exists()
    lock.release()
    harness("store", "gc", "--older-than", "0", "--delete", "--workdir", workdir)
    assert not building.exists()


def test_nothing_goes_while_it_is_not_known_what_is_needed(workdir: Path) -> None:
    before = artifacts(workdir).keys()
    manifest = row(workdir, "toy", "generate") / "manifest.json"
    manifest.write_text("{", encoding="utf-8")
    assert "it is not known what it needs" in harness("store", "gc", "--delete", "--workdir", workdir, status=1)
    (workdir / "results" / "kept" / "toy" / "seed-0" / "results.json").write_text("{", encoding="utf-8")
    harness("store", "gc", "--delete", "--workdir", workdir, status=1)
    assert artifacts_on_disk(workdir) == before


def artifacts_on_disk(workdir: Path) -> set[tuple[str, str]]:
    return {(path.parent.name, path.name) for path in (workdir / "store").glob("[!.]*/*")}


def test_a_row_moves_with_all_its_evidence(workdir: Path, tmp_path: Path) -> None:
    parcel, there = tmp_path / "toy.tar", tmp_path / "there"
    harness("store", "export", "kept/toy", parcel, "--workdir", workdir)
    harness("store", "import", parcel, "--workdir", there)
    mine = {id: held for id, held in artifacts(workdir).items() if "kept/toy" in held.used_by}
    assert artifacts(there).keys() == mine.keys()
    assert not any(verify(held, quick=False) for held in artifacts(there).values())
    assert [result for _, result in iterate_results(there)] == [
        result for _, result in iterate_results(workdir) if result.row == "toy"
    ]
    assert "toy" in harness("leaderboard", "--workdir", there)
    assert harness("store", "import", parcel, "--workdir", there).startswith("0 new")
    suite = there / "results" / "kept" / "suite.yaml"
    again = Engine(plan_suite(load_suite(suite), suite), there, 2, "cpu", only=("toy",))
    again.run()
    assert all(cached for _, cached in again.finished.values()), "nothing is built again"


def test_another_result_of_the_same_name_is_not_written_over(workdir: Path, tmp_path: Path) -> None:
    parcel = tmp_path / "toy.tar"
    harness("store", "export", "kept/toy", parcel, "--workdir", workdir)
    path = workdir / "results" / "kept" / "toy" / "seed-0" / "results.json"
    changed = json.loads(path.read_text(encoding="utf-8")) | {"warnings": ["mine"]}
    path.write_text(json.dumps(changed), encoding="utf-8")
    assert "is another result" in harness("store", "import", parcel, "--workdir", workdir, status=2)
    assert json.loads(path.read_text(encoding="utf-8")) == changed


def test_damage_is_neither_sent_nor_taken(workdir: Path, tmp_path: Path) -> None:
    parcel, bent = tmp_path / "toy.tar", tmp_path / "bent.tar"
    harness("store", "export", "kept/toy", parcel, "--workdir", workdir)
    with tarfile.open(parcel) as whole, tarfile.open(bent, "w") as target:
        for member in whole:
            source = whole.extractfile(member)
            assert source is not None
            data = source.read()
            if member.name.endswith("weights.safetensors"):
                data = data[:-1] + bytes([data[-1] ^ 1])
            target.addfile(member, io.BytesIO(data))
    there = tmp_path / "there"
    assert "other bytes than were written" in harness("store", "import", bent, "--workdir", there, status=1)
    assert list(there.iterdir()) == []
    (row(workdir, "toy", "train") / "weights.safetensors").write_bytes(b"")
    harness("store", "export", "kept/toy", tmp_path / "again.tar", "--workdir", workdir, status=1)
    assert not (tmp_path / "again.tar").exists()


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "member",
    [
        _member("../outside"),
        _member("store/train/../../../outside"),
        _member("/tmp/outside"),
        _member("store/.locks/key/file"),
        _member("store/train/key/link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("store/train/key/link", tarfile.LNKTYPE, "/etc/passwd"),
        _member("store/train/key/pipe", tarfile.FIFOTYPE),
        _member("elsewhere/file"),
        _member("store/file"),
    ],
    ids=lambda member: member.name,
)
def test_what_has_no_place_in_a_parcel_is_refused(member: tarfile.TarInfo, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as parcel:
        parcel.addfile(member)
    said = harness("store", "import", tmp_path / "bad.tar", "--workdir", tmp_path / "there", status=1)
    assert "has no place in a parcel" in said
    assert list((tmp_path / "there").iterdir()) == []


def test_half_a_parcel_is_refused(workdir: Path, tmp_path: Path) -> None:
    parcel = tmp_path / "toy.tar"
    harness("store", "export", "kept/toy", parcel, "--workdir", workdir)
    parcel.write_bytes(parcel.read_bytes()[:100_000])
    there = tmp_path / "there"
    harness("store", "import", parcel, "--workdir", there, status=1)
    assert list(there.iterdir()) == []
