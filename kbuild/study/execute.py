"""Running a study: trials to workers, every end on disk at once, failures tried again once, a study resumed."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from kbuild.files import write_json
from kbuild.study.design import Design, check_measured
from kbuild.study.executors import THREADS, Began, Ended, Executor, Pending, Ready
from kbuild.study.folder import LATER, Folder
from kbuild.study.progress import Silent
from kbuild.study.record import Record, Task, read_records, write_record, write_table
from kbuild.train.environment import ENVIRONMENT, environment_differences
from kbuild.train.interrupt import Interrupted, StopSignal


def execute(
    folder: Folder,
    design: Design,
    executor: Executor,
    shown: Silent | None = None,
) -> dict[str, Record]:
    """Run every trial that has not ended yet.

    Args:
        folder: of the study, its design written.
        executor: runs the trials.
        shown: what the user sees.

    Returns:
        The records of all trials, those of earlier runs too, in the order of the design.

    Raises:
        InputError: the metric, or what a callback watches, is not one that the trials measure.
        WorkError: no worker can be started.
        Interrupted: Ctrl-C or SIGTERM; what has ended is on disk.
    """
    shown = shown or Silent()
    records = {name: record for name, record in read_records(folder.path, design).items() if record.final}
    for record in records.values():
        _check_metric(design, record)
    for leftover in (folder.path / "trials").glob(".*.tmp-*"):
        leftover.unlink(missing_ok=True)
    pending = Pending(trial for trial in design.trials if trial.id not in records)
    shown.start(design, records)
    begun: float | None = None
    try:
        with StopSignal() as stop, closing(executor.events(pending)) as events:  # type: ignore[type-var]
            for event in events:
                if isinstance(event, Began):
                    begun = begun or time.perf_counter()
                    shown.began(event.trial)
                elif isinstance(event, Ended):
                    _ended(folder, design, event, pending, records)
                    shown.ended(event.record, records, time.perf_counter() - (begun or 0.0))
                elif isinstance(event, Ready):
                    _describe(folder, event.environment, shown)
                shown.tick()
                if stop.requested:
                    left = len(design.trials) - len(records)
                    raise Interrupted(f"interrupted; {len(records)} trials are done, --resume runs the other {left}")
    except KeyboardInterrupt:
        raise Interrupted("interrupted; --resume goes on") from None
    finally:
        shown.close()
        write_table(folder.path, design, records)
    return {trial.id: records[trial.id] for trial in design.trials}


def _ended(folder: Folder, design: Design, event: Ended, pending: Pending, records: dict[str, Record]) -> None:
    record = event.record
    if not record.settled:
        pending.put(Task(event.trial, (*record.earlier, record.reason)))
        return
    _check_metric(design, record)
    if not record.finished:
        write_record(folder.path, record)
    records[event.trial.id] = record
    write_table(folder.path, design, records)


def _describe(folder: Folder, now: dict[str, Any], shown: Silent) -> None:
    """Keep what the first worker ran on, and what is otherwise for a later one: trials may differ by that."""
    first = folder.environment()
    differs = environment_differences(_compared(first), _compared(now))
    if not first:
        write_json(folder.path / ENVIRONMENT, now)
    elif differs and differs != first.get(LATER):
        write_json(folder.path / ENVIRONMENT, {**first, LATER: differs})
        shown.note(f"not as when the study began, so trials may differ by it: {'; '.join(differs)}")


def _compared(environment: dict[str, Any]) -> dict[str, Any]:
    """Without cores and threads: a worker has as many as the study gives it, wherever it runs."""
    kept = {name: value for name, value in environment.items() if name not in (LATER, "cpus")}
    variables = kept.get("variables") or {}
    return {**kept, "variables": {name: value for name, value in variables.items() if name not in THREADS}}


def _check_metric(design: Design, record: Record) -> None:
    if record.finished:
        check_measured(design.metric, record.metrics)


def clear(folder: Path) -> None:
    """Remove what an analysis wrote, so that nothing old stands beside new trials."""
    for name in ("results.json", "report.html", "report.md"):
        (folder / name).unlink(missing_ok=True)
