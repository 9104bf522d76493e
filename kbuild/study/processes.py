"""Worker processes on this machine: `python -m kbuild.study.worker`, spoken to in lines of JSON."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbuild.errors import WorkError
from kbuild.study.executors import THREADS, Message, Worker, Workers, cores
from kbuild.study.record import Task


@dataclass
class Processes(Workers):
    """Worker processes on this machine.

    Attributes:
        folder: the study's directory.
        workers: how many; None for one per core.
        threads: cores of each. One each is fastest for small models, and gives the same numbers for any number of
            workers: sums over several threads depend on how many there are.
        command: what starts a worker.
    """

    folder: Path
    workers: int | None = None
    threads: int = 1
    command: tuple[str, ...] = (sys.executable, "-m", "kbuild.study.worker")
    _inbox: queue.Queue[tuple[Worker, Message]] = field(default_factory=queue.Queue)

    def count(self, tasks: int) -> int:
        return min(self.workers or cores(), tasks)

    def start(self) -> Worker:
        one = str(self.threads)
        threads = dict.fromkeys(THREADS, one)
        environment = {**os.environ, **threads, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        return _Process([*self.command, str(self.folder), one], environment, self._inbox)

    def hear(self, seconds: float) -> tuple[Worker, Message] | None:
        try:
            return self._inbox.get(timeout=seconds)
        except queue.Empty:
            return None


class _Process(Worker):
    """A process with lines in and lines out."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], inbox: queue.Queue[Any]):
        super().__init__()
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, encoding="utf-8", errors="replace",
                start_new_session=True,  # Ctrl-C is for the parent
            )  # fmt: skip
        except OSError as error:
            raise WorkError(f"a worker cannot start: {error}") from error
        self._words: deque[str] = deque(maxlen=30)
        self._threads = [threading.Thread(target=self._listen, args=(inbox,), daemon=True)]
        self._threads.append(threading.Thread(target=self._overhear, daemon=True))
        for thread in self._threads:
            thread.start()

    def _listen(self, inbox: queue.Queue[Any]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                inbox.put((self, json.loads(line)))
            except ValueError:  # the half of a line that a killed process leaves
                break
        self.process.wait()
        inbox.put((self, None))

    def _overhear(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._words.append(line)

    def send(self, task: Task) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(json.dumps(task.to_dict()) + "\n")
            self.process.stdin.flush()

    @property
    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        self._threads[1].join(timeout=1)
        return "".join(self._words)

    def end(self) -> tuple[str, str]:
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return "died", f"the worker process was killed by {name}{hint}"
        return "died", f"the worker process ended with exit code {code}"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
