"""How often do intervals cover the truth, and how often does a method differ from itself?

    python benchmarks/studies/intervals/simulate.py coverage        # minutes on one core
    python benchmarks/studies/intervals/simulate.py comparisons
    python benchmarks/studies/intervals/simulate.py rules
    python benchmarks/studies/intervals/simulate.py means

The world. A person i has a center c_i ~ N(0, 1_D) and a difficulty s_i ~ U(low, high); an image is c_i + s_i n with
n ~ N(0, 1_D), on the unit sphere; a score is a cosine. So pairs that share a person are correlated, through the center
and through the difficulty, and so are pairs that share an image. A protocol has ten folds of other people; half of the
pairs of a fold are genuine, half impostor, none twice, as in LFW. The truth is that of 600,000 pairs of other people.

A trained model sees every center displaced by its own amount and half of every image's deviation replaced by its own;
its seed multiplies all s_i by exp(u), u ~ N(0, sigma), scaled so that sigma is in points of accuracy. Two rows of one
method differ in nothing but that. Two methods that are "different but equal" displace every center once more, each
method in its own way and alike in all seeds.

Letters: I identities, N images, P pairs, S seeds, D dimensions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit
from world import FAR, FOLDS, IMAGES, WORLDS, D, Pairs, all_pairs, best_accuracy, normal, people, protocol, truth

from harness.arrays import Bools, Doubles
from harness.stats import intervals
from harness.stats.comparison import SIGNIFICANCE, mcnemar, method_difference, planned_difference
from harness.stats.intervals import (
    PairIdentities,
    accuracy_uncertainty,
    mean_replicates,
    multiplicities,
    tar_uncertainty,
    wilson,
)
from harness.stats.score_intervals import score_uncertainties
from harness.stats.uncertainty import Uncertainty
from harness.stats.verification import fold_accuracies, squared_distances, unit

SCORED_IMAGES = 4  # per identity, in separability
IMPOSTORS = 20_000  # sampled in separability
REPLICATES = 200  # of a bootstrap; the tool draws 1,000, and 200 for more than 200,000 scores
DISPLACEMENT, REPLACED = 0.25, 0.7  # of a trained model: of centers, and share of an image's deviation (amplitude)
METHOD_DISPLACEMENT = 0.3


# --- coverage --------------------------------------------------------------------------------------------------------


def verification_suite(seed: Any, world: str, identities: int, count: int) -> dict[str, Uncertainty]:
    """The uncertainties that the evaluator ``verification`` would report, those where identities are not known,
    and what an interval over pairs would say."""
    rng = np.random.default_rng(seed)
    faces, pairs = people(rng, identities, IMAGES, world).reshape(-1, D), protocol(rng, identities, count)
    distances = squared_distances(faces[pairs.a], faces[pairs.b])
    correct, scores = fold_accuracies(distances, pairs.same, pairs.fold).correct, 1 - distances / 2
    return {
        "accuracy": accuracy_uncertainty(correct, pairs.same, pairs.fold, pairs.identities, rng, REPLICATES),
        "tar": tar_uncertainty(scores, pairs.same, FAR, pairs.fold, pairs.identities, rng, REPLICATES),
        "accuracy over folds": accuracy_uncertainty(correct, pairs.same, pairs.fold, None, rng),
        "tar over folds": tar_uncertainty(scores, pairs.same, FAR, pairs.fold, None, rng),
        "accuracy over pairs": wilson(int(correct.sum()), len(correct), "pairs"),
    }


def separability_suite(seed: Any, world: str, identities: int, count: int = IMPOSTORS) -> dict[str, Uncertainty]:
    """The uncertainties that the evaluator ``separability`` would report; ``count`` impostor scores are sampled."""
    rng = np.random.default_rng(seed)
    faces = people(rng, identities, SCORED_IMAGES, world).reshape(-1, D)
    label = np.repeat(np.arange(identities), SCORED_IMAGES)
    a, b = all_pairs(len(faces))
    same = label[a] == label[b]
    chosen = rng.choice(np.flatnonzero(~same), min(count, int((~same).sum())), replace=False, shuffle=False)
    genuine, impostor = (np.einsum("pd,pd->p", faces[a[k]], faces[b[k]]) for k in (same, chosen))
    whose = label[a[same]], impostor, label[a[chosen]], label[b[chosen]]
    found = score_uncertainties(genuine, *whose, identities, rng, REPLICATES)
    return {name: found[name] for name in ("eer", "fmr100", "fmr1000", "fdr")}


Maker = Callable[[Any, str, int, int], dict[str, Uncertainty]]


def coverage(make: Maker, suites: int, world: str, identities: int, count: int) -> dict[str, dict[str, float]]:
    """Per metric: share of suites with an interval, how it was made, and the share of intervals with the truth."""
    found = [make([suite, identities, count], world, identities, count) for suite in range(suites)]
    out = {}
    for name in found[0]:
        given = [suite[name] for suite in found if suite[name].interval is not None]
        true = truth(world)[name.split(" ")[0]]
        held = sum(u.interval[0] <= true <= u.interval[1] for u in given if u.interval)
        out[name] = {
            "given": len(given) / suites,
            "bootstrap": sum(u.method == "bootstrap" for u in given) / suites,
            "covered": held / len(given) if given else float("nan"),
        }
    return out


@contextmanager
def without_the_limit() -> Iterator[None]:
    """Intervals for fewer identities than the tool asks for, to see why it asks."""
    kept, intervals.MIN_IDENTITIES = intervals.MIN_IDENTITIES, 0
    try:
        yield
    finally:
        intervals.MIN_IDENTITIES = kept


# --- false positives --------------------------------------------------------------------------------------------------


@cache
def points_to_spread() -> float:
    """By how much log difficulty must change for an accuracy to change by 1 (a slope of the hard world)."""
    values = []
    for u in (-0.05, 0.05):
        rng = np.random.default_rng(1)
        spread = rng.uniform(*WORLDS["hard"], (400_000, 1, 1)) * np.exp(u)
        faces = np.sqrt(1 + DISPLACEMENT**2) * rng.standard_normal((400_000, 1, D))
        faces = faces + spread * rng.standard_normal((400_000, 2, D))
        faces /= np.linalg.norm(faces, axis=2, keepdims=True)
        genuine = np.einsum("nd,nd->n", faces[:, 0], faces[:, 1])
        values.append(best_accuracy(genuine, np.einsum("nd,nd->n", faces[:200_000, 0], faces[200_000:, 1])))
    return 0.1 / (values[0] - values[1])


def two_rows(
    rng: np.random.Generator, identities: int, seeds: int, noise: float, displacement: float, lead: float
) -> list[list[Doubles]]:
    """Unit embeddings [N, D] of the same images by the trained models of two rows, one per seed.

    Args:
        noise: standard deviation of a model's accuracy over seeds, as a fraction.
        displacement: of the centers by each method, alike in all its seeds; 0 for two rows of one method.
        lead: by how much the first row's accuracy is higher.
    """
    centers, deviation = normal(rng, identities, 1, D), normal(rng, identities, IMAGES, D)
    spread = rng.uniform(*WORLDS["hard"], (identities, 1, 1))
    rows = []
    for shift in (-lead, 0.0):
        method = centers + displacement * normal(rng, identities, 1, D)
        models = []
        for _ in range(seeds):
            u = (shift + noise * rng.standard_normal()) * points_to_spread()
            own = method + DISPLACEMENT * normal(rng, identities, 1, D)
            mixed = np.sqrt(1 - REPLACED**2) * deviation + REPLACED * normal(rng, identities, IMAGES, D)
            models.append(unit((own + spread * np.exp(u) * mixed).reshape(-1, D)))
        rows.append(models)
    return rows


def decisions(models: list[Doubles], pairs: Pairs) -> Bools:
    """Whether each model decides each pair correctly, [P, S]."""
    distances = (squared_distances(faces[pairs.a], faces[pairs.b]) for faces in models)
    return np.stack([fold_accuracies(d, pairs.same, pairs.fold).correct for d in distances], axis=1)


def compared(
    seed: Any, identities: int, count: int, seeds: int, noise: float, displacement: float = 0.0, lead: float = 0.0
) -> dict[str, bool]:
    """Which tests call two rows different: that of ``harness compare``, and those it was preferred to."""
    rng = np.random.default_rng(seed)
    pairs = protocol(rng, identities, count)
    first, second = (decisions(models, pairs) for models in two_rows(rng, identities, seeds, noise, displacement, lead))
    differences = first.astype(np.float64) - second
    drawn = multiplicities(identities, REPLICATES, rng)
    replicates = mean_replicates(differences, pairs.same, pairs.identities, drawn)  # [R, S]
    per_seed, of_people = differences.mean(axis=0), float(replicates.mean(axis=1).var())
    return {
        "ours": method_difference(per_seed, of_people, identities).p < SIGNIFICANCE,
        **_alternatives(per_seed, replicates, identities, rng),
        "exact McNemar of one seed": mcnemar(first[:, 0], second[:, 0]).p < SIGNIFICANCE,
        "ours, people not known": _over_folds(per_seed, differences, pairs, rng) < SIGNIFICANCE,
    }


def _over_folds(per_seed: Doubles, differences: Doubles, pairs: Pairs, rng: np.random.Generator) -> float:
    """The p-value of `harness compare` where files do not say who is shown: folds are resampled."""
    drawn = multiplicities(FOLDS, REPLICATES, rng)
    folds, mean = PairIdentities.of(pairs.fold, pairs.fold), differences.mean(axis=1, keepdims=True)
    of_folds = float(mean_replicates(mean, pairs.same, folds, drawn).var()) * FOLDS / (FOLDS - 1)
    return method_difference(per_seed, of_folds, FOLDS).p


def _alternatives(per_seed: Doubles, replicates: Doubles, identities: int, rng: np.random.Generator) -> dict[str, bool]:
    """What other tests of methods would say of the same differences."""
    seeds, of_people = len(per_seed), float(replicates.mean(axis=1).var())
    chosen = rng.integers(0, seeds, (REPLICATES, seeds))
    naive = np.take_along_axis(replicates, chosen, axis=1).mean(axis=1)
    wider = naive + (np.sqrt(seeds / (seeds - 1)) - 1) * (per_seed[chosen].mean(axis=1) - per_seed.mean())
    of_seeds = float(per_seed.var(ddof=1)) / seeds
    freedom = (of_people + of_seeds) ** 2 / (of_people**2 / (identities - 1) + of_seeds**2 / (seeds - 1))
    distance = abs(per_seed.mean())
    return {
        "hierarchical bootstrap": _outside(naive),
        "hierarchical bootstrap, seed spread rescaled": _outside(wider),
        "people only (bootstrap)": bool(distance > 1.96 * np.sqrt(of_people)),
        "seeds only (paired t)": bool(distance > -stdtrit(seeds - 1, 0.025) * np.sqrt(of_seeds)),
        "sum of variances, Welch-Satterthwaite": bool(
            distance > -stdtrit(freedom, 0.025) * np.sqrt(of_people + of_seeds)
        ),
    }


def _outside(replicates: Doubles) -> bool:
    low, high = np.quantile(replicates, [0.025, 0.975])
    return not low <= 0 <= high


def positives(suites: int, identities: int, count: int, seeds: int, noise: float, **more: float) -> dict[str, float]:
    """Share of comparisons that each test calls different; ``noise`` in points."""
    found = [
        compared([suite, seeds, count, int(100 * noise)], identities, count, seeds, noise / 100, **more)
        for suite in range(suites)
    ]
    return {name: sum(one[name] for one in found) / suites for name in found[0]}


# --- the study --------------------------------------------------------------------------------------------------------

# (kind, world, identities, pairs or impostor scores)
DESIGNS = [
    ("verification", "hard", 300, 6000),
    ("separability", "hard", 300, IMPOSTORS),
    ("verification", "easy", 300, 6000),
    ("verification", "solved", 300, 6000),
    ("verification", "hard", 300, 2000),
    ("verification", "hard", 100, 2000),
    ("verification", "hard", 50, 1000),
    ("separability", "hard", 50, IMPOSTORS),
    ("verification", "hard", 30, 600),
    ("separability", "hard", 30, IMPOSTORS),
    ("verification", "hard", 20, 400),  # where the limit is lifted
    ("separability", "hard", 20, IMPOSTORS),
]
NOISE = (0.0, 0.5, 1.0, 2.0)  # points
SEEDS = (3, 5)
PROTOCOL = (300, 2000)  # identities and pairs of the comparisons
MAKERS: dict[str, Maker] = {"verification": verification_suite, "separability": separability_suite}


def coverages(suites: int) -> Iterator[dict[str, Any]]:
    """How often intervals cover, design by design."""
    for kind, world, identities, count in DESIGNS:
        lifted = identities < intervals.MIN_IDENTITIES
        with without_the_limit() if lifted else nullcontext():
            found = coverage(MAKERS[kind], suites, world, identities, count)
        true = {name.split(" ")[0]: truth(world)[name.split(" ")[0]] for name in found}
        line = {"kind": kind, "world": world, "identities": identities, "count": count, "limit_lifted": lifted}
        yield line | {"suites": suites, "truth": true, "metrics": found}


def comparisons(suites: int) -> Iterator[dict[str, Any]]:
    """How often two rows are called different, design by design."""
    designs = [("itself under other seeds", seeds, noise, {}, 1.0) for seeds in SEEDS for noise in NOISE]
    equal = {"displacement": METHOD_DISPLACEMENT}
    designs += [
        ("another one, equally good on average", seeds, noise, equal, 1.0) for seeds in SEEDS for noise in (0.0, 1.0)
    ]
    leads = {seeds: planned_difference(PROTOCOL[1], PROTOCOL[0], seeds) for seeds in SEEDS}
    designs += [
        ("one worse by what `harness plan` detects", seeds, 1.0, {"lead": leads[seeds]}, 0.3) for seeds in SEEDS
    ]
    for name, seeds, noise, more, share in designs:
        number = max(1, round(share * suites))
        line = {"against": name, "seeds": seeds, "noise_points": noise, **more, "suites": number}
        yield line | {"called_different": positives(number, *PROTOCOL, seeds, noise, **more)}


RATIOS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0, 20.0)  # V_people / V_seeds


def rules(suites: int) -> Iterator[dict[str, Any]]:
    """Two rules of critical values on normal differences with V_seeds = 1: false positives, 400 draws per suite."""
    rng, draws, people = np.random.default_rng(0), 400 * suites, PROTOCOL[0] - 1
    for seeds in (3, 4, 5, 10):
        t_people, t_seeds = (-float(stdtrit(freedom, SIGNIFICANCE / 2)) for freedom in (people, seeds - 1))
        for ratio in RATIOS:
            distance = np.abs(rng.standard_normal(draws)) * np.sqrt(1 + ratio)
            of_people = ratio * rng.chisquare(people, draws) / people
            of_seeds = rng.chisquare(seeds - 1, draws) / (seeds - 1)
            total = of_people + of_seeds
            freedom = total**2 / (of_people**2 / people + of_seeds**2 / (seeds - 1))
            found = {
                "Cochran and Cox": distance * np.sqrt(total) > of_people * t_people + of_seeds * t_seeds,
                "Welch and Satterthwaite": distance > -stdtrit(freedom, SIGNIFICANCE / 2) * np.sqrt(total),
            }
            rates = {name: float(rejected.mean()) for name, rejected in found.items()}
            yield {"seeds": seeds, "ratio": ratio, "draws": draws, "called_different": rates}


def means(suites: int) -> Iterator[dict[str, Any]]:
    """Coverage of the mean of a skewed quantity, one value per identity, from Gamma(2, 1)."""
    for identities in (10, 15, 20, 30, 50, 100, 300):
        held = 0
        with without_the_limit():
            for suite in range(suites):
                rng = np.random.default_rng([suite, identities])
                interval = intervals.mean_uncertainty(rng.gamma(2.0, 1.0, identities), rng).interval
                held += interval is not None and interval[0] <= 2.0 <= interval[1]
        yield {"identities": identities, "suites": suites, "covered": held / suites}


PARTS = {"coverage": coverages, "comparisons": comparisons, "rules": rules, "means": means}


def main() -> None:
    """Run one part of the study and write its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--suites", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the results")
    given = parser.parse_args()
    started, lines = time.process_time(), []
    for line in PARTS[given.part](given.suites):
        lines.append(line)
        print(f"{time.process_time() - started:6.0f} s  {line}", flush=True)
    found = {"suites": given.suites, "cpu_seconds": round(time.process_time() - started), "designs": lines}
    path = given.out / f"{given.part}-{given.suites}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
