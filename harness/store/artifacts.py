"""Artifacts: immutable folders ``store/KIND/KEY`` with a manifest, built aside and moved into place when whole."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import DataError

SCHEMA = 1
WORK = "work"  # folder of what only the building needs: checkpoints, the shards' item tables


class Manifest(BaseModel):
    """What an artifact is, what made it, and what it cost."""

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
    harness: str


@dataclass(frozen=True)
class Artifact:
    """A whole artifact: its folder and manifest."""

    folder: Path
    manifest: Manifest


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
            DataError: its manifest is damaged.
        """
        path = self.folder(kind, key) / "manifest.json"
        try:
            return Artifact(path.parent, Manifest.model_validate_json(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValidationError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: damaged manifest; delete {path.parent} and run again") from error

    def get(self, kind: str, key: str) -> Artifact:
        """The artifact, which must be there."""
        artifact = self.find(kind, key)
        if artifact is None:
            raise DataError(f"{self.folder(kind, key)}: artifact is missing; run the suite again")
        return artifact

    def building(self, kind: str, key: str) -> Path:
        """The folder in which the artifact is built; it keeps finished shards and checkpoints across kills."""
        folder = self.root / ".building" / f"{kind}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def lock(self, kind: str, key: str) -> FileLock:
        """The lock that whoever builds this artifact holds; the kernel frees it when the process dies."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{kind}-{key}.lock", thread_local=False)

    def commit(self, manifest: Manifest) -> Artifact:
        """Move what was built into place, in one step."""
        built = self.building(manifest.kind, manifest.key)
        (built / "manifest.json").write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        final = self.folder(manifest.kind, manifest.key)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():  # the remains of a copy that lost its manifest: never a whole artifact
            shutil.rmtree(final)
        built.replace(final)
        # Only now: killed before this line, the next run finds all it needs to finish again.
        shutil.rmtree(final / WORK, ignore_errors=True)
        return Artifact(final, manifest)


def now() -> float:
    """Seconds since 1970."""
    return time.time()
