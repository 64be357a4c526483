"""Numbers that papers print, for comparison on request. They are never ranked with rows that were measured here."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from importlib import resources


@dataclass(frozen=True)
class PublishedTable:
    """One transcription.

    Attributes:
        file: the CSV file beside this module.
        unit: how it prints its numbers, in words.
        scale: what turns a printed number into ours when divided by it.
        decimals: of a number as it is shown.
        columns: per column of the file our metric name and the title that papers give it.
    """

    file: str
    unit: str
    scale: float
    decimals: int
    columns: dict[str, tuple[str, str]]

    @property
    def titles(self) -> dict[str, str]:
        """Title by metric."""
        return dict(self.columns.values())

    def number(self, value: float) -> str:
        """A value of ours as the table prints it."""
        return f"{self.scale * value:.{self.decimals}f}"


TABLES = {
    "verification": PublishedTable(
        file="published_results.csv",
        unit="percent",
        scale=100.0,
        decimals=2,
        columns={
            "LFW": ("LFW/accuracy", "LFW"),
            "AgeDB30": ("AgeDB-30/accuracy", "AgeDB-30"),
            "CFP_FP": ("CFP-FP/accuracy", "CFP-FP"),
            "CALFW": ("CALFW/accuracy", "CALFW"),
            "CPLFW": ("CPLFW/accuracy", "CPLFW"),
            "average": ("average/accuracy", "average"),
            "IJBC_TAR_at_FAR_1e-5": ("IJB-C/tar_at_far_1e-5", "IJB-C TAR@1e-5"),
            "IJBC_TAR_at_FAR_1e-4": ("IJB-C/tar_at_far_1e-4", "IJB-C TAR@1e-4"),
        },
    ),
    "separability": PublishedTable(
        file="published_separability.csv",
        unit="fractions as printed",
        scale=1.0,
        decimals=3,
        columns={
            "FDR": ("separability/fdr", "fdr"),
            "EER": ("separability/eer", "eer"),
            "FMR100": ("separability/fmr100", "fmr100"),
            "FMR1000": ("separability/fmr1000", "fmr1000"),
            "genuine_mean": ("separability/genuine_mean", "genuine mean"),
            "genuine_std": ("separability/genuine_std", "genuine std"),
            "impostor_mean": ("separability/impostor_mean", "impostor mean"),
            "impostor_std": ("separability/impostor_std", "impostor std"),
        },
    ),
}
_TEXT = {"method", "source", "note"}


@dataclass(frozen=True)
class PublishedRow:
    """One printed row: what was not printed is absent.

    ``metrics`` are fractions (accuracy 0.9955 for a printed 99.55), FDR and moments as printed; ``settings`` are the
    printed settings as text, such as the training set of the generator; ``table`` is a key of :data:`TABLES`.
    """

    table: str
    method: str
    metrics: dict[str, float]
    source: str
    note: str = ""
    settings: dict[str, str] = field(default_factory=dict)


def read_published() -> list[PublishedRow]:
    """All published rows: first verification, then separability, in the order of their tables."""
    return [row for name, table in TABLES.items() for row in _read(name, table)]


def _read(name: str, table: PublishedTable) -> list[PublishedRow]:
    text = resources.files(__package__).joinpath(table.file).read_text(encoding="utf-8")
    return [
        PublishedRow(
            table=name,
            method=line["method"],
            metrics={
                ours: round(float(line[theirs]) / table.scale, 6)
                for theirs, (ours, _) in table.columns.items()
                if line[theirs]
            },
            source=line["source"],
            note=line["note"],
            settings={k: v for k, v in line.items() if v and k not in table.columns and k not in _TEXT},
        )
        for line in csv.DictReader(text.splitlines())
    ]
