"""Whether two methods differ: paired tests, and the smallest difference that a design can detect.

A method is a recipe. What it scores depends on the seeds it was run with and on the people it was tested on; a claim
about it must hold for other seeds and other people. With d_r the difference of two rows in seed r, both tested on the
same people, the variance of the mean d over S seeds has two parts:

    V_people    the variance of d when identities are resampled, the same ones for both rows and all seeds
                (``harness.stats.intervals.mean_replicates``);
    V_seeds     s^2 / S, with s^2 the variance of the d_r (S - 1 degrees of freedom).

The critical value is Cochran and Cox's weighted mean of the two t quantiles (Experimental Designs, 1950;
Cochran, Biometrics 20, 1964):

    reject if |d| > (V_people t_(I - 1) + V_seeds t_(S - 1)) / sqrt(V_people + V_seeds).

Resampling the seeds as well, the usual hierarchical bootstrap, is too sure of itself with three seeds: their resampled
variance is too small by (S - 1) / S and has no t quantile. ``benchmarks/studies/intervals`` holds the false positive
rates of this rule and of the ones it was preferred to.

Letters: S seeds, P pairs, I identities, K components of variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from harness.arrays import Bools, Doubles

MIN_SEEDS = 3
SIGNIFICANCE = 0.05
POWER = 0.8
_SMALLEST_P = 1e-12
_QUANTILES = 1000  # of the law of the seed variance, when power is averaged over it


@dataclass(frozen=True)
class Difference:
    """The mean difference of two methods, with its 95 percent interval and the p-value of no difference.

    ``people`` and ``seeds`` are the standard errors of the two components of variance.
    """

    value: float
    low: float
    high: float
    p: float
    people: float
    seeds: float


@dataclass(frozen=True)
class McNemar:
    """Exact test of two trained models: pairs that only one of them decides correctly, and the two-sided p-value."""

    only_a: int
    only_b: int
    p: float


def method_difference(per_seed: Doubles, people_variance: float, identities: int) -> Difference:
    """Test two methods by their differences in the same seeds.

    Args:
        per_seed: difference in each seed, [S], S at least 3.
        people_variance: variance of the mean over seeds when identities are resampled.
        identities: I.

    Raises:
        ValueError: fewer than three seeds.
    """
    if len(per_seed) < MIN_SEEDS:
        raise ValueError(f"{len(per_seed)} seeds; a claim about methods needs at least {MIN_SEEDS}")
    value, seed_variance = float(per_seed.mean()), float(per_seed.var(ddof=1)) / len(per_seed)
    components = [(people_variance, identities - 1), (seed_variance, len(per_seed) - 1)]
    half = cochran_cox(components, SIGNIFICANCE)
    p = _p_value(abs(value), components)
    return Difference(value, value - half, value + half, p, sqrt(people_variance), sqrt(seed_variance))


def cochran_cox(components: Sequence[tuple[float, int]], significance: float) -> float:
    """Half the width of the interval of a mean whose variance has K components, (variance, degrees of freedom) each.

    Source: Cochran and Cox, Experimental Designs, 1950; Cochran, Biometrics 20, 1964.
    """
    from scipy.special import stdtrit  # late: a board whose ranks were kept needs no SciPy

    total = sum(variance for variance, _ in components)
    if total <= 0:
        return 0.0
    weighted = sum(variance * -float(stdtrit(freedom, significance / 2)) for variance, freedom in components)
    return weighted / sqrt(total)


def _p_value(distance: float, components: Sequence[tuple[float, int]]) -> float:
    """The significance at which the interval just reaches the distance."""
    if distance <= 0:
        return 1.0
    if cochran_cox(components, _SMALLEST_P) <= distance:
        return _SMALLEST_P
    from scipy.optimize import brentq  # late: boards need no p-values

    return float(brentq(lambda p: cochran_cox(components, p) - distance, _SMALLEST_P, 1.0, xtol=1e-14))


def mcnemar(a: Bools, b: Bools) -> McNemar:
    """McNemar's exact test (Psychometrika 12, 1947) of the decisions of two trained models on the same pairs.

    It takes pairs as independent, and says nothing of other seeds: it compares models, not methods.

    Args:
        a, b: whether each pair was decided correctly, [P].
    """
    from scipy.stats import binomtest  # late: it takes a second

    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for testing several benchmarks (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = np.argsort(p_values, kind="stable")
    corrected, highest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def detectable_difference(people_variance: float, seed_variance: float, identities: int, seeds: int) -> float:
    """Smallest true difference that :func:`method_difference` finds with 80 percent power at the 5 percent level.

    Args:
        people_variance: V_people.
        seed_variance: V_seeds, the expected variance of the mean over seeds.
        identities: I.
        seeds: S, at least 3.
    """
    from scipy.optimize import brentq
    from scipy.special import chdtri, ndtr

    freedom = seeds - 1
    tails = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    observed = seed_variance * np.asarray(chdtri(freedom, tails)) / freedom
    half = np.array(
        [cochran_cox([(people_variance, identities - 1), (float(v), freedom)], SIGNIFICANCE) for v in observed]
    )
    spread = sqrt(people_variance + seed_variance)

    def shortfall(difference: float) -> float:
        found = ndtr((difference - half) / spread) + ndtr((-difference - half) / spread)
        return float(found.mean()) - POWER

    return float(brentq(shortfall, 0.0, 4 * float(half.max()) + 4 * spread))


# What `harness plan` assumes of rows that it knows nothing of. In points of accuracy and of pairs: seed noise as the
# field reports it for one recipe; the other two as measured between trained models of the study's world.
SEED_NOISE = 0.01  # standard deviation of a row's accuracy over seeds
DISAGREEMENT = 0.1  # share of the pairs that only one of two models decides correctly
CORRELATION = 0.05  # of such disagreements, where pairs share a person


def planned_difference(
    pairs: int, identities: int, seeds: int, noise: float = SEED_NOISE, disagreement: float = DISAGREEMENT
) -> float:
    """Smallest true difference of two accuracies that a design detects, as a fraction.

    With q the disagreement, rho its correlation and sigma the noise,

        V_people = q (2 / (P S) + rho / I),    V_seeds = (2 sigma^2 + q / P) / S,

    where 2 is the mean of how often the bootstrap counts what is peculiar to a pair: a genuine one once, an impostor
    one three times (``harness.stats.intervals``).

    Args:
        pairs: P.
        identities: I; 0 if not known, then pairs are taken as independent.
        seeds: S, at least 3.
        noise: sigma, standard deviation of a row's accuracy over seeds.
        disagreement: q.
    """
    clustered = CORRELATION / identities if identities else 0.0
    people = disagreement * (2 / (pairs * seeds) + clustered)
    of_seeds = (2 * noise**2 + disagreement / pairs) / seeds
    return detectable_difference(people, of_seeds, identities or pairs, seeds)
