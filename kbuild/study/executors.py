"""Where trials run. An executor takes tasks from a `Pending` and tells what becomes of them, nothing else.

What all executors share is here: workers are given tasks and heard. Where workers are is another module's:
`kbuild.study.processes` on this machine, `kbuild.study.cluster` on a Ray cluster. What they run is
`kbuild.study.worker.Runner.run`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from kbuild.errors import WorkError
from kbuild.study.design import NotMeasured, Trial
from kbuild.study.record import Record, Task, failed

#: Environment variables by which an executor gives a worker its threads.
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


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
    """A worker has started; `environment` is of `kbuild.train.environment`."""

    environment: dict[str, Any]


@dataclass(frozen=True)
class Idle:
    """Nothing has happened for a moment: time to look at the clock and at Ctrl-C."""


Event: TypeAlias = "Began | Ended | Ready | Idle"


class Pending:
    """Trials that wait, by arm. A worker is given its own arm's first: another one costs it a trace."""

    def __init__(self, trials: Iterable[Trial]):
        self._waiting: dict[str, deque[Task]] = {}
        for trial in trials:
            self.put(Task(trial))

    def put(self, task: Task) -> None:
        """A trial, for the first time or again."""
        self._waiting.setdefault(task.trial.arm, deque()).append(task)

    def take(self, own: str | None, busy: Sequence[str]) -> Task | None:
        """The next task for a worker that has traced `own`, the others being at the arms `busy`; None for none."""
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
            NotMeasured: the question names what trials do not measure.
        """
        ...


@dataclass
class Worker(ABC):
    """One that runs a task at a time, somewhere.

    Attributes:
        ready: whether it has started.
        task: what it runs, or None.
        arm: what it ran last, which it has traced.
    """

    ready: bool = False
    task: Task | None = None
    arm: str | None = None

    @abstractmethod
    def send(self, task: Task) -> None:
        """Give it a task. One that has died says nothing; that is heard next."""

    @abstractmethod
    def end(self) -> tuple[str, str]:
        """Of one that has died: the state of `kbuild.study.record.STATES` of what it ran, and how it died."""

    @property
    def last_words(self) -> str:
        """What it said before it died, or nothing."""
        return ""

    @abstractmethod
    def stop(self) -> None:
        """End it at once."""


#: What workers say: {"ready": ..., "environment": ...} once, after each task {"record": ...}, or {"not_measured": WHY}
#: where no seed will do; None when they have died.
Message: TypeAlias = "dict[str, Any] | None"


class Workers(ABC):
    """An executor of several workers, each with a task of its own."""

    @abstractmethod
    def count(self, tasks: int) -> int:
        """How many workers so many tasks are given to."""

    @abstractmethod
    def start(self) -> Worker:
        """A new worker.

        Raises:
            WorkError: there can be none.
        """

    @abstractmethod
    def hear(self, seconds: float) -> tuple[Worker, Message] | None:
        """What a worker says next; None where none says anything for so long."""

    def events(self, pending: Pending) -> Iterator[Event]:
        """See `Executor.events`."""
        alive: list[Worker] = []
        try:
            for _ in range(self.count(len(pending))):
                alive.append(self.start())
            while alive and (pending or any(worker.task for worker in alive)):
                heard = self.hear(0.25)
                if heard is None:
                    yield Idle()
                    continue
                worker, message = heard
                yield from self._heard(worker, message, alive)
                if message is None and pending:
                    alive.append(self.start())
                for idle in [one for one in alive if one.ready and one.task is None]:
                    busy = [one.arm for one in alive if one is not idle and one.arm and one.task]
                    task = pending.take(idle.arm, busy)
                    if task is not None:
                        idle.task, idle.arm = task, task.trial.arm
                        idle.send(task)
                        yield Began(task.trial)
        finally:
            for worker in alive:
                worker.stop()

    def _heard(self, worker: Worker, message: Message, alive: list[Worker]) -> Iterator[Event]:
        task, worker.task = worker.task, None
        if message is None:
            alive.remove(worker)
            state, why = worker.end()
            self.lost(worker, why)
            if task is not None:
                yield Ended(task.trial, task.told(failed(task.trial, state, why)))
        elif "ready" in message:
            worker.ready = True
            yield Ready(message.get("environment") or {})
        elif "not_measured" in message:
            raise NotMeasured(message["not_measured"])
        elif task is not None:
            yield Ended(task.trial, Record.from_dict(message["record"]))

    def lost(self, worker: Worker, why: str) -> None:
        """A worker has died; another one takes its place.

        Raises:
            WorkError: it never started, and the next one would not either.
        """
        if not worker.ready:
            raise WorkError(f"a worker cannot start: {why}\n{worker.last_words}".rstrip())


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
