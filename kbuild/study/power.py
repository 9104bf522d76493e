"""What a design can and cannot detect, by the test the study will use."""

from __future__ import annotations

import math

import numpy as np

from kbuild.study.design import fewest_seeds
from kbuild.study.inference import EXACT_PAIRS, sign_flip

#: Studies simulated for one figure, where the exact test is simulated.
_SIMULATED = 400
#: Pairs up to which it is: all 2^n flips of every simulated study are looked at.
_MOST = 11


def power(difference: float, spread: float, seeds: int, comparisons: int = 1, alpha: float = 0.05) -> float:
    """The probability that a difference is called, at the first step of Holm's correction.

    With few pairs studies with normal differences are simulated and put to the exact test, whose p values come in
    coarse steps; with more, the noncentral t distribution gives the power of the t test, which is the same by then.

    Args:
        difference: of the means, in the units of the metric.
        spread: standard deviation of the paired differences.

    >>> power(1.0, 1.0, 5), power(1.0, 1.0, 20) > 0.95
    (0.0, True)
    """
    level = alpha / max(comparisons, 1)
    if seeds < fewest_seeds(comparisons, alpha):
        return 0.0
    if spread == 0:
        return float(difference != 0)
    if seeds <= min(_MOST, EXACT_PAIRS):
        generator = np.random.default_rng(0)
        drawn = generator.normal(abs(difference) / spread, 1.0, size=(_SIMULATED, seeds))
        return float(np.mean(sign_flip(drawn) < level))
    from scipy import stats

    shift = abs(difference) / spread * math.sqrt(seeds)
    limit = stats.t.ppf(1 - level / 2, seeds - 1)
    tails = (stats.nct.sf(limit, seeds - 1, shift), stats.nct.cdf(-limit, seeds - 1, shift))
    # SciPy says NaN of a tail that is too small for it; the other one is 1 then.
    return min(1.0, float(np.nansum(tails)))


def detectable(
    spread: float, seeds: int, comparisons: int = 1, alpha: float = 0.05, wanted: float = 0.8
) -> float | None:
    """The smallest difference that is called with probability `wanted`; None where none ever is."""
    if seeds < fewest_seeds(comparisons, alpha):
        return None
    low, high = 0.0, 20.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, 1.0, seeds, comparisons, alpha) >= wanted else (middle, high)
    return high * spread


def spread_interval(spread: float, pairs: int, alpha: float = 0.05) -> tuple[float, float]:
    """The chi-squared interval of a standard deviation measured on few pairs: it is wide.

    >>> low, high = spread_interval(1.0, 3)
    >>> round(low, 2), round(high, 2)
    (0.52, 6.28)
    """
    from scipy import stats

    low, high = stats.chi2.interval(1 - alpha, pairs - 1)
    return spread * math.sqrt((pairs - 1) / high), spread * math.sqrt((pairs - 1) / low)
