"""What a run directory says about its training while it goes on, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from kbuild.errors import KbuildError
from kbuild.train.progress import shown
from kbuild.train.rundir import Clock, RunDir
from kbuild.train.trackers import Tracker


class Status:
    """Keeps `metrics.json`, `history.csv` and `log.txt` of a run up to date, and tells the trackers.

    Args:
        run: the directory.
        clock: started with the command.
        started: when the run began, in UTC; now, if it begins.
    """

    def __init__(self, run: RunDir, clock: Clock, started: str | None = None):
        self.run, self.clock = run, clock
        self.started = started or datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.phase, self.seconds = "preparing", 0.0
        self.epochs = 0
        self.metrics: dict[str, dict[str, float]] = {}
        self.best: dict[str, Any] = {}
        self.trackers: list[Tracker] = []

    def resumed(self, history: Sequence[dict[str, float]], where: str) -> None:
        """A training goes on from a state: epochs after it, which a killed process may have written, are taken back."""
        self.epochs = len(history)
        self.run.history(history)
        self.run.log(f"resumed {where}")

    def on_epoch(self, history: Sequence[dict[str, float]]) -> None:
        """A finished epoch."""
        self.epochs = len(history)
        self.run.append_history(history)
        self.run.log(f"epoch {self.epochs}: {shown(history[-1])}")
        for tracker in self.trackers:
            tracker.epoch(self.epochs, history[-1])

    def write(self, state: str, **more: Any) -> None:
        """Write `metrics.json`."""
        self.seconds = self.clock.seconds
        data = {"state": state, "started": self.started, "epochs": self.epochs, "seconds": self.seconds}
        self.run.write("metrics.json", {**data, "metrics": self.metrics, "best": self.best, **more})

    def finish(self, state: str, error: str = "", **more: Any) -> None:
        """Say how it ended; of a failure, as far as the disk allows."""
        if state == "finished":
            self.write(state, **more)
        else:
            with suppress(KbuildError):
                self.write(state, error=error)
                self.run.log(f"{state}: {error}")
        for tracker in self.trackers:
            tracker.end(state, self.metrics)


class Speed:
    """Images per second, the first epoch (which compiles) left out where there are others."""

    def __init__(self, rows: int):
        self.rows, self.times = rows, [time.perf_counter()]

    def epoch(self) -> None:
        self.times.append(time.perf_counter())

    @property
    def rate(self) -> float | None:
        since = self.times[1:] if len(self.times) > 2 else self.times
        if len(since) < 2:
            return None
        return round(self.rows * (len(since) - 1) / max(since[-1] - since[0], 1e-9), 1)
