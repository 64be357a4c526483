"""How many pairs published benchmarks have, to notice a copy that is another."""

from __future__ import annotations

# Genuine and impostor pairs. Sources: Huang et al., tech. report 07-49, 2007 (view 2); Sengupta et al., WACV 2016;
# Moschoglou et al., CVPRW 2017 (30 years apart); arXiv 1708.08197; Zheng and Deng, tech. report 18-01, 2018;
# Whitelam et al., CVPRW 2017; Maze et al., ICB 2018.
PAIRS = {
    "lfw": (3_000, 3_000),
    "cfp-ff": (3_500, 3_500),
    "cfp-fp": (3_500, 3_500),
    "agedb-30": (3_000, 3_000),
    "calfw": (3_000, 3_000),
    "cplfw": (3_000, 3_000),
    "ijbb": (10_270, 8_000_000),
    "ijbc": (19_557, 15_638_932),
}


def differs(benchmark: str, genuine: int, impostor: int) -> list[str]:
    """What to say where a benchmark has other numbers of pairs than the published one of that name.

    Returns:
        nothing where it has those, or none of that name is known.
    """
    expected = PAIRS.get(benchmark)
    if expected is None or (genuine, impostor) == expected:
        return []
    text = f"{genuine:,} genuine and {impostor:,} impostor pairs, {benchmark} as published has"
    return [f"{text} {expected[0]:,} and {expected[1]:,}: not comparable with published figures"]
