"""A row with all its evidence as one file: results, and the artifacts they rest on; for moving it to another machine.

A parcel is a plain tar of regular files: ``results/SUITE/...`` and ``store/KIND/KEY/...`` as they lie in a
workdir. What comes out of one is checked against its seals before it gets its place.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from harness import disk
from harness.errors import DataError, InputError
from harness.results import FILE_NAME, SUITE_FILE, iterate_results, read_result
from harness.store.artifacts import Store
from harness.store.upkeep import artifacts, rests_on


def pack(workdir: Path, suite: str, row: str, file: Path) -> int:
    """Write a row, all seeds, with everything of the store that it rests on; how many artifacts.

    Raises:
        InputError: there is no result of that row.
        DataError: an artifact is damaged; nothing is written.
    """
    found = [(folder, result) for folder, result in iterate_results(workdir, suite) if result.row == row]
    if not found:
        raise InputError(f"{suite}/{row}: no result of this row in {workdir}")
    held = artifacts(workdir)
    needed = sorted({id for _, result in found for id in rests_on(result, held)})
    for id in needed:
        artifact = held[id].artifact
        fault = held[id].fault if artifact is None else artifact.fault()
        if fault:
            raise DataError(f"{held[id].place}: {fault}; run the suite again, and it is built anew")
    folders = [folder for folder, _ in found] + [held[id].folder for id in needed]
    partial = file.with_name(f".{file.name}.partial")
    with tarfile.open(partial, "w") as parcel:
        parcel.add(workdir / "results" / suite / SUITE_FILE, f"results/{suite}/{SUITE_FILE}")
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    parcel.add(path, path.relative_to(workdir).as_posix())
    disk.flush(partial)
    partial.replace(file)
    return len(needed)


def unpack(file: Path, workdir: Path) -> tuple[list[str], list[str]]:
    """Put a parcel's rows and artifacts into a workdir; the places that are new, and those that were there already.

    Raises:
        DataError: it is no parcel, it holds something that has no place in one, or an artifact is not what was made.
            Then nothing of it is in the workdir.
        InputError: a result of that name is there and is another one.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workdir, prefix=".parcel-") as temporary:
        inside = Path(temporary)
        _extract(file, inside)
        for folder in sorted(inside.glob("store/*/*")):
            artifact = Store(inside / "store").get(folder.parent.name, folder.name)
            if fault := artifact.fault():
                raise DataError(f"{file}: store/{folder.parent.name}/{folder.name}: {fault}")
        results = sorted(path.parent for path in inside.glob(f"results/*/*/seed-*/{FILE_NAME}"))
        for folder in results:
            there = workdir / folder.relative_to(inside) / FILE_NAME
            if there.exists() and read_result(there) != read_result(folder / FILE_NAME):
                raise InputError(f"{there}: is another result of this row; take another --workdir")
        suites = sorted(inside.glob(f"results/*/{SUITE_FILE}"))
        new: list[str] = []
        old: list[str] = []
        for path in [*sorted(inside.glob("store/*/*")), *results, *suites]:
            (new if _place(path, workdir / path.relative_to(inside)) else old).append(
                path.relative_to(inside).as_posix()
            )
    return new, old


def _place(path: Path, final: Path) -> bool:
    """Move a file or folder into the workdir, durably; False if it is there already."""
    if final.exists():
        return False
    final.parent.mkdir(parents=True, exist_ok=True)
    for inner in [path, *path.rglob("*")]:
        disk.flush(inner)
    path.replace(final)
    disk.flush(final.parent)
    return True


def _extract(file: Path, folder: Path) -> None:
    """Write the files of a parcel below a folder, and refuse what is no regular file with a name of a workdir's."""
    try:
        with tarfile.open(file, "r:") as parcel:
            for member in parcel:
                name = PurePosixPath(member.name)
                depth = {"store": 4, "results": 3}.get(name.parts[0] if name.parts else "", 0)
                if not member.isfile() or not depth or len(name.parts) < depth or _strays(name):
                    raise DataError(f"{file}: {member.name!r} has no place in a parcel")
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                source = parcel.extractfile(member)
                assert source is not None  # a regular file has one
                with source, path.open("xb") as target:
                    shutil.copyfileobj(source, target)
    except (tarfile.TarError, EOFError, FileExistsError) as error:
        raise DataError(f"{file}: is no whole parcel ({error})") from error


def _strays(name: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)  # also "." and ".."
    return name.is_absolute() or hidden
