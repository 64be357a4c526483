"""Separability: how far genuine and impostor scores lie apart.

Definitions are those of pyeer 0.5.6. Thresholds t are the distinct scores in ascending order, and

    FNMR(t) = count(genuine < t) / G,    FMR(t) = count(impostor >= t) / N,

each one division of whole numbers (never 1 - x: the equal error rate tests for exact equality).

Letters: G genuine scores, N impostor scores, T thresholds.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from harness.arrays import Doubles
from harness.stats.allpairs import EDGES, PairHistogram

Moments = tuple[float, float, float, float]  # genuine mean and standard deviation, impostor mean and standard deviation

_ROUNDING = 1e-20  # a variance of cosines below this is rounding error


@dataclass(frozen=True)
class ScoreStatistics:
    """Statistics of two sets of similarity scores; rates are fractions.

    Attributes:
        eer: equal error rate, the mean of FMR and FNMR where they cross.
        eer_threshold: the score where they do.
        fmr0, fmr100, fmr1000: FNMR at the threshold whose FMR is nearest to 0, 0.01 and 0.001.
        auc: area of 1 - FNMR over FMR.
        genuine_mean, genuine_std, impostor_mean, impostor_std: moments (population standard deviation).
        d_prime: |mu_g - mu_i| / sqrt((sd_g^2 + sd_i^2) / 2).
        fdr: Fisher discriminant ratio, (mu_g - mu_i)^2 / (sd_g^2 + sd_i^2), which is d'^2 / 2.
    """

    eer: float
    eer_threshold: float
    fmr0: float
    fmr100: float
    fmr1000: float
    auc: float
    genuine_mean: float
    genuine_std: float
    impostor_mean: float
    impostor_std: float
    d_prime: float
    fdr: float


def fisher_ratio(genuine_mean: float, genuine_variance: float, impostor_mean: float, impostor_variance: float) -> float:
    """Fisher discriminant ratio from moments, NaN where no score varies.

    It reproduces the rows that NegFaceDiff (arXiv 2508.09661) printed.
    """
    variance = genuine_variance + impostor_variance
    return (genuine_mean - impostor_mean) ** 2 / variance if variance > 0 else math.nan


def error_rates(fmr: Doubles, fnmr: Doubles) -> tuple[float, float, float]:
    """EER, FMR100 and FMR1000 over ascending thresholds."""
    return equal_error_rate(fmr, fnmr)[0], fnmr_at_fmr(fmr, fnmr, 0.01), fnmr_at_fmr(fmr, fnmr, 0.001)


def score_statistics(genuine: Doubles, impostor: Doubles) -> ScoreStatistics:
    """All statistics, by sorting; equal to :func:`pyeer_statistics` and fast for tens of millions of scores."""
    _check(genuine, impostor)
    genuine, impostor = np.sort(genuine), np.sort(impostor)
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    fnmr = np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    fmr = (len(impostor) - np.searchsorted(impostor, thresholds, side="left")) / len(impostor)
    gm, gs, im, is_ = (float(f(x)) for x in (genuine, impostor) for f in (np.mean, np.std))
    return _statistics(thresholds, fmr, fnmr, (gm, gs, im, is_))


def histogram_statistics(histogram: PairHistogram, moments: Moments) -> ScoreStatistics:
    """All statistics from histograms: rates of scores rounded down to their bin's lower edge, and exact moments.

    Rates at an edge are those of the scores themselves, so only the choice of the threshold is coarser. The threshold
    of a rate is found to one bin; the rate is off by no more than the genuine share in the bins that touch it, the EER
    by no more than the mean of the genuine and the impostor share there.

    Args:
        moments: genuine mean and standard deviation, impostor mean and standard deviation.

    Raises:
        ValueError: no genuine or no impostor pair, or all scores of both kinds are equal.
    """
    _check_both(int(histogram.genuine.sum()), int(histogram.impostor.sum()))
    genuine, impostor = histogram.genuine, histogram.impostor
    held = np.flatnonzero(genuine + impostor)
    fnmr = (np.cumsum(genuine) - genuine)[held] / genuine.sum()
    fmr = impostor[::-1].cumsum()[::-1][held] / impostor.sum()
    return _statistics(EDGES[held], fmr, fnmr, moments)


def _statistics(thresholds: Doubles, fmr: Doubles, fnmr: Doubles, moments: Moments) -> ScoreStatistics:
    eer, at = equal_error_rate(fmr, fnmr)
    fdr = _fdr(moments)
    return ScoreStatistics(
        eer=eer,
        eer_threshold=float(thresholds[at]),
        fmr0=fnmr_at_fmr(fmr, fnmr, 0.0),
        fmr100=fnmr_at_fmr(fmr, fnmr, 0.01),
        fmr1000=fnmr_at_fmr(fmr, fnmr, 0.001),
        auc=float(((fmr[:-1] - fmr[1:]) * (2 - fnmr[:-1] - fnmr[1:]) / 2).sum()),
        genuine_mean=moments[0],
        genuine_std=moments[1],
        impostor_mean=moments[2],
        impostor_std=moments[3],
        d_prime=float(np.sqrt(2 * fdr)),
        fdr=fdr,
    )


def pyeer_statistics(genuine: Doubles, impostor: Doubles) -> ScoreStatistics:
    """All statistics by pyeer; about 3 seconds per million scores."""
    return from_pyeer(pyeer_stats(genuine, impostor))


def pyeer_stats(genuine: Doubles, impostor: Doubles) -> Any:
    """What pyeer's ``get_eer_stats`` gives, for :func:`from_pyeer` and :func:`pyeer_report`."""
    _check(genuine, impostor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyeer imports pkg_resources; and warns where the curves do not cross
        from pyeer.eer_info import get_eer_stats

        return get_eer_stats(genuine, impostor)


def pyeer_report(stats: Mapping[str, Any]) -> str:
    """pyeer's own report as CSV, as ``geteerinf`` writes it: one line per experiment, by name."""
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        from pyeer.report import generate_eer_report

        path = Path(folder) / "report.csv"  # it writes to a path and nowhere else
        generate_eer_report(list(stats.values()), list(stats), str(path))
        return path.read_text(encoding="utf-8")


def from_pyeer(s: Any) -> ScoreStatistics:
    """Our statistics from pyeer's."""
    fdr = _fdr((float(s.gmean), float(s.gstd), float(s.imean), float(s.istd)))
    return ScoreStatistics(
        eer=float(s.eer),
        eer_threshold=float(s.eer_th),
        fmr0=float(s.fmr0),
        fmr100=float(s.fmr100),
        fmr1000=float(s.fmr1000),
        auc=float(s.auc),
        genuine_mean=float(s.gmean),
        genuine_std=float(s.gstd),
        impostor_mean=float(s.imean),
        impostor_std=float(s.istd),
        d_prime=float(s.decidability),
        fdr=fdr,
    )


def equal_error_rate(fmr: Doubles, fnmr: Doubles) -> tuple[float, int]:
    """Equal error rate over ascending thresholds, and the index of the threshold taken.

    The first threshold with FMR <= FNMR is compared with the one before (unless FMR equals FNMR there); the one with
    the smaller sum counts, the earlier on a tie.
    """
    crossed = np.flatnonzero(fmr <= fnmr)
    if len(crossed) == 0:
        return 1.0, 0  # pyeer's convention for curves that do not cross
    after = int(crossed[0])
    before = after - 1 if fmr[after] != fnmr[after] and after > 0 else after
    at = before if fmr[before] + fnmr[before] <= fmr[after] + fnmr[after] else after
    return float((fmr[at] + fnmr[at]) / 2), at


def fnmr_at_fmr(fmr: Doubles, fnmr: Doubles, target: float) -> float:
    """FNMR at the threshold whose FMR is nearest to ``target`` (the lowest threshold on ties)."""
    return float(fnmr[np.abs(fmr - target).argmin()])


def _fdr(moments: Moments) -> float:
    """The Fisher ratio of all scores.

    Raises:
        ValueError: both score sets are constant.
    """
    genuine_mean, genuine_std, impostor_mean, impostor_std = moments
    if not genuine_std**2 + impostor_std**2 > _ROUNDING:
        raise ValueError("all genuine and all impostor scores are equal; expected scores that vary")
    return fisher_ratio(genuine_mean, genuine_std**2, impostor_mean, impostor_std**2)


def _check_both(genuine: int, impostor: int) -> None:
    if genuine == 0 or impostor == 0:
        raise ValueError(f"{genuine} genuine and {impostor} impostor scores; expected at least 1 of each")


def _check(genuine: Doubles, impostor: Doubles) -> None:
    _check_both(len(genuine), len(impostor))
    if not (np.isfinite(genuine).all() and np.isfinite(impostor).all()):
        raise ValueError("some scores are not finite; expected similarities")
