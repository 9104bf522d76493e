"""Where trials run. An executor takes trials from a `Pending` and tells what becomes of them, nothing else.

Another one (a cluster) needs one method; what it runs on the other side is `kbuild.study.worker.Runner.run`.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from kbuild.errors import WorkError
from kbuild.study.design import Trial
from kbuild.study.record import Record


@dataclass(frozen=True)
class Began:
    """A trial was handed to a worker."""

    trial: Trial


@dataclass(frozen=True)
class Ended:
    """A trial has ended, well or not."""

    trial: Trial
    record: Record


@dataclass(frozen=True)
class Ready:
    """A worker has started; `environment` is of `kbuild.train.rundir.environment`."""

    environment: dict[str, Any]


@dataclass(frozen=True)
class Idle:
    """Nothing has happened for a moment: time to look at the clock and at Ctrl-C."""


Event: TypeAlias = "Began | Ended | Ready | Idle"


class Pending:
    """Trials that wait, by arm. A worker is given its own arm's first: another one costs it a trace."""

    def __init__(self, trials: Iterable[Trial]):
        self._waiting: dict[str, deque[tuple[Trial, int]]] = {}
        for trial in trials:
            self.put(trial, 1)

    def put(self, trial: Trial, attempt: int) -> None:
        """A trial, and the how-manieth time it is begun."""
        self._waiting.setdefault(trial.arm, deque()).append((trial, attempt))

    def take(self, own: str | None, busy: Sequence[str]) -> tuple[Trial, int] | None:
        """The next trial for a worker that has traced `own`, the others being at the arms `busy`; None for none."""
        waiting = {arm: trials for arm, trials in self._waiting.items() if trials}
        if not waiting:
            return None
        if own not in waiting:
            own = max(waiting, key=lambda arm: (arm not in busy, len(waiting[arm]) / (1 + busy.count(arm))))
        assert own is not None
        return waiting[own].popleft()

    def __len__(self) -> int:
        return sum(len(trials) for trials in self._waiting.values())


class Executor(Protocol):
    """Runs trials somewhere."""

    def events(self, pending: Pending) -> Iterator[Event]:
        """Run until `pending` is empty and all that was taken has ended; trials may be put back in between.

        Raises:
            WorkError: no worker can be started.
        """
        ...


@dataclass
class Processes:
    """Worker processes on this machine.

    Attributes:
        folder: the study's directory.
        workers: how many.
        threads: cores of each. One each is fastest for small models, and gives the same numbers for any number of
            workers: sums over several threads depend on how many there are.
        command: what starts a worker.
    """

    folder: Path
    workers: int
    threads: int = 1
    command: tuple[str, ...] = (sys.executable, "-m", "kbuild.study.worker")
    _inbox: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = field(default_factory=queue.Queue)

    def events(self, pending: Pending) -> Iterator[Event]:
        """See `Executor.events`."""
        alive: list[_Worker] = []
        try:
            for _ in range(min(self.workers, len(pending))):
                alive.append(self._start())
            while alive and (pending or any(worker.trial for worker in alive)):
                try:
                    worker, message = self._inbox.get(timeout=0.25)
                except queue.Empty:
                    yield Idle()
                    continue
                yield from self._heard(worker, message, alive)
                if message is None and pending:
                    alive.append(self._start())
                for idle in [one for one in alive if one.ready and one.trial is None]:
                    yield from idle.next(
                        pending, [one.arm for one in alive if one is not idle and one.arm and one.trial]
                    )
        finally:
            for worker in alive:
                worker.stop()

    def _heard(self, worker: _Worker, message: dict[str, Any] | None, alive: list[_Worker]) -> Iterator[Event]:
        if message is None:
            alive.remove(worker)
            why = worker.why()
            if not worker.ready:
                raise WorkError(f"a worker process cannot start: {why}\n{worker.last_words}".rstrip())
            if worker.trial is not None:
                trial, attempt = worker.trial
                yield Ended(trial, Record(trial.id, trial.arm, trial.seed, "died", why, attempt))
        elif "ready" in message:
            worker.ready = True
            yield Ready(message.get("environment") or {})
        elif worker.trial is not None:
            trial, _ = worker.trial
            worker.trial = None
            yield Ended(trial, Record.from_dict(message["record"]))

    def _start(self) -> _Worker:
        one = str(self.threads)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), one)
        environment = {**os.environ, **threads, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        return _Worker([*self.command, str(self.folder), one], environment, self._inbox)


class _Worker:
    """A process with lines in and lines out."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], inbox: queue.Queue[Any]):
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, encoding="utf-8", errors="replace",
                start_new_session=True,  # Ctrl-C is for the parent
            )  # fmt: skip
        except OSError as error:
            raise WorkError(f"a worker process cannot start: {error}") from error
        self.ready = False
        self.trial: tuple[Trial, int] | None = None
        self.arm: str | None = None
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

    def next(self, pending: Pending, busy: Sequence[str]) -> Iterator[Event]:
        """Take a trial, if there is one."""
        taken = pending.take(self.arm, busy)
        if taken is None:
            return
        self.trial, self.arm = taken, taken[0].arm
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"trial": taken[0].id, "attempt": taken[1]}) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has died; that is heard next
        yield Began(taken[0])

    @property
    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        self._threads[1].join(timeout=1)
        return "".join(self._words)

    def why(self) -> str:
        """How the process ended."""
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"the worker process was killed by {name}{hint}"
        return f"the worker process ended with exit code {code}"

    def stop(self) -> None:
        """End it at once; what it has finished is on disk."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
