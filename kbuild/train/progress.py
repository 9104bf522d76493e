"""What a person sees while training: a bar per epoch on a terminal, a line per epoch elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
from typing import Any


class Silent:
    """Shows nothing."""

    #: Whether `step` is worth calling with metrics (they cost a moment to read).
    live = False

    def start(self, epochs: int, steps: int) -> None: ...

    def step(self, epoch: int, step: int, logs: dict[str, float]) -> None: ...

    def epoch(self, number: int, logs: dict[str, float], seconds: float) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Lines(Silent):
    """One line per epoch on stderr."""

    def start(self, epochs: int, steps: int) -> None:
        self.epochs = epochs

    def epoch(self, number: int, logs: dict[str, float], seconds: float) -> None:
        self.note(f"epoch {number}/{self.epochs}  {shown(logs)}  {seconds:.1f} s")

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bar(Lines):
    """A rich progress bar per epoch on stderr; finished epochs stay as lines above it."""

    live = True

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self._bar: Any = None

    def start(self, epochs: int, steps: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().start(epochs, steps)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[logs]}"),
        )
        self._bar = Progress(*columns, console=self.console, transient=True)
        self._task = self._bar.add_task("compiling", total=steps, logs="")
        self._bar.start()

    def step(self, epoch: int, step: int, logs: dict[str, float]) -> None:
        self._bar.update(self._task, description=f"epoch {epoch}/{self.epochs}", completed=step, logs=shown(logs))

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def make_progress(quiet: bool) -> Silent:
    """The display that fits: nothing, a bar on a terminal, lines elsewhere."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()


def shown(logs: dict[str, float]) -> str:
    """Logs as people read them.

    >>> shown({"loss": 0.123456, "accuracy": 0.9, "learning_rate": 0.001})
    'loss 0.1235  accuracy 0.9000'
    """
    return "  ".join(f"{name} {value:.4f}" for name, value in logs.items() if name != "learning_rate")
