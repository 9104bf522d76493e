"""A worker process: loads TensorFlow once, then takes trials, one line of JSON each, until its input ends.

`python -m kbuild.study.worker DIRECTORY THREADS` reads `{"trial": ID, "earlier": []}` and answers `{"ready": ...}` once
and per trial `{"record": ...}`, or `{"not_measured": WHY}` where no seed can be right. A finished trial is on disk
before it is announced, so a killed parent loses none. When the parent is gone the worker ends: its input closes.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from kbuild.files import finite
from kbuild.study.design import NotMeasured
from kbuild.study.examples import Shelf
from kbuild.study.folder import open_folder
from kbuild.study.record import Record, Task, failed, write_record

#: Traced models a worker keeps; trials come arm by arm.
_KEPT = 2


class Runner:
    """Runs trials of the study in a directory: the function that every executor calls.

    Args:
        folder: the study's directory.
        threads: cores of this process; TensorFlow must not have run anything yet.
        shelf: the examples that need not be read any more, or None.
    """

    def __init__(self, folder: Path, threads: int, shelf: Shelf | None = None):
        from kbuild.model.backend import import_keras

        with _without("matplotlib"):
            import_keras()
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self.folder = open_folder(folder)
        self.design = self.folder.design()
        self.shelf = shelf or Shelf()
        self._sessions: dict[str, Any] = {}

    def run(self, task: Task) -> Record:
        """Run one trial; all that goes wrong with it is in its record.

        Raises:
            NotMeasured: the question names what the arm does not measure.
        """
        trial = task.trial
        try:
            record = self._session(trial.arm).run(trial)
        except NotMeasured:
            raise
        except Exception as error:
            self._sessions.pop(trial.arm, None)
            record = failed(trial, "error", f"{type(error).__name__}: {error}")
        return Record.from_dict(finite(task.told(record).to_dict()))

    def _session(self, label: str) -> Any:
        from kbuild.study.session import Session

        if label not in self._sessions:
            while len(self._sessions) >= _KEPT:
                self._sessions.pop(next(iter(self._sessions)))
            spec, plan = self.folder.compiled(self.design, self.design.arm(label))
            settings = self.design.settings(spec)
            self._sessions[label] = Session(spec, plan, settings, self.shelf, self.design.metric)
        return self._sessions[label]


@contextmanager
def _without(package: str) -> Iterator[None]:
    """As if a package were not installed: Keras imports one that only drawings need, which takes half a second."""
    missing = package not in sys.modules
    if missing:
        sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if missing:
            del sys.modules[package]


def main() -> None:
    """Serve until the input ends."""
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints does not mix with the answers
    tasks = _tasks(sys.stdin)
    runner = Runner(folder, threads)
    from kbuild.train.environment import environment

    _say(answers, {"ready": True, "environment": environment()})
    trials = {trial.id: trial for trial in runner.design.trials}
    while True:
        told = tasks.get()
        try:
            record = runner.run(Task(trials[told["trial"]], tuple(told["earlier"])))
        except NotMeasured as error:
            _say(answers, {"not_measured": str(error)})
            continue
        if record.settled:
            write_record(folder, record)
        _say(answers, {"record": record.to_dict()})


def _say(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _tasks(stream: TextIO) -> queue.Queue[dict[str, Any]]:
    """Tasks as they come in; the process ends where they end, in the middle of a trial too."""
    tasks: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in stream:
            tasks.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return tasks


if __name__ == "__main__":
    main()
