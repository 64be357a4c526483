"""What a store holds, which results use it, whether it is whole, and what could go."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import DataError
from harness.results import Result, iterate_results
from harness.store.artifacts import BUILDING, DAMAGED, Artifact, Store, now

Id = tuple[str, str]  # kind and key
_DAY_S = 86_400.0


@dataclass
class Held:
    """One folder of a store.

    Attributes:
        place: kind and key, or the folder below ``.damaged`` or ``.building``.
        artifact: None where the folder is no whole artifact.
        bytes: of its files, as the manifest says; of a folder without one, as they are.
        finished: when it was made, or its folder last changed, in seconds since 1970.
        used_by: rows as ``SUITE/ROW`` whose results rest on it, also through other artifacts.
        fault: what is wrong with its manifest; empty if nothing is.
    """

    place: str
    folder: Path
    artifact: Artifact | None
    bytes: int
    finished: float
    fault: str = ""
    used_by: set[str] = field(default_factory=set)


def artifacts(workdir: Path) -> dict[Id, Held]:
    """All artifacts of a workdir's store, in order, each with the rows that rest on it.

    Raises:
        DataError: a result file is damaged, so that nobody knows what is needed.
    """
    store = Store(workdir / "store")
    folders = [folder for folder in sorted(store.root.glob("[!.]*/*")) if folder.is_dir()]
    held = {(folder.parent.name, folder.name): _look(store, folder.parent.name, folder.name) for folder in folders}
    for _, result in iterate_results(workdir):
        for id in rests_on(result, held):
            held[id].used_by.add(f"{result.suite}/{result.row}")
    return held


def rests_on(result: Result, held: dict[Id, Held]) -> set[Id]:
    """The artifacts that a result was made of, as far as they are held."""
    found: set[Id] = set()
    ahead = [(stage.kind, stage.key) for stage in result.stages]
    while ahead:
        id = ahead.pop()
        if id in found or id not in held:
            continue
        found.add(id)
        artifact = held[id].artifact
        for parent in artifact.manifest.parents.values() if artifact is not None else ():
            kind, _, key = parent.partition("/")
            ahead.append((kind, key))
    return found


def verify(held: Held, quick: bool) -> str:
    """In what an artifact differs from what was made; empty if it does not.

    Args:
        quick: compare names and sizes of its files, and do not read them.
    """
    return held.fault if held.artifact is None else held.artifact.fault(read=not quick)


def unused(workdir: Path, older_than_days: float) -> list[Held]:
    """What no result rests on: artifacts, damaged ones that were set aside, and remains of runs that were stopped.

    Args:
        older_than_days: only what was made, or last changed, so long ago.

    Raises:
        DataError: a result, or an artifact that one rests on, does not say any more what it was made of.
    """
    whole = artifacts(workdir).values()
    for held in whole:
        if held.used_by and held.fault:
            raise DataError(f"{held.folder}: {held.fault}; run its suite again first: it is not known what it needs")
    found = [held for held in whole if not held.used_by]
    for name in (DAMAGED, BUILDING):
        folders = sorted((workdir / "store" / name).glob("*"))
        found += [_loose(f"{name}/{folder.name}", folder) for folder in folders if folder.is_dir()]
    before = now() - older_than_days * _DAY_S
    return [held for held in found if held.finished <= before]


def delete(store: Store, held: Held) -> bool:
    """Delete a folder of the store; False while a run builds it."""
    kind, key = held.place.removeprefix(f"{BUILDING}/").replace("-", "/", 1).split("/", 1)
    lock = store.claim(kind, key)
    if lock is None:
        return False
    shutil.rmtree(held.folder)
    lock.release()
    return True


def _look(store: Store, kind: str, key: str) -> Held:
    place, folder = f"{kind}/{key}", store.folder(kind, key)
    try:
        artifact = store.find(kind, key)
    except DataError:
        return _loose(place, folder, "its manifest is damaged, or an earlier version's")
    if artifact is None:
        return _loose(place, folder, "has no manifest")
    manifest = artifact.manifest
    return Held(place, folder, artifact, sum(size for size, _ in manifest.files.values()), manifest.finished)


def _loose(place: str, folder: Path, fault: str = "") -> Held:
    """A folder that is no whole artifact."""
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    return Held(place, folder, None, size, folder.lstat().st_mtime, fault)
