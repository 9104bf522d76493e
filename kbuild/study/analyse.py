"""Records → what may be concluded from them: paired comparisons with the baseline, and the set that may be the best.

Distributions and tests are SciPy's. What is assumed: seeds are independent, and under the null hypothesis the two
arms of a pair could be exchanged (the sign-flip test assumes no more); the t interval assumes differences not far from
normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from kbuild.errors import InputError
from kbuild.study.design import Design, direction_of, fewest_seeds
from kbuild.study.inference import holm, may_be_best, sign_flip, t_interval
from kbuild.study.record import Record
from kbuild.study.survival import Epochs, epochs_to_target, target_of


@dataclass(frozen=True)
class Comparison:
    """An arm against the baseline, pair by pair, in one metric.

    Attributes:
        pairs: seeds with a value on both sides.
        difference: mean of arm minus baseline.
        low, high: the t interval of that mean, at 1 − alpha.
        spread: standard deviation of the differences; None below two pairs.
        p: of the exact sign-flip test.
        p_holm: corrected over all arms; None for a metric that does not decide.
        better_share: share of seeds with the arm better than the baseline, a tie counting half: an estimate of the
            probability of being better (Bouthillier et al. 2021, Accounting for Variance in Machine Learning
            Benchmarks).
        verdict: "better", "worse", "not distinguishable" or "too few seeds"; "" for a metric that does not decide.
    """

    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    spread: float | None
    p: float | None
    better_share: float | None
    p_holm: float | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Summary:
    """One arm in numbers.

    Attributes:
        counts: state of `kbuild.study.record.STATES` → trials that ended so.
        mean, spread: metric → mean, and standard deviation over seeds (None below two). A diverged trial counts as a
            little worse than the worst value that any trial of the study had.
        against: metric → comparison with the baseline; empty for the baseline itself.
        epochs: until the target was reached.
        may_be_best: not distinguishable from the best; None with too few seeds to say.
    """

    label: str
    order: str
    counts: dict[str, int]
    mean: dict[str, float]
    spread: dict[str, float | None]
    against: dict[str, Comparison]
    epochs: Epochs | None
    may_be_best: bool | None = None


@dataclass(frozen=True)
class Analysis:
    """All that `results.json` says.

    Attributes:
        metrics: all that were measured, validation first.
        target: the value of the deciding metric that `epochs` waits for.
        too_few: whether no difference, however large, could be called with these pairs.
        best: the arm with the best mean of the deciding metric; None with too few seeds.
        verdict: in words.
        sentences: one for each arm that is compared.
    """

    design: Design
    metrics: tuple[str, ...]
    arms: tuple[Summary, ...]
    target: float | None
    too_few: bool
    best: str | None
    verdict: str
    sentences: tuple[str, ...] = field(default=())

    def arm(self, label: str) -> Summary:
        return next(arm for arm in self.arms if arm.label == label)

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


def require_scipy() -> None:
    """Say before a study begins what its end will need.

    Raises:
        InputError: the extra is not installed.
    """
    try:
        import jinja2  # noqa: F401
        import scipy  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"a study needs the extra `report`, and {error.name} is missing: pip install 'kbuild[report]'"
        ) from None


def analyse(design: Design, records: dict[str, Record]) -> Analysis:
    """Compare the arms of a study.

    Args:
        records: by trial; trials that are missing or were not a result (killed, out of memory) leave their pairs out.
    """
    from kbuild.study.words import sentence, verdict

    metrics = _metrics(design, records)
    values = {metric: _values(design, records, metric) for metric in metrics}
    target = target_of(design, records)
    epochs = epochs_to_target(design, records, target)
    against = _against(design, values)
    means = {label: _mean(row) for label, row in values.get(design.metric, {}).items()}
    fewest = fewest_seeds(design.comparisons, design.alpha)
    judged = [label for label, one in against.get(design.metric, {}).items() if one.pairs >= fewest]
    too_few = not judged
    kept: tuple[str, ...] = ()
    best = None
    if not too_few:
        judged.append(design.baseline)
        best = _best({label: means[label] for label in judged}, design.direction)
        rows = {label: row for label, row in values[design.metric].items() if label in judged}
        kept = may_be_best(rows, design.direction, design.alpha)
    arms = []
    for arm in design.distinct:
        own = {metric: values[metric][arm.label] for metric in metrics}
        arms.append(
            Summary(
                arm.label,
                arm.order,
                _counts(design, records, arm.label),
                {metric: _mean(row) for metric, row in own.items() if not math.isnan(_mean(row))},
                {metric: _spread(row) for metric, row in own.items()},
                {metric: found[arm.label] for metric, found in against.items() if arm.label in found},
                epochs.get(arm.label),
                arm.label in kept if arm.label in judged else None,
            )
        )
    result = Analysis(design, metrics, tuple(arms), target, too_few, best, "")
    sentences = tuple(sentence(result, arm) for arm in arms if arm.label != design.baseline)
    return Analysis(design, metrics, tuple(arms), target, too_few, best, verdict(result), sentences)


def _metrics(design: Design, records: dict[str, Record]) -> tuple[str, ...]:
    names = dict.fromkeys(name for record in records.values() for name in record.metrics)
    first = [design.metric] if design.metric in names else []
    validation = [name for name in names if name.startswith("val_") and name != design.metric]
    return (*first, *validation, *(name for name in names if name.startswith("test_")))


def _values(design: Design, records: dict[str, Record], metric: str) -> dict[str, np.ndarray]:
    """Arm → one value per seed; NaN where there is none. A diverged trial is worse than all that finished."""
    finished = [value for record in records.values() if (value := record.metrics.get(metric)) is not None]
    worst = _worse_than(finished, _direction(design, metric))
    rows: dict[str, list[float]] = {arm.label: [] for arm in design.distinct}
    for trial in design.trials:
        record = records.get(trial.id)
        value = record.metrics.get(metric) if record else None
        diverged = record is not None and (record.state == "diverged" or (record.finished and value is None))
        rows[trial.arm].append(worst if diverged else math.nan if value is None else value)
    return {label: np.array(row, "float64") for label, row in rows.items()}


def _worse_than(finished: Sequence[float], direction: str) -> float:
    """Worse than the worst by a hundredth of the range: a trial that diverged ties with none that did not.

    >>> _worse_than([0.5, 0.75], "max"), _worse_than([2.0, 2.0], "min")
    (0.4975, 2.02)
    """
    if not finished:
        return math.nan
    low, high = min(finished), max(finished)
    step = (high - low or abs(high) or 1.0) / 100
    return low - step if direction == "max" else high + step


def _direction(design: Design, metric: str) -> str:
    same = metric.split("_", 1)[-1] == design.metric.split("_", 1)[-1]
    return design.direction if same else direction_of(metric)


def _against(design: Design, values: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, Comparison]]:
    found: dict[str, dict[str, Comparison]] = {}
    for metric, rows in values.items():
        base = rows[design.baseline]
        others = {label: row for label, row in rows.items() if label != design.baseline}
        found[metric] = {
            label: compare(row, base, _direction(design, metric), design.alpha) for label, row in others.items()
        }
    deciding = found.get(design.metric)
    if deciding:
        found[design.metric] = decide(deciding, design.direction, design.alpha)
    return found


def compare(arm: np.ndarray, base: np.ndarray, direction: str = "max", alpha: float = 0.05) -> Comparison:
    """One arm against the baseline; pairs with a NaN are left out.

    >>> found = compare(np.array([0.91, 0.93, 0.92, 0.95]), np.array([0.90, 0.91, 0.92, 0.91]))
    >>> found.pairs, round(found.difference, 4), found.better_share, found.p
    (4, 0.0175, 0.875, 0.25)
    """
    differences = (arm - base)[~np.isnan(arm - base)]
    if not len(differences):
        return Comparison(0, None, None, None, None, None, None)
    low, high = t_interval(differences, alpha)
    wins = differences > 0 if direction == "max" else differences < 0
    share = float(np.mean(wins + 0.5 * (differences == 0)))
    return Comparison(
        len(differences),
        float(np.mean(differences)),
        low,
        high,
        _spread(differences),
        float(sign_flip(differences)),
        share,
    )


def decide(found: dict[str, Comparison], direction: str, alpha: float = 0.05) -> dict[str, Comparison]:
    """Correct the p values over all comparisons, and say what they mean."""
    corrected = holm([one.p for one in found.values()])
    result = {}
    for (label, one), p in zip(found.items(), corrected, strict=True):
        word = "not distinguishable"
        if one.pairs < fewest_seeds(len(found), alpha):
            word = "too few seeds"
        elif p is not None and p < alpha and one.difference:
            word = "better" if (one.difference > 0) == (direction == "max") else "worse"
        result[label] = Comparison(**{**asdict(one), "p_holm": p, "verdict": word})
    return result


def _best(means: dict[str, float], direction: str) -> str | None:
    known = {label: mean for label, mean in means.items() if not math.isnan(mean)}
    if not known:
        return None
    return (max if direction == "max" else min)(known, key=lambda label: known[label])


def _counts(design: Design, records: dict[str, Record], label: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for trial in design.trials:
        if trial.arm == label:
            state = records[trial.id].state if trial.id in records else "not run"
            found[state] = found.get(state, 0) + 1
    return found


def _mean(row: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(row)[~np.isnan(row)]
    return float(np.mean(known)) if len(known) else math.nan


def _spread(row: Sequence[float] | np.ndarray) -> float | None:
    known = np.asarray(row)[~np.isnan(row)]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None
