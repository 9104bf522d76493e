"""The variance shift that theory expects at a normalization, from the dropout upstream of it (Li et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from kbuild.lint.shift import delta_between
from kbuild.lint.view import MULTIPLICATIVE, Layer, View

#: Roles that hand single values on, so that a dropped value is still a dropped value behind them.
_VALUES = frozenset({"A", "P", "D", "reshape"})


@dataclass(frozen=True)
class Predicted:
    """What a dropout does to a normalization.

    Attributes:
        dropout: the layer's name; `rate` is its rate.
        delta: Δ, variance at inference over variance in training, for a standard normal pre-activation.
        through: the weight layer between, which mixes the dropped values and makes the shift smaller; None where
            the dropout reaches the normalization directly or through activations and pooling.
    """

    dropout: str
    rate: float
    delta: float
    through: str | None = None


def predict(view: View, norm: Layer) -> Predicted | None:
    """The nearest dropout that the statistics of `norm` see, or None.

    One weight layer may lie between; a normalization or a merge ends the search, for it renews the statistics or
    mixes in others.
    """
    weight: Layer | None = None
    behind: list[Layer] = []
    at = norm
    while len(at.inputs) == 1:
        at = view.inputs(at)[0]
        role = view.role(at)
        if role == "W" and weight is None:
            weight, behind = at, []
            continue
        if role not in _VALUES and role != "padding":
            return None
        rate = at.config.get("rate")
        if at.cls in MULTIPLICATIVE and isinstance(rate, (int, float)) and 0 < rate < 1:
            return Predicted(at.name, float(rate), _delta(view, at, behind), weight.name if weight else None)
        behind.append(at)
    return None


def _delta(view: View, dropout: Layer, behind: list[Layer]) -> float:
    before = None
    for layer in view.chain_back(dropout, _VALUES):
        if view.role(layer) in ("A", "W"):
            before = view.activation(layer)
            break
    later = next((view.activation(layer) for layer in reversed(behind) if view.role(layer) == "A"), None)
    return delta_between(float(dropout.config["rate"]), before, later)
