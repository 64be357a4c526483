"""Numbers that papers print, for comparison on request. They are never ranked with rows that were measured here."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from importlib import resources

VERIFICATION = "published_results.csv"
SEPARABILITY = "published_separability.csv"

# Column of the transcription -> metric name and the unit that turns the printed number into ours (fractions).
_VERIFICATION_METRICS = {
    "LFW": "LFW/accuracy",
    "AgeDB30": "AgeDB-30/accuracy",
    "CFP_FP": "CFP-FP/accuracy",
    "CALFW": "CALFW/accuracy",
    "CPLFW": "CPLFW/accuracy",
    "average": "average/accuracy",
    "IJBC_TAR_at_FAR_1e-5": "IJB-C/tar_at_far_1e-5",
    "IJBC_TAR_at_FAR_1e-4": "IJB-C/tar_at_far_1e-4",
}
_SEPARABILITY_METRICS = {
    "FDR": "separability/fdr",
    "EER": "separability/eer",
    "FMR100": "separability/fmr100",
    "FMR1000": "separability/fmr1000",
    "genuine_mean": "separability/genuine_mean",
    "genuine_std": "separability/genuine_std",
    "impostor_mean": "separability/impostor_mean",
    "impostor_std": "separability/impostor_std",
}
_TEXT = {"method", "source", "note"}


@dataclass(frozen=True)
class PublishedRow:
    """One printed row: what was not printed is absent.

    ``metrics`` are fractions (accuracy 0.9955 for a printed 99.55), FDR and moments as printed; ``settings`` are the
    printed settings as text, such as the training set of the generator.
    """

    method: str
    metrics: dict[str, float]
    source: str
    note: str = ""
    settings: dict[str, str] = field(default_factory=dict)


def read_published() -> list[PublishedRow]:
    """All published rows: first verification, then separability, in the order of their tables."""
    verification = _read(VERIFICATION, _VERIFICATION_METRICS, 100.0)
    return verification + _read(SEPARABILITY, _SEPARABILITY_METRICS, 1.0)


def _read(name: str, metrics: dict[str, str], unit: float) -> list[PublishedRow]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return [
        PublishedRow(
            method=line["method"],
            metrics={ours: round(float(line[theirs]) / unit, 6) for theirs, ours in metrics.items() if line[theirs]},
            source=line["source"],
            note=line["note"],
            settings={k: v for k, v in line.items() if v and k not in metrics and k not in _TEXT},
        )
        for line in csv.DictReader(text.splitlines())
    ]
