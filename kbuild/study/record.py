"""What a trial leaves behind: one JSON file, written whole, and its row of `results.csv`."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kbuild.files import write_json, write_text
from kbuild.study.design import Design, Trial

#: How a trial ended. `diverged`: its loss became NaN or infinite, which is a result and counts.
STATES = ("finished", "diverged", "memory", "died", "error")
#: A trial is begun this often at most.
ATTEMPTS = 2


@dataclass(frozen=True)
class Record:
    """One trial, ended.

    Attributes:
        trial: its id.
        arm: the label of its arm.
        state: one of STATES.
        reason: why it failed, in words; empty where it did not.
        attempts: how often it was begun.
        earlier: how the attempts before the last one ended.
        epochs: epochs trained; callbacks may stop early.
        metrics: `val_...` and `test_...` of the model as it stands after the last epoch.
        history: name → one value per epoch.
        seconds: of the last attempt.
        per_epoch: seconds of an epoch, the first (which may trace) left out where there are others.
        first: whether the model was traced in it, which takes longer.
        shift: batch normalization → its variance shift after training, see `kbuild.study.shift.shift_meter`.
    """

    trial: str
    arm: str
    seed: int
    state: str = "finished"
    reason: str = ""
    attempts: int = 1
    earlier: tuple[str, ...] = ()
    epochs: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    per_epoch: float = 0.0
    first: bool = False
    shift: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.state == "finished"

    @property
    def final(self) -> bool:
        """Whether a resumed study leaves it at that: a divergence repeats itself, a killed process need not."""
        return self.state in ("finished", "diverged")

    @property
    def settled(self) -> bool:
        """Whether it is not tried again."""
        return self.finished or self.attempts >= ATTEMPTS

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Record:
        """The inverse of `to_dict`.

        Raises:
            TypeError, AttributeError: a file that was damaged.
        """
        record = cls(**{**data, "earlier": tuple(data.get("earlier", ()))})
        curves = itertools.chain.from_iterable(record.history.values())
        if not all(value is None or isinstance(value, (int, float)) for value in (*record.metrics.values(), *curves)):
            raise TypeError(f"{record.trial} has a metric that is no number")
        return record


@dataclass(frozen=True)
class Task:
    """A trial to run, and how it ended when it was run before.

    >>> task = Task(Trial("W-A", "W-A", 3), ("it was killed",))
    >>> task.to_dict()
    {'trial': 'W-A-seed3', 'earlier': ['it was killed']}
    >>> task.told(failed(task.trial, "memory", "no room")).attempts
    2
    """

    trial: Trial
    earlier: tuple[str, ...] = ()

    def told(self, record: Record) -> Record:
        """The record of this run of it, with what was before."""
        return replace(record, attempts=len(self.earlier) + 1, earlier=self.earlier)

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {"trial": self.trial.id, "earlier": list(self.earlier)}


def failed(trial: Trial, state: str, reason: str, seconds: float = 0.0) -> Record:
    """The record of a trial that did not finish."""
    return Record(trial.id, trial.arm, trial.seed, state, reason.strip(), seconds=seconds)


def trial_path(folder: Path, trial: str) -> Path:
    return folder / "trials" / f"{trial}.json"


def write_record(folder: Path, record: Record) -> None:
    """Put a record on disk, whole or not at all."""
    write_json(trial_path(folder, record.trial), record.to_dict())


def read_records(folder: Path, design: Design) -> dict[str, Record]:
    """The records on disk, by trial, in the order of the design. A damaged file counts as none."""
    found = {}
    for trial in design.trials:
        try:
            data = json.loads(trial_path(folder, trial.id).read_text(encoding="utf-8"))
            found[trial.id] = Record.from_dict(data)
        except (OSError, ValueError, TypeError, AttributeError):
            continue
    return found


def write_table(folder: Path, design: Design, records: dict[str, Record]) -> None:
    """`results.csv`: one row per trial that has ended, in the order of the design whatever the order they ended in."""
    rows = [records[trial.id] for trial in design.trials if trial.id in records]
    write_text(folder / "results.csv", table_text(rows), flush=False)


def table_text(rows: Sequence[Record]) -> str:
    """The rows as CSV. Numbers are written so that they read back to the same bits."""
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["policy", "seed", "state", "epochs", *metrics, "reason"])
    for row in rows:
        values = [_number(row.metrics.get(name)) for name in metrics]
        table.writerow([row.arm, row.seed, row.state, row.epochs, *values, row.reason])
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))
