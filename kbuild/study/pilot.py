"""What a study will cost and what it can detect, from a short measurement: two arms, three seeds, two epochs."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kbuild.errors import WorkError, listing, plural
from kbuild.lint.commuting import commuting_orders
from kbuild.plan.plan import Plan
from kbuild.spec.model import Spec
from kbuild.study.analyse import Comparison, analyse
from kbuild.study.design import Arm, Design, fewest_seeds
from kbuild.study.execute import execute
from kbuild.study.folder import Folder
from kbuild.study.power import detectable, power, spread_interval
from kbuild.study.processes import Processes
from kbuild.study.progress import Silent, duration
from kbuild.study.record import Record
from kbuild.study.words import number

EPOCHS, SEEDS = 2, 3
#: Numbers of seeds for which the dry run says what can be detected.
_SEEDS = (6, 10, 20, 40)


@dataclass(frozen=True)
class Forecast:
    """What a dry run says.

    Attributes:
        trials, workers, epochs: what would run.
        seconds: how long it would take.
        per_trial, per_trace: seconds of a trial, and of tracing an arm once more.
        spread: standard deviation of the paired differences in the pilot; None where it could not be measured.
        spread_low, spread_high: its 95 % interval.
        detectable: seeds → smallest difference called with probability 0.8; None where none is.
        power: multiples of the spread → probability that such a difference is called, with the seeds asked for.
        fewest: seeds below which nothing can be called.
        parameters: arm → number of weights.
    """

    trials: int
    workers: int
    epochs: int
    seconds: float
    per_trial: float
    per_trace: float
    spread: float | None
    spread_low: float | None
    spread_high: float | None
    pilot_epochs: int
    pilot_pairs: int
    detectable: dict[int, float | None]
    power: dict[float, float]
    fewest: int
    parameters: dict[str, int | None]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def forecast(spec: Spec, design: Design, plans: dict[str, Plan], workers: int, shown: Silent | None = None) -> Forecast:
    """Run the pilot and say what the whole would take. Nothing is written beside it.

    Raises:
        WorkError, InputError: what a study would raise.
    """
    epochs = design.settings(spec).epochs
    base = design.arm(design.baseline)
    other = other_arm(design, plans)
    seeds = design.seeds[:SEEDS] if len(design.seeds) >= SEEDS else tuple(range(SEEDS))
    arms = (replace(base, fingerprint=""), replace(other, fingerprint=""))  # fewer epochs are another training
    short = replace(design, arms=arms, seeds=seeds, epochs=min(epochs, EPOCHS), notes=())
    with tempfile.TemporaryDirectory(prefix="kbuild-pilot-") as place:
        folder = Folder(Path(place))
        folder.write(spec, short, [])
        begun = time.perf_counter()
        records = execute(folder, short, Processes(folder.path, min(workers, 2)), shown)
        wall = time.perf_counter() - begun
    finished = [record for record in records.values() if record.finished]
    if not finished:
        raise WorkError(
            f"no trial of the short measurement finished: {listing({one.reason: 0 for one in records.values()}, 3)}"
        )
    per_trial, per_trace = _costs(finished, epochs - min(epochs, EPOCHS))
    start = max(0.0, wall - sum(record.seconds for record in finished) / min(workers, 2))
    busy = len(design.trials) * per_trial + max(len(design.distinct), workers) * per_trace
    found = analyse(short, records).arm(other.label).against.get(design.metric)
    spread = found.spread if found is not None and found.pairs > 1 else None
    low, high = spread_interval(spread, found.pairs) if found is not None and spread else (None, None)
    return Forecast(
        len(design.trials),
        workers,
        epochs,
        round(start + busy / workers, 1),
        round(per_trial, 2),
        round(per_trace, 2),
        spread,
        low,
        high,
        short.epochs or EPOCHS,
        found.pairs if found is not None else 0,
        _detectable(design, spread),
        _power(design, found, spread),
        fewest_seeds(design.comparisons, design.alpha),
        {arm.label: plans[arm.label].total_params for arm in design.distinct},
    )


def other_arm(design: Design, plans: dict[str, Plan]) -> Arm:
    """What the pilot sets against the baseline: trials of an order that commutes with it are equal, with no spread."""
    others = [arm for arm in design.distinct if arm.label != design.baseline]
    own = plans[design.baseline]
    return next((arm for arm in others if commuting_orders(own, plans[arm.label]) is None), others[0])


def _costs(finished: list[Record], more: int) -> tuple[float, float]:
    """Seconds of a trial with `more` epochs than the pilot's, and of the trace that comes before an arm's first."""
    later = [record.seconds for record in finished if not record.first]
    first = [record.seconds for record in finished if record.first]
    trial = statistics.median(later or first)
    trace = max(0.0, statistics.median(first) - trial) if later and first else 0.0
    return trial + more * statistics.median(record.per_epoch for record in finished), trace


def _detectable(design: Design, spread: float | None) -> dict[int, float | None]:
    if not spread:
        return {}
    seeds = sorted({*_SEEDS, len(design.seeds)})
    return {count: detectable(spread, count, design.comparisons, design.alpha) for count in seeds}


def _power(design: Design, found: Comparison | None, spread: float | None) -> dict[float, float]:
    if not spread:
        return {}
    steps = (0.5, 1.0, 1.5, 2.0)
    return {step: power(step * spread, spread, len(design.seeds), design.comparisons, design.alpha) for step in steps}


def text(design: Design, said: Forecast) -> str:
    """A dry run for people."""
    way = "more is better" if design.direction == "max" else "less is better"
    what = "points of policies and grid" if any(arm.overrides for arm in design.arms) else "policies"
    width = max(len(arm.label) for arm in design.arms)
    lines = [
        f"{design.name}: {len(design.distinct)} {what} × {len(design.seeds)} seeds = {said.trials} trials of "
        f"{plural(said.epochs, 'epoch')}, decided by {design.metric} ({way})"
    ]
    for arm in design.arms:
        mark = "baseline" if arm.label == design.baseline else f"the same model as {arm.same_as}" if arm.same_as else ""
        lines.append(f"  {arm.label:<{width}}  {arm.order:<9}  {mark}".rstrip())
    lines += [f"note: {note}" for note in design.notes]
    lines.append(
        f"time: about {duration(said.seconds)} with {plural(said.workers, 'worker')} "
        f"({said.per_trial:.1f} s a trial, {said.per_trace:.1f} s more where a worker begins a policy)"
    )
    if said.spread is None or said.spread_low is None:
        lines.append("power: the pilot's differences have no spread; nothing can be said of what is detectable")
    else:
        lines.append(
            f"pilot: {said.pilot_pairs} pairs after {plural(said.pilot_epochs, 'epoch')}; their differences in "
            f"{design.metric} have a standard deviation of {number(said.spread)} (95 % interval "
            f"{number(said.spread_low)} to {number(said.spread_high)}; it mostly narrows as training goes on)"
        )
        count = len(design.seeds)
        comparisons = plural(design.comparisons, "comparison")
        lines.append(f"power for that spread and {comparisons}, the smallest difference called 8 times in 10:")
        for seeds, smallest in said.detectable.items():
            asked = "  <- asked for" if seeds == count else ""
            shown = f"no difference, however large: too few seeds ({said.fewest} are the fewest)"
            lines.append(f"  {seeds:>3} seeds  {number(smallest) if smallest is not None else shown}{asked}")
    return "\n".join(lines)
