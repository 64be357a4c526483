"""Artifacts: immutable folders ``store/KIND/KEY`` with a manifest, built aside and moved into place when whole.

What is read is what was written: a manifest seals itself and every file of its folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from harness import disk
from harness.errors import DataError
from harness.store.keys import digest

SCHEMA = 2
MANIFEST = "manifest.json"
WORK = "work"  # folder of what only the building needs: checkpoints, the shards' item tables
BUILDING, LOCKS, DAMAGED = ".building", ".locks", ".damaged"  # beside the kinds of artifacts


class Manifest(BaseModel):
    """What an artifact is, what made it, and what it cost.

    ``environment``: versions, processor and commit it was made with. ``files``: size in bytes and sha256 of every file
    by its path in the folder. ``seal``: digest of the manifest itself.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    kind: str
    key: str
    content: str
    component: str
    settings: dict[str, Any]
    seed: int
    parents: dict[str, str]
    options: dict[str, Any]
    details: dict[str, Any] = {}
    counts: dict[str, int] = {}
    curves: dict[str, list[tuple[int, float]]] = {}
    seconds: float
    device: str
    license: dict[str, str]
    created: float
    finished: float
    environment: dict[str, str] = {}
    files: dict[str, tuple[int, str]]
    seal: str = ""

    def sealed(self) -> str:
        """Digest of all that the manifest says but this."""
        return digest(self.model_dump(mode="json", exclude={"seal"}))


@dataclass(frozen=True)
class Artifact:
    """A whole artifact: its folder and manifest."""

    folder: Path
    manifest: Manifest

    def fault(self, read: bool = True) -> str:
        """In what it differs from what was made, file by file; empty if it does not.

        Args:
            read: compare the bytes of files as well, beside their names and sizes.
        """
        return disk.fault(self.folder, self.manifest.files, _unsealed(self.folder), read)


@dataclass
class Spent:
    """When a stage was first started, the seconds of its phases, and its curves as (step, value) by name."""

    since: float
    seconds: float
    curves: dict[str, list[tuple[int, float]]]


class Store:
    """The artifacts of one workdir.

    Args:
        root: the store's folder; made when first needed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, key: str) -> Path:
        """Where the artifact lies once it is whole."""
        return self.root / kind / key

    def find(self, kind: str, key: str) -> Artifact | None:
        """The artifact, or None when it is not (wholly) there.

        Raises:
            DataError: its manifest is damaged, or is that of another artifact.
        """
        path = self.folder(kind, key) / MANIFEST
        try:
            manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: damaged manifest; delete {path.parent} and run again") from error
        if (manifest.kind, manifest.key) != (kind, key) or manifest.seal != manifest.sealed():
            raise DataError(f"{path}: was changed, or belongs elsewhere; delete {path.parent} and run again")
        return Artifact(path.parent, manifest)

    def get(self, kind: str, key: str) -> Artifact:
        """The artifact, which must be there."""
        artifact = self.find(kind, key)
        if artifact is None:
            raise DataError(f"{self.folder(kind, key)}: artifact is missing; run the suite again")
        return artifact

    def set_aside(self, kind: str, key: str) -> Path:
        """Take a damaged artifact out of the way; where it lies now."""
        aside = self.root / DAMAGED
        aside.mkdir(parents=True, exist_ok=True)
        place = aside / f"{kind}-{key}-{time.time_ns()}"
        self.folder(kind, key).rename(place)
        return place

    def building(self, kind: str, key: str) -> Path:
        """The folder in which the artifact is built; it keeps finished shards and checkpoints across kills."""
        folder = self.root / BUILDING / f"{kind}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def claim(self, kind: str, key: str) -> FileLock | None:
        """The lock that whoever builds this artifact holds; None while another process does.

        The kernel frees it when its process dies.
        """
        folder = self.root / LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{kind}-{key}.lock", thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        self._holder(kind, key).write_text(str(os.getpid()), encoding="ascii")
        return lock

    def holder(self, kind: str, key: str) -> str:
        """The number of the process that holds the lock, for people; "?" where it is not known."""
        try:
            return self._holder(kind, key).read_text(encoding="ascii") or "?"
        except (OSError, UnicodeDecodeError):
            return "?"

    def _holder(self, kind: str, key: str) -> Path:
        return self.root / LOCKS / f"{kind}-{key}.pid"

    def worked_on(self, kind: str, key: str) -> float:
        """When anything in the folder of an artifact under construction was last written, seconds since 1970."""
        folder = self.root / BUILDING / f"{kind}-{key}"
        times = [0.0]
        for path in [folder, *folder.rglob("*")]:
            with contextlib.suppress(OSError):  # moved into place meanwhile
                times.append(path.stat().st_mtime)
        return max(times)

    def seal(self, kind: str, key: str) -> dict[str, tuple[int, str]]:
        """Flush what was built to the disk; its files with size and sha256, for the manifest."""
        built = self.building(kind, key)
        return disk.seal(built, _unsealed(built))

    def commit(self, manifest: Manifest) -> Artifact:
        """Move what was built into place, in one step."""
        built = self.building(manifest.kind, manifest.key)
        manifest.seal = manifest.sealed()
        disk.write_text(built / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
        final = self.folder(manifest.kind, manifest.key)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():  # the remains of a copy that lost its manifest: never a whole artifact
            shutil.rmtree(final)
        built.replace(final)
        disk.flush(final.parent)
        # Only now: killed before this line, the next run finds all it needs to finish again.
        shutil.rmtree(final / WORK, ignore_errors=True)
        return Artifact(final, manifest)


def _unsealed(folder: Path) -> Callable[[Path], bool]:
    """Tells the paths below an artifact's folder that have no part in its seal: manifest and work."""
    return lambda path: path.relative_to(folder).parts[0] in (MANIFEST, WORK)


def now() -> float:
    """Seconds since 1970."""
    return time.time()
