"""More than one device or machine: copies of the model that share every batch, kept equal by averaging gradients.

The global batch size is the spec's: each replica takes its share of the rows of a step, so a step of two replicas is
the step of one, to rounding, where no layer mixes rows (with BatchNormalization: where it is synchronized). The loop of
`kbuild.train.loop` runs its step through `Replicas.run`; nothing of Keras' `fit` is used, whose logs fail under several
workers (keras-team/keras#20585).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, TrainingError, listing
from kbuild.model.backend import import_keras, silenced
from kbuild.spec.strategy import Strategy
from kbuild.train.interrupt import ended_by_ctrl_c

#: How often a worker begins again because another one was lost, and the variable in which it counts.
RESTARTS, COUNTER = 10, "KBUILD_RESTARTS"

#: Where TensorFlow's documentation says that the workers are listed.
TF_CONFIG = "TF_CONFIG"


#: What TensorFlow raises in the workers that are left, by the moment at which one is lost.
_LOST = (
    "UnavailableError",
    "AbortedError",
    "CancelledError",
    "DeadlineExceededError",
    "InternalError",
    "FailedPreconditionError",
    "NotFoundError",
)


class WorkerLost(TrainingError):
    """Another worker is gone, so this one cannot go on."""


@dataclass(frozen=True)
class Replicas:
    """The copies of a model that train together.

    Attributes:
        strategy: a `tf.distribute` strategy; None for a single copy.
        count: replicas on all workers together.
        worker, workers: this process among those of the cluster, from 0.
    """

    strategy: Any = None
    count: int = 1
    worker: int = 0
    workers: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process writes the run; the others compute only."""
        return self.worker == 0

    def scope(self) -> AbstractContextManager[Any]:
        """Variables made inside have a copy on every replica."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def share(self, low: Any, high: Any) -> tuple[Any, Any]:
        """The rows of this worker among the rows from `low` to before `high`."""
        if self.workers == 1:
            return low, high
        if isinstance(low, int):
            return _share(low, high, self.worker, self.workers)
        import tensorflow as tf

        return _share(low, high, self.worker, self.workers, tf.minimum, tf.maximum)

    def test_size(self, rows: int, batch_size: int) -> int:
        """The largest batch size up to `batch_size` for which no replica is without a row in the last step.

        >>> Replicas(count=2).test_size(33, 32), Replicas(count=2).test_size(34, 32), ONE.test_size(33, 32)
        (31, 32, 32)
        """
        sizes = range(batch_size, 0, -1)
        return next((size for size in sizes if rows % size == 0 or rows % size >= self.count), batch_size)

    def run(self, step: Callable[[Any, Any], Any], low: Any, high: Any) -> Any:
        """One step over the rows of this worker from `low` to before `high`, a part on each of its replicas.

        Args:
            step: (first row, row after the last one) → the loss of these rows, a scalar.

        Returns:
            The mean of the losses over all replicas of all workers.
        """
        if self.strategy is None:
            return step(low, high)
        import tensorflow as tf

        local = self.count // self.workers

        def part() -> Any:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return step(*_share(low, high, replica - self.worker * local, local, tf.minimum, tf.maximum))

        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, self.strategy.run(part), axis=None)

    @contextmanager
    def naming_losses(self) -> Iterator[None]:
        """Turn the errors with which TensorFlow says that another worker does not answer into `WorkerLost`."""
        if self.workers == 1:
            yield
            return
        import tensorflow as tf

        try:
            yield
        except tuple(getattr(tf.errors, name) for name in _LOST) as error:
            raise WorkerLost(f"worker {self.worker} cannot go on: another worker is gone") from error

    def check_alike(self, facts: Mapping[str, int]) -> None:
        """Wait for the other workers, and compare: of other steps or shapes they would wait for each other forever.

        Args:
            facts: what it is a number of → the number; the same names on all workers.

        Raises:
            InputError: on all workers, with what is not the same.
        """
        import tensorflow as tf

        own = tf.constant([list(facts.values())], "int64")
        every = self.strategy.gather(self.strategy.run(lambda: own), axis=0).numpy()
        if differing := [name for name, column in zip(facts, every.T, strict=True) if len(set(column)) > 1]:
            hint = "start all of them with one spec, one command line and the same data"
            raise InputError(f"the workers do not train the same, but differ in {listing(differing)}: {hint}")

    def once(self, call: Callable[[], Any]) -> None:
        """Run something in the context of every replica."""
        if self.strategy is None:
            call()
        else:
            self.strategy.run(call)


#: No distribution.
ONE = Replicas()


def _share(low: Any, high: Any, part: Any, parts: int, least: Any = min, most: Any = max) -> tuple[Any, Any]:
    """The `part`th of `parts` ranges that cover low to high, whose lengths differ by one at the most.

    Where there are fewer rows than parts, some rows are in two of them: a mean needs one row at least.

    >>> [_share(0, 7, part, 3) for part in range(3)], [_share(4, 5, part, 2) for part in range(2)]
    ([(0, 2), (2, 4), (4, 7)], [(4, 5), (4, 5)])
    """
    first = least(low + (high - low) * part // parts, high - 1)
    return first, most(low + (high - low) * (part + 1) // parts, first + 1)


def check_cluster(strategy: Strategy | None) -> tuple[int, int]:
    """This process's number among the workers, and how many there are: (0, 1) where nothing is distributed over any.

    Raises:
        InputError: `multiworker` without a TF_CONFIG that TensorFlow could use.
    """
    if strategy is None or strategy.kind != "multiworker":
        return 0, 1
    example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
    text = os.environ.get(TF_CONFIG)
    if not text:
        raise InputError(f"the strategy multiworker needs the environment variable {TF_CONFIG}, for example {example}")
    try:
        config = json.loads(text)
        hosts, task = config["cluster"]["worker"], config["task"]
        kinds, index = set(config["cluster"]), task["index"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{TF_CONFIG} is not as TensorFlow documents it, for example {example}") from None
    good = isinstance(hosts, list) and isinstance(index, int) and not isinstance(index, bool)
    if not good or kinds != {"worker"} or task.get("type") != "worker" or not 0 <= index < len(hosts):
        message = f"{TF_CONFIG} must list workers only, and name one of them as this task (worker 0 writes the run)"
        raise InputError(f"{message}; for example {example}")
    return index, len(hosts)


def make_replicas(
    strategy: Strategy | None, batch_size: int, run_dir: str | Path | None, note: Callable[[str], None] = lambda _: None
) -> Replicas:
    """Set up the devices and, for several workers, the cluster: waits until all of them are there.

    TensorFlow takes this only before anything was computed in the process.

    Args:
        batch_size: of all replicas together.
        run_dir: the run's directory, as it was asked for.
        note: is told what is waited for.

    Raises:
        InputError: more replicas than GPUs, a batch that cannot be shared evenly, several workers without a directory
            for the run, or TensorFlow has begun to compute.
    """
    if strategy is None:
        return ONE
    worker, workers = check_cluster(strategy)
    if workers > 1 and run_dir is None:
        raise InputError("the strategy multiworker needs --run-dir: a directory that every worker sees")
    import_keras()
    import tensorflow as tf

    try:
        if strategy.kind == "multiworker":
            with ended_by_ctrl_c():
                note(f"worker {worker} waits until all {workers} workers of {TF_CONFIG} are there")
                with silenced():
                    made = tf.distribute.MultiWorkerMirroredStrategy()
        else:
            made = tf.distribute.MirroredStrategy(_devices(strategy.replicas))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the strategy {strategy.kind} has to be set up first in a process: {reason}") from error
    count = made.num_replicas_in_sync
    if batch_size % count:
        near = max(count, round(batch_size / count) * count)
        message = f"a batch of {batch_size} rows cannot be shared evenly by {count} replicas"
        raise InputError(f"{message}; try --batch-size {near}")
    return Replicas(made, count, worker, workers)


def _devices(replicas: int | None) -> list[str]:
    """GPUs, as many as asked for or all; logical CPU devices where the machine has no GPU."""
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU") if tf.config.list_physical_devices("GPU") else []
    if gpus:
        if replicas is not None and replicas > len(gpus):
            raise InputError(f"{replicas} replicas were asked for, and there are {len(gpus)} GPUs")
        return [device.name for device in gpus[:replicas]]
    count = replicas or 1
    cpu = tf.config.list_physical_devices("CPU")[0]
    if count > 1 and len(tf.config.get_logical_device_configuration(cpu) or ()) < count:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return [f"CPU:{number}" for number in range(count)]


def start_again(command: Sequence[str], reason: str) -> None:
    """Replace this process by one that goes on from the last state and waits for all workers; return if it may not.

    A cluster of TensorFlow cannot take a new worker in: every process has to join anew.

    Args:
        command: the command line; its first word is left out.
    """
    count = int(os.environ.get(COUNTER, "0")) + 1
    if count > RESTARTS:
        return
    os.environ[COUNTER] = str(count)
    print(f"{reason}; waiting for all workers, then on from the last state ({count})", file=sys.stderr, flush=True)
    sys.stdout.flush()
    words = [word for word in command[1:] if word not in ("--overwrite", "--resume")]
    os.execv(sys.executable, [sys.executable, "-m", "kbuild", *words, "--resume"])
