"""The tests of a study, each a thin wrapper of SciPy's, on arrays of plain numbers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

#: Pairs up to which all 2^n sign flips are looked at; with more, this many are drawn.
EXACT_PAIRS = 14
_DRAWN = 19_999
#: Statistics are compared to this many digits of the largest difference: accuracies are float32, and two arrangements
#: with the same number of hits would not tie otherwise. A tie counts against calling a difference.
_DIGITS = 4
#: Numbers that are looked at in one go: memory stays small.
_AT_ONCE = 1_000_000
#: Draws of the permutation test over several arms, where there are too many arrangements to look at all.
_ARRANGEMENTS = 9_999


def sign_flip(differences: np.ndarray) -> np.ndarray:
    """Two-sided p value of the paired permutation test on the mean: the exact sign-flip test (Fisher 1935).

    Args:
        differences: shape (..., pairs).

    Returns:
        Shape (...).

    >>> float(sign_flip(np.array([1.0, 2.0, 3.0, 4.0, 5.0])))
    0.0625
    """
    from scipy import stats

    differences = np.asarray(differences, "float64")
    if not np.any(differences) or differences.shape[-1] < 2:
        return np.ones(differences.shape[:-1])
    largest = np.max(np.abs(differences), axis=-1, keepdims=True)
    differences = differences / np.where(largest > 0, largest, 1)
    found = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        _mean_difference,
        permutation_type="samples",
        vectorized=True,
        axis=-1,
        n_resamples=np.inf if differences.shape[-1] <= EXACT_PAIRS else _DRAWN,
        batch=max(1, _AT_ONCE // differences.size),
        **_generator(stats.permutation_test),
    )
    return np.asarray(found.pvalue)


def _mean_difference(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.round(np.mean(one - other, axis=axis), _DIGITS))


def _generator(function: Any) -> dict[str, Any]:
    """A fixed generator, under the name that this SciPy has for it (`rng` since 1.15)."""
    name = "rng" if "rng" in inspect.signature(function).parameters else "random_state"
    return {name: np.random.default_rng(0)}


def t_interval(differences: np.ndarray, alpha: float = 0.05) -> tuple[float | None, float | None]:
    """Student's interval of the mean; (None, None) below two values.

    >>> low, high = t_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    from scipy import stats

    if len(differences) < 2:
        return None, None
    mean, error = float(np.mean(differences)), float(stats.sem(differences))
    if error == 0:
        return mean, mean
    low, high = stats.t.interval(1 - alpha, len(differences) - 1, loc=mean, scale=error)
    return float(low), float(high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values corrected for their number by the step-down of Holm 1979; None stays None.

    >>> holm([0.01, 0.04, 0.03, None])
    [0.03, 0.06, 0.06, None]
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    result: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        result[index] = largest
    return result


def may_be_best(values: dict[str, np.ndarray], direction: str = "max", alpha: float = 0.05) -> tuple[str, ...]:
    """The arms that are not distinguishable from the best: the model confidence set of Hansen, Lunde & Nason 2011.

    While a test rejects that all arms left are equal, the worst leaves. The test permutes the arms within each seed;
    its statistic is the distance between the best mean and the worst. The set holds the best with probability 1−alpha.

    Args:
        values: arm → one value per seed; seeds with a NaN in any of the arms left are not looked at.
    """
    from scipy import stats

    left = {label: row if direction == "max" else -row for label, row in values.items() if not np.all(np.isnan(row))}
    while len(left) > 1:
        table = np.stack(list(left.values()))
        table = table[:, ~np.any(np.isnan(table), axis=0)]
        if table.shape[1] < 2 or not np.any(np.ptp(table, axis=0)):
            break
        table = (table - table.mean(axis=0)) / np.max(np.ptp(table, axis=0))
        arrangements = math.factorial(len(left)) ** table.shape[1]
        found = stats.permutation_test(
            tuple(table),
            _range_of_means,
            permutation_type="samples",
            vectorized=True,
            alternative="greater",
            n_resamples=np.inf if arrangements <= 2**EXACT_PAIRS else _ARRANGEMENTS,
            **_generator(stats.permutation_test),
        )
        if found.pvalue >= alpha:
            break
        means = dict(zip(left, table.mean(axis=1), strict=True))
        left.pop(min(means, key=lambda label: means[label]))
    return tuple(left)


def _range_of_means(*arms: np.ndarray, axis: int) -> np.ndarray:
    means = np.stack([np.mean(arm, axis=axis) for arm in arms])
    return np.round(means.max(axis=0) - means.min(axis=0), _DIGITS)
