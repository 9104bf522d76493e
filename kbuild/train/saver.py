"""Checkpoints in the background: the training copies its state to the host and goes on, a thread puts it on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.files import naming_failures
from kbuild.model.backend import import_keras
from kbuild.train.checkpoint import write_state
from kbuild.train.rundir import LAST

#: Checkpoints may take at most this share of the time where nobody asks for more.
SHARE = 0.03

#: ... but what a kill loses is never more than an epoch and this many seconds.
SECONDS = 1.0


class Saver:
    """Writes states and best models, one at a time, each whole or not at all.

    Args:
        folder: `checkpoints/` of the run, for `last/state.npz` and `best.keras`.
        model: whose best weights are written.
    """

    def __init__(self, folder: Path, model: Any):
        keras: Any = import_keras()
        self.state, self.best = folder / LAST, folder / "best.keras"
        # The same layers without an optimizer: what is saved while the training goes on is weights alone.
        self._model = keras.Model(model._inputs_struct, model._outputs_struct, name=model.name)
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._pending: Future[None] | None = None
        self._costs = {"state": 0.0, "best": 0.0}
        self._written = dict.fromkeys(self._costs, time.perf_counter())
        self._unwritten: Sequence[np.ndarray] | None = None

    def due(self) -> bool:
        """Whether the end of an epoch is worth a state: writing is cheap beside the time since the last one."""
        since = time.perf_counter() - self._written["state"]
        return not self.busy and (since >= SECONDS or self._affordable("state", SHARE / 2))

    @property
    def busy(self) -> bool:
        """Whether a state is being written.

        Raises:
            TrainingError: it could not be written.
        """
        if self._pending is not None and self._pending.done():
            pending, self._pending = self._pending, None
            pending.result()
        return self._pending is not None

    def note_best(self, weights: Sequence[np.ndarray]) -> None:
        """The weights that `best.keras` is to hold from the next state on that has the time for it."""
        self._unwritten = weights

    def put(self, arrays: Mapping[str, np.ndarray], copied: float = 0.0, final: bool = False) -> None:
        """Write a state; call `wait` first. The best model follows where it is due, and for certain if `final`.

        Args:
            arrays: of `capture`.
            copied: seconds that capturing them took.
            final: nothing will be trained for now.
        """
        best = self._unwritten if final or self._affordable("best", SHARE / 2) else None
        if best is not None:
            self._unwritten = None
        self._written["state"] = time.perf_counter()
        self._pending = self._thread.submit(self._write, arrays, best, copied)

    def wait(self) -> None:
        """Until what was put is on disk.

        Raises:
            TrainingError: it could not be written.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """End the thread; a best model that is not written yet is, as far as the disk allows."""
        with suppress(Exception):
            self.wait()
            if self._unwritten is not None:
                self._save_best(self._unwritten)
        self._thread.shutdown()

    def _affordable(self, what: str, share: float) -> bool:
        return (time.perf_counter() - self._written[what]) * share >= self._costs[what]

    def _write(self, arrays: Mapping[str, np.ndarray], best: Sequence[np.ndarray] | None, copied: float) -> None:
        begun = time.thread_time()
        write_state(self.state, arrays)
        self._costs["state"] = copied + time.thread_time() - begun
        if best is not None:
            begun = time.thread_time()
            self._save_best(best)
            self._costs["best"] = time.thread_time() - begun
            self._written["best"] = time.perf_counter()

    def _save_best(self, weights: Sequence[np.ndarray]) -> None:
        """`best.keras`: the model with these weights; the model that trains is not touched."""
        keras: Any = import_keras()
        temporary = self.best.with_name(f".{os.getpid()}-{self.best.name}")
        with naming_failures(self.best):
            try:
                with keras.StatelessScope(list(zip(self._model.variables, weights, strict=True))):
                    self._model.save(temporary)
                os.replace(temporary, self.best)
            finally:
                with suppress(OSError):
                    temporary.unlink()
