"""Ctrl-C and SIGTERM as a flag that the training loop looks at between chunks of steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from kbuild.errors import KbuildError


class Interrupted(KbuildError):
    """Training was interrupted; a checkpoint is written. The process ends with 130."""

    exit_code = 130


class StopSignal:
    """While entered, the first SIGINT or SIGTERM sets `requested`; the second aborts at once.

    Outside the main thread, where Python delivers no signals, it never fires.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def _handled(number: signal.Signals, handler: Any) -> Iterator[None]:
    """While entered, in the main thread, a signal has this handler."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """While entered, SIGTERM raises KeyboardInterrupt, as Ctrl-C does; a `StopSignal` inside goes before it."""
    with _handled(signal.SIGTERM, signal.default_int_handler):
        yield


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """While entered, SIGINT ends the process: where it waits outside of Python, no handler of Python's is called."""
    with _handled(signal.SIGINT, signal.SIG_DFL):
        yield
