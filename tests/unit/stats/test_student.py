"""Quantiles of t against SciPy's."""

import pytest
from scipy.stats import t

from harness.stats.student import two_sided


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 29, 60])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_it_is_the_quantile(freedom: int, confidence: float) -> None:
    assert two_sided(freedom, confidence) == pytest.approx(t.ppf(0.5 + confidence / 2, freedom), rel=1e-11)
