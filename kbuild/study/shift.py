"""Variance shift in a study: Li's ratio per batch normalization, measured in every trial, summarized per arm.

A batch normalization divides by a variance that it learned with Dropout on and meets another one with Dropout off
(Li et al. 2019, arXiv:1801.05134). `kbuild diagnose` measures a run in full; a trial measures as much as a table needs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kbuild.study.design import Design
    from kbuild.study.record import Record

#: What the table of a report means.
SAYS = (
    "How far the variance that batch normalization meets at inference is from the one it learned in training: "
    "max(real/moving, moving/real), the median over channels, seeds and, in the first column, layers (Li et al. 2019). "
    "1 is no shift; real/moving below 1 is what dropout in front of a normalization does, and moving averages that "
    "still lag behind the weights shift too."
)
#: Training examples a trial measures over, spread evenly.
ROWS = 512


@dataclass(frozen=True)
class Shift:
    """The variance shift of an arm, over its normalizations and seeds.

    Attributes:
        norms: batch normalizations of the model.
        seeds: trials that measured it.
        ratio: median over normalizations and seeds of max(real/moving, moving/real) of the variance (Li et al. 2019,
            section 4), each the median over its channels; 1 where inference meets what training learned.
        largest: the largest of the normalizations' medians over seeds; `where` is its name.
        real_over_moving: median over seeds of real variance / moving variance there, to set beside Δ.
    """

    norms: int
    seeds: int
    ratio: float
    largest: float
    where: str
    real_over_moving: float


def shift_meter(model: Any) -> Callable[[Mapping[str, np.ndarray]], dict[str, dict[str, float]]]:
    """A function that measures the model as it stands: input layer → rows of training data, to layer → `ratio` (median
    over channels of the larger of real/moving and moving/real variance) and `real_over_moving` (median over channels).

    Made once per model, called once per trial: without a trace, over `ROWS` rows, in inference mode.
    """
    from kbuild.diagnose.statistics import batch_norms, input_taps, pooled, quotients, tapping

    norms = batch_norms(model)
    taps = input_taps(norms)
    step = tapping(model, taps) if taps else None

    def meter(inputs: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        if step is None:
            return {}
        rows = len(next(iter(inputs.values())))
        chosen = np.linspace(0, rows - 1, min(rows, ROWS)).astype(int)
        moments = pooled(model, step, taps, {name: array[chosen] for name, array in inputs.items()})
        found = {}
        for norm in norms:
            quotient = quotients(norm, moments[norm.name])
            if quotient.size:
                ratio = float(np.median(np.maximum(quotient, 1 / quotient)))
                found[norm.name] = {"ratio": ratio, "real_over_moving": float(np.median(quotient))}
        return found

    return meter


def shifts(design: Design, records: Iterable[Record]) -> dict[str, Shift]:
    """Arm → its variance shift, of arms whose trials measured one."""
    measured: dict[str, list[dict[str, dict[str, float]]]] = {}
    for record in records:
        if record.finished and record.shift:
            measured.setdefault(record.arm, []).append(record.shift)
    return {arm.label: _summary(measured[arm.label]) for arm in design.distinct if arm.label in measured}


def shift_rows(found: Mapping[str, Shift]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: one row per arm."""
    head = ["policy", "ratio", "largest", "in layer", "real/moving there", "batch normalizations", "trials"]
    rows = []
    for label, one in found.items():
        figures = [f"{one.ratio:.3f}", f"{one.largest:.3f}", one.where, f"{one.real_over_moving:.3f}"]
        rows.append([label, *figures, str(one.norms), str(one.seeds)])
    return head, rows


def _summary(trials: list[dict[str, dict[str, float]]]) -> Shift:
    names = list(dict.fromkeys(name for trial in trials for name in trial))

    def over_seeds(name: str, what: str) -> float:
        return statistics.median(trial[name][what] for trial in trials if name in trial)

    ratios = {name: over_seeds(name, "ratio") for name in names}
    where = max(names, key=lambda name: ratios[name])
    every = [one["ratio"] for trial in trials for one in trial.values()]
    return Shift(
        len(names), len(trials), statistics.median(every), ratios[where], where, over_seeds(where, "real_over_moving")
    )
