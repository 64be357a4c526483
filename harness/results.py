"""The result file: one per suite, row and seed. The leaderboard and MLflow are views of such files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness import disk
from harness.components.base import CommercialUse
from harness.components.metric import Better, Unit
from harness.errors import DataError

SCHEMA = 2  # files of schema 1, whose metrics do not describe themselves, are read too
FILE_NAME = "results.json"
CHOSEN = "chosen on the test benchmarks"  # what a result's ``chosen_on`` means, as boards and MLflow say it
REPORT_FILE = "report.html"  # the page made of them
SUITE_FILE = "suite.yaml"  # the resolved suite, beside the folders of its rows


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricRecord(_Record):
    """One number with its uncertainty, the digest of what it was measured on, and how it is to be read.

    The fields from ``title`` on are those of :class:`harness.components.Metric`.
    """

    name: str
    value: float
    n: int
    protocol: str = Field(description="digest of the protocol or of the judging rule")
    interval: tuple[float, float] | None = None
    interval_over: str = ""
    method: str = ""
    std_folds: float | None = None
    note: str = ""
    title: str = ""
    unit: Unit = "plain"
    better: Better = "neither"
    headline: bool = False
    ranked: bool = False
    average: str = ""
    relative: bool = False
    margin: float | None = None
    pairs: str = ""


class StageRecord(_Record):
    """What one stage of the row made, and what it cost."""

    kind: str
    key: str
    content: str
    component: str = ""
    license: str = Field(default="", description="name of the terms of what it made")
    cached: bool = False
    seconds: float = Field(description="wall seconds of the work itself, summed over workers; kept when cached")
    gpu_hours: float = 0.0
    images: int = 0
    rejected: int = 0


class Environment(_Record):
    """What the row was made with, as its artifacts noted it; where they differ, a warning says so."""

    harness: str
    plugins: dict[str, str] = {}
    torch: str = ""
    numpy: str = ""
    python: str = ""
    processor: str = ""
    device: str = "cpu"
    commit: str = ""


class DatasetPart(_Record):
    """What a mixture holds of one row or source."""

    name: str
    identities: int
    images: int


class Dataset(_Record):
    """Size of the training set after alignment, and how the contexts were drawn.

    ``per_identity`` is 0 where identities have different numbers of images; ``parts`` is empty where all are one row's.
    """

    identities: int
    per_identity: int
    images: int
    contexts: str = ""
    parts: list[DatasetPart] = []

    @property
    def size(self) -> str:
        """In words."""
        of_each = f" x {self.per_identity} images" if self.per_identity else f", {self.images} images"
        return f"{self.identities} identities{of_each}"


class Result(_Record):
    """Everything one row gave with one seed.

    ``figures`` and ``tables`` are file names beside the result file; ``curves`` hold (step, value) points such as the
    training loss; ``artifacts`` are further files of interest (the suite file).
    """

    schema_: Literal[1, 2] = Field(default=2, alias="schema")
    suite: str
    row: str
    generator: str
    seed: int
    status: Literal["done", "failed"]
    error: str = ""
    warnings: list[str] = Field(default=[], description="gates that the dataset did not pass and that only warn")
    shipped: list[str] = Field(default=[], description="weights that came with a distribution instead of being fitted")
    generator_fits: int = Field(default=1, description="how many models of the generator lie under the replicates")
    chosen_on: list[str] = Field(
        default=[], description="protocols that chose the epoch: chosen on the test benchmarks"
    )
    commercial_use: CommercialUse = "unknown"
    recipe: str = ""
    method: str = Field(default="", description="digest of all that made the row's recognizer but the seed")
    dataset: Dataset | None = None
    parameters: dict[str, Any] = Field(default={}, description="resolved settings of the row, flat, for display")
    metrics: list[MetricRecord] = []
    stages: list[StageRecord] = []
    curves: dict[str, list[tuple[int, float]]] = {}
    figures: list[str] = []
    tables: list[str] = []
    started: float = Field(description="seconds since 1970 at the first start of the row's first stage")
    finished: float = Field(description="seconds since 1970 when the row was first complete")
    environment: Environment

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def metric(self, name: str) -> MetricRecord | None:
        """The metric of that name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)


def strictest(uses: Iterable[str]) -> CommercialUse:
    """What may be done commercially with something made of parts: of their terms the strictest; of none, unknown."""
    found = set(uses)
    order: tuple[CommercialUse, ...] = ("no", "unknown", "yes")
    return next((use for use in order if use in found), "unknown")


def result_folder(workdir: Path, suite: str, row: str, seed: int) -> Path:
    """Where a row's result file, figures and tables lie."""
    return workdir / "results" / suite / row / f"seed-{seed}"


def write_result(folder: Path, result: Result) -> Path:
    """Write the result file, durably and in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    disk.write_text(folder / FILE_NAME, result.model_dump_json(indent=1, by_alias=True) + "\n")
    return folder / FILE_NAME


def read_result(path: Path) -> Result:
    """Read one result file.

    Raises:
        DataError: it is damaged or of another schema.
    """
    try:
        if not path.is_file():  # a pipe would never end
            raise FileNotFoundError(f"{path.name} is no file")
        return Result.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        detail = str(error).splitlines()[0]
        raise DataError(f"{path}: not a result file of schema {SCHEMA} ({detail}); run the suite again") from error


def iterate_results(
    workdir: Path, suite: str | None = None, on_damaged: Callable[[Path, DataError], None] | None = None
) -> Iterator[tuple[Path, Result]]:
    """All results under a workdir (of one suite), as (folder, result), in path order.

    Args:
        on_damaged: told of each file that cannot be read, which is then left out; default: it is raised.

    Raises:
        DataError: a result file is damaged, and there is no ``on_damaged``.
    """
    for path in sorted((workdir / "results").glob(f"{suite or '*'}/*/seed-*/{FILE_NAME}")):
        try:
            result = read_result(path)
        except DataError as error:
            if on_damaged is None:
                raise
            on_damaged(path, error)
        else:
            yield path.parent, result
