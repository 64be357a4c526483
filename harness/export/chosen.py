"""What is exported: an artifact of the store, named by its folder or by the row that made it, and what it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.errors import DataError, InputError
from harness.reading.comparison import find_row
from harness.reading.leaderboard import Board, build
from harness.results import Result, iterate_results, strictest
from harness.store.artifacts import MANIFEST, Artifact, Manifest, Store

FACES = ("align", "generate")  # kinds of stages, what a recognizer was trained on first
MODEL = ("train", "weights")
GIVEN = ("authentic", "images")  # generators whose pictures are those of a source, drawn by nobody here


@dataclass(frozen=True)
class Chosen:
    """An artifact to export.

    Attributes:
        results: those of the workdir that can be read.
        row: ``(suite, row, seed)`` where it was chosen by a row.
    """

    artifact: Artifact
    store: Store
    results: tuple[Result, ...]
    row: tuple[str, str, int] | None = None

    @cached_property
    def lineage(self) -> dict[str, Manifest | None]:
        """By kind/key, the artifact and all it was made from, nearest first; None where the store has it no more."""
        found: dict[str, Manifest | None] = {}
        ahead = [f"{self.artifact.manifest.kind}/{self.artifact.manifest.key}"]
        for id in ahead:
            if id not in found:
                found[id] = _manifest(self.store, id)
                manifest = found[id]
                ahead += manifest.parents.values() if manifest is not None else []
        return found

    @cached_property
    def board(self) -> Board:
        """The rows of the workdir; without ranks, which no card shows."""
        return build(self.results)

    @property
    def rests(self) -> list[Result]:
        """The results that it is a stage of; of the row it was chosen by alone, where it was."""
        made = self.artifact.manifest
        return [
            result
            for result in self.results
            if self.row in (None, (result.suite, result.row, result.seed))
            and any((stage.kind, stage.key) == (made.kind, made.key) for stage in result.stages)
        ]

    @property
    def commercial_use(self) -> str:
        """The strictest of all that it was made from; unknown where a part is no more there to ask."""
        made = self.lineage.values()
        return strictest("unknown" if each is None else each.license.get("commercial_use", "unknown") for each in made)


def choose(workdir: Path, name: str, seed: int | None, kinds: tuple[str, ...]) -> Chosen:
    """The artifact that a name means, every byte of it compared with its seal.

    Args:
        name: its folder in a store, or ``SUITE/ROW`` (``ROW`` where one suite has it).
        seed: of the row; default: its first.
        kinds: kinds of stages of a row that will do, the first that it has.

    Raises:
        InputError: there is none.
        DataError: it is damaged.
    """
    chosen = _by_folder(Path(name), seed) if (Path(name) / MANIFEST).is_file() else _by_row(workdir, name, seed, kinds)
    if fault := chosen.artifact.fault():
        raise DataError(f"{chosen.artifact.folder}: {fault}; run its suite again, and it is built anew")
    return chosen


def _by_folder(folder: Path, seed: int | None) -> Chosen:
    if seed is not None:
        raise InputError(f"--seed {seed}: goes with SUITE/ROW, and {folder} is a folder of the store")
    folder = folder.resolve()
    store = Store(folder.parent.parent)
    return Chosen(store.get(folder.parent.name, folder.name), store, _results(store.root.parent))


def _by_row(workdir: Path, name: str, seed: int | None, kinds: tuple[str, ...]) -> Chosen:
    results = _results(workdir)
    if not results:
        raise InputError(f"{name}: no folder of a store, and there are no results in {workdir}; give --workdir")
    row = find_row(build(results).rows, name)
    own = {result.seed: result for result in results if (result.suite, result.row) == (row.suite, row.name)}
    wanted = min(own) if seed is None else seed
    if wanted not in own:
        raise InputError(f"--seed {seed}: {row.suite}/{row.name} has the seeds {', '.join(map(str, sorted(own)))}")
    stages = [stage for kind in kinds for stage in own[wanted].stages if stage.kind == kind]
    if not stages:
        raise InputError(f"{row.suite}/{row.name}: seed {wanted} has no stage of kind {' or '.join(kinds)}")
    store = Store(workdir / "store")
    return Chosen(store.get(stages[0].kind, stages[0].key), store, results, (row.suite, row.name, wanted))


def _results(workdir: Path) -> tuple[Result, ...]:
    """Those that can be read: a card can do without the others."""
    return tuple(result for _, result in iterate_results(workdir, on_damaged=lambda path, error: None))


def _manifest(store: Store, id: str) -> Manifest | None:
    kind, _, key = id.partition("/")
    try:
        found = store.find(kind, key)
    except DataError:
        return None
    return None if found is None else found.manifest


def generators(chosen: Chosen) -> Iterator[Manifest]:
    """What drew pictures on the way to it."""
    for made in chosen.lineage.values():
        if made is not None and made.kind == "generate" and made.component not in GIVEN:
            yield made
