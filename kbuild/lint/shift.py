"""Variance shift: what dropout in front of a batch normalization does to its statistics (Li et al. 2019).

Dropout with the usual scaling keeps the mean of what it drops and raises its variance. The moving variance is learned
with dropout on and used with dropout off, where the true variance is smaller by the factor Δ:

>>> c, v = moments("relu")
>>> round(c, 6), round(v, 6)
(0.398942, 0.340845)
>>> [round(delta(rate, c, v), 3) for rate in (0.05, 0.1, 0.2, 0.25, 0.3, 0.5)]
[0.928, 0.86, 0.732, 0.672, 0.614, 0.405]

Reference: Li et al. 2019, Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift
(arXiv:1801.05134).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


#: Keras name → the activation function with Keras' default arguments.
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "selu": lambda x: _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * math.expm1(x)),
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x: x * _sigmoid(x),
    "mish": lambda x: x * math.tanh(_softplus(x)),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + abs(x)),
    "tanh": math.tanh,
    "sigmoid": _sigmoid,
    "hard_sigmoid": lambda x: min(max(x / 6 + 0.5, 0.0), 1.0),
    "hard_silu": lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0),
    "hard_swish": lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0),
}


def delta(rate: float, mean: float, variance: float) -> float:
    """Variance at inference over variance in training, of a quantity dropped at `rate`: v / ((c² + v) / p − c²).

    Written as p v / (v + r c²), which is the same and subtracts nothing.

    Args:
        rate: the dropout rate r = 1 − p, from 0 up to but excluding 1.
        mean: c, before dropout.
        variance: v, before dropout.

    Returns:
        Δ, at most 1; 1 where nothing is dropped or nothing varies.
    """
    spread = variance + rate * mean**2
    return (1 - rate) * variance / spread if spread > 0 else 1.0


@cache
def moments(activation: str | None) -> tuple[float, float]:
    """Mean c and variance v of the activation of a standard normal quantity; unknown activations count as linear."""
    return _moments(FUNCTIONS.get(activation or "linear", FUNCTIONS["linear"]))


def _moments(function: Callable[[float], float]) -> tuple[float, float]:
    mean = _expected(function)
    return mean, _expected(lambda z: function(z) ** 2) - mean**2


def _expected(function: Callable[[float], float]) -> float:
    """E[f(z)], z standard normal, by Simpson's rule with a node at 0, where activations have their kinks."""
    half, end = 500, 10.0
    step = end / half
    total = 0.0
    for index in range(-half, half + 1):
        weight = 1 if abs(index) == half else 4 if index % 2 else 2
        total += weight * function(index * step) * math.exp(-((index * step) ** 2) / 2)
    return total * step / 3 / math.sqrt(2 * math.pi)


@cache
def delta_between(rate: float, before: str | None, behind: str | None) -> float:
    """Δ of what a normalization reads where D stands between two activations: z → before → D → behind → N.

    z is standard normal, as it is behind a normalization. Without an activation behind D this is `delta`:

    >>> round(delta_between(0.2, "relu", None), 3), round(delta_between(0.2, None, None), 3)
    (0.732, 0.8)
    >>> delta_between(0.2, None, "relu") == delta_between(0.2, "relu", None)  # D and relu commute
    True
    """
    if behind in (None, "linear") or behind not in FUNCTIONS:
        return delta(rate, *moments(before))
    inner, outer = FUNCTIONS.get(before or "linear", FUNCTIONS["linear"]), FUNCTIONS[behind]
    if before in (None, "linear") and behind == "relu":
        return delta(rate, *moments("relu"))
    kept, at_zero = 1 - rate, outer(0.0)
    mean = kept * _expected(lambda z: outer(inner(z) / kept)) + rate * at_zero
    square = kept * _expected(lambda z: outer(inner(z) / kept) ** 2) + rate * at_zero**2
    _, variance = _moments(lambda z: outer(inner(z)))
    return variance / (square - mean**2)


def homogeneous(cls: str, config: dict[str, Any]) -> bool:
    """Whether an activation layer commutes with dropout: A(a·x) = a·A(x) for every a ≥ 0, hence A(0) = 0.

    >>> homogeneous("Activation", {"activation": "relu"}), homogeneous("Activation", {"activation": "elu"})
    (True, False)
    >>> homogeneous("ReLU", {"max_value": 6.0})
    False
    """
    if cls == "Activation":
        return config.get("activation") in ("relu", "leaky_relu", "linear")
    if cls == "ReLU":
        return config.get("max_value") is None and not config.get("threshold")
    return cls in ("LeakyReLU", "PReLU")
