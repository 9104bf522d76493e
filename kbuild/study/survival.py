"""Epochs until a target is reached, where some trials never reach it: censored data, by SciPy's survival functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kbuild.study.design import Design
from kbuild.study.record import Record

#: A survival is a product of fractions, and exactly a half comes out as a little more.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Epochs:
    """How fast an arm reaches the target.

    Attributes:
        reached, trials: of how many trials.
        median: of Kaplan & Meier 1958, the first epoch by which half have reached it; None where fewer did.
        p: of the log-rank test against the baseline, uncorrected and blind to the pairing; None for the baseline.
    """

    reached: int
    trials: int
    median: float | None
    p: float | None = None


def target_of(design: Design, records: dict[str, Record]) -> float | None:
    """The target asked for, or the median over seeds of what the baseline has after its last epoch."""
    if design.target is not None:
        return design.target
    of_baseline = (record for record in records.values() if record.arm == design.baseline)
    last = [curve[-1] for record in of_baseline if (curve := _curve(record, design.metric))]
    return float(np.nanmedian(last)) if last and not all(math.isnan(value) for value in last) else None


def first_epoch(curve: list[float], target: float, direction: str) -> int | None:
    """The first epoch, counted from 1, whose value reaches the target.

    >>> first_epoch([0.2, 0.5, 0.4], 0.5, "max"), first_epoch([0.2, 0.5], 0.1, "min")
    (2, None)
    """
    for number, value in enumerate(curve, 1):
        if value >= target if direction == "max" else value <= target:
            return number
    return None


def epochs_to_target(design: Design, records: dict[str, Record], target: float | None) -> dict[str, Epochs]:
    """Arm → how fast it reaches the target.

    A trial that does not is censored at its last epoch, or at the longest trial's last if it diverged: it never will.
    """
    if target is None:
        return {}
    longest = max((len(_curve(record, design.metric)) for record in records.values()), default=0)
    times: dict[str, list[tuple[int, bool]]] = {arm.label: [] for arm in design.distinct}
    for record in records.values():
        if record.final:
            curve = _curve(record, design.metric)
            found = first_epoch(curve, target, design.direction)
            last = longest if record.state == "diverged" else len(curve)
            times[record.arm].append((found or max(last, 1), found is None))
    return {
        arm: _estimate(rows, None if arm == design.baseline else times[design.baseline]) for arm, rows in times.items()
    }


def _estimate(rows: list[tuple[int, bool]], base: list[tuple[int, bool]] | None) -> Epochs:
    from scipy import stats

    reached = sum(not censored for _, censored in rows)
    if not reached:
        median = None
    else:
        survival = stats.ecdf(_censored(rows)).sf
        below = survival.quantiles[survival.probabilities <= 0.5 + _ROUNDING]
        median = float(below[0]) if len(below) else None
    p = None
    if base and rows and (reached or any(not censored for _, censored in base)):
        with np.errstate(invalid="ignore"):  # one trial each, or all at the same epoch: no variance, and NaN
            p = float(stats.logrank(_censored(rows), _censored(base)).pvalue)
        p = None if math.isnan(p) else p
    return Epochs(reached, len(rows), median, p)


def _censored(rows: list[tuple[int, bool]]):
    from scipy import stats

    times, censored = zip(*rows, strict=True)
    return stats.CensoredData.right_censored(list(times), list(censored))


def _curve(record: Record, metric: str) -> list[float]:
    return [math.nan if value is None else value for value in record.history.get(metric, [])]
