"""What a person sees while a study runs: a live table on a terminal, a line per trial elsewhere, nothing when quiet.

No figures of the arms are shown before the study is complete: whoever stops when they please measures that.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from kbuild.study.design import Design, Trial
from kbuild.study.record import Record


class Silent:
    """Shows nothing."""

    def start(self, design: Design, done: dict[str, Record]) -> None: ...

    def began(self, trial: Trial) -> None: ...

    def ended(self, record: Record, done: dict[str, Record], seconds: float) -> None: ...

    def tick(self) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Lines(Silent):
    """One line per trial on stderr."""

    def start(self, design: Design, done: dict[str, Record]) -> None:
        self.design, self.before = design, len(done)
        self.total = len(design.trials)
        if done:
            self.note(f"{len(done)} of {self.total} trials are done already")

    def ended(self, record: Record, done: dict[str, Record], seconds: float) -> None:
        left = time_left(self.total, len(done), self.before, seconds)
        how = f"{record.seconds:.1f} s" if record.finished else f"{record.state}: {record.reason}"
        again = "" if record.trial in done else ", tried again"
        self.note(f"{len(done)}/{self.total}  {record.arm}, seed {record.seed}  {how}{again}{left}")

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Table(Silent):
    """A live table on stderr: arms with what is done, runs, failed; below it the time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self._live: Any = None
        self._running: dict[str, Trial] = {}
        self._left, self._drawn = "", 0.0
        self._refresh = 0.2  # seconds between drawings

    def start(self, design: Design, done: dict[str, Record]) -> None:
        from rich.live import Live

        self.design, self.done, self.before = design, dict(done), len(done)
        self._live = Live(console=self.console, transient=True, auto_refresh=False, get_renderable=self._table)
        self._live.start()

    def began(self, trial: Trial) -> None:
        self._running[trial.id] = trial

    def ended(self, record: Record, done: dict[str, Record], seconds: float) -> None:
        self._running.pop(record.trial, None)
        self.done = dict(done)
        self._left = time_left(len(self.design.trials), len(done), self.before, seconds)
        if not record.finished:
            again = "" if record.trial in done else ", tried again"
            self.note(f"{record.arm}, seed {record.seed}: {record.reason}{again}")

    def tick(self) -> None:
        if time.monotonic() - self._drawn > self._refresh and self._live is not None:
            self._drawn = time.monotonic()
            self._live.refresh()

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Any:
        from rich.table import Table as Grid

        count = len(self.design.seeds)
        grid = Grid(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in ("policy", "order", "done", "", "running", "failed"):
            grid.add_column(column)
        for arm in self.design.distinct:
            ended = [record for record in self.done.values() if record.arm == arm.label]
            running = [f"seed {trial.seed}" for trial in self._running.values() if trial.arm == arm.label]
            failed = sum(not record.finished for record in ended)
            bar = "━" * round(20 * len(ended) / count)
            cells = (f"{len(ended)}/{count}", f"{bar:<20}", ", ".join(running), str(failed or ""))
            grid.add_row(arm.label, arm.order, *cells)
        grid.caption = f"{len(self.done)} of {len(self.design.trials)} trials{self._left}"
        grid.caption_justify = "left"
        return grid


def time_left(total: int, done: int, before: int, seconds: float) -> str:
    """How long the rest takes if it goes on like this; empty where nothing can be said.

    >>> time_left(10, 6, 2, 60.0), time_left(10, 10, 0, 60.0)
    (', about 60 s left', '')
    """
    if done <= before or done >= total:
        return ""
    return f", about {duration(seconds / (done - before) * (total - done))} left"


def duration(seconds: float) -> str:
    """A time span as people say it.

    >>> duration(59.6), duration(61), duration(600), duration(7300)
    ('60 s', '61 s', '10 min', '2 h 2 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def make_display(quiet: bool) -> Silent:
    """The display that fits."""
    if quiet:
        return Silent()
    return Table() if sys.stderr.isatty() else Lines()
