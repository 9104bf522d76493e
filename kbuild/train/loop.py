"""The compiled loop: data resident in memory, many steps per call, the mathematics Keras' own.

One step gathers a batch by a permutation and calls `model.train_step`, so losses, metrics, regularization, loss scaling
and the optimizer are exactly those of `fit`. What `fit` adds around each step (an iterator, callbacks, logs) happens
once per chunk of steps here. The bounds of a chunk are tensors, so chunks of any length share one trace.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kbuild.errors import TrainingError
from kbuild.model.backend import import_keras
from kbuild.train.data.arrays import Named, Split

#: A chunk of steps takes about this long, so that progress moves and Ctrl-C is heard.
CHUNK_SECONDS = 0.2


def permutation(seed: int, epoch: int, rows: int) -> np.ndarray:
    """The order of the data in an epoch: a pure function of (seed, epoch), the same on every machine.

    >>> permutation(0, 0, 5).tolist() == permutation(0, 0, 5).tolist() != permutation(0, 1, 5).tolist()
    True
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(rows)


class Chunks:
    """Bounds of chunks whose length follows the time they take.

    Args:
        single: one step at a time, for callbacks that act on every batch.
    """

    def __init__(self, single: bool = False, clock: Callable[[], float] = time.perf_counter):
        self.single, self.clock, self.size, self.calls = single, clock, 1, 0

    def bounds(self, start: int, steps: int) -> Iterator[tuple[int, int]]:
        """Yield (begin, end) from `start` until `steps` is reached."""
        while start < steps:
            end = min(start + self.size, steps)
            before = self.clock()
            yield start, end
            self._learn(end - start, self.clock() - before)
            start = end

    def _learn(self, steps: int, seconds: float) -> None:
        self.calls += 1
        if self.single or self.calls == 1:  # the first call is mostly tracing
            return
        wanted = int(steps * CHUNK_SECONDS / max(seconds, 1e-6))
        self.size = max(1, min(wanted, self.size * 8))


class Loop:
    """Compiled training and evaluation of a compiled Keras model on resident data.

    Args:
        model: built and compiled.
        train: the examples to learn from, or None where nothing is trained.
        batch_size: rows per step; the last step of an epoch takes what is left, as in `fit`.
        augment: layers applied to the input of a training step.
        class_weight: class → weight, as in `fit`.
    """

    def __init__(
        self,
        model: Any,
        train: Split | None,
        batch_size: int,
        augment: Sequence[Any] = (),
        class_weight: dict[int, float] | None = None,
    ):
        keras: Any = import_keras()
        import tensorflow as tf

        self.tf, self.keras, self.model, self.batch_size = tf, keras, model, batch_size
        self.augment = list(augment)
        self._weights = None if class_weight is None else tf.constant(_weight_table(class_weight))
        self._tests: dict[int, tuple[Split, Callable[..., Any]]] = {}
        self._train, self.rows = train, train.rows if train else 0
        if train:
            self._x, self._y = self.resident(train.x), self.resident(train.y)
            _prepare(model, self._structure(self._x, 2), self._structure(self._y, 2, targets=True))
            for layer in self.augment:  # their variables exist before the step is traced
                layer(tf.cast(self._structure(self._x, 1), "float32"), training=True)
            self._run = self._compile(self._train_step)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return -(-self.rows // self.batch_size)

    @property
    def variables(self) -> list[Any]:
        """Variables of the loop that are not the model's: seeds of augmentation layers."""
        return [variable for layer in self.augment for variable in layer.variables]

    def order(self, permuted: np.ndarray) -> Any:
        """A permutation as the tensor `train_chunk` takes."""
        return self.tf.constant(permuted.astype("int64"))

    def train_chunk(self, order: Any, start: int, stop: int) -> int:
        """Run the steps from `start` to before `stop`; return the step that was reached, past the last one run.

        Raises:
            OutOfMemory: the device has no memory for a step.
            NonFinite: the loss of a step is NaN or infinite; no step after it was run.
        """
        tf = self.tf
        with self._memory_errors():
            reached, good = self._run(order, tf.constant(start), tf.constant(stop), tf.constant(self.rows))
            step = int(reached)
        if not bool(good):
            raise NonFinite(step - 1)
        return step

    def evaluate(self, split: Split, stopped: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Loss and metrics over a split, as `model.evaluate` gives them. `stopped` is asked between chunks."""
        tf, model = self.tf, self.model
        if id(split) not in self._tests:
            own = split is self._train
            x, y = (self._x, self._y) if own else (self.resident(split.x), self.resident(split.y))
            if not self.rows:
                _prepare(model, self._structure(x, 2), self._structure(y, 2, targets=True))

            def step(start: Any, stop: Any, order: Any) -> Any:
                return model.test_step((self._structure(x, (start, stop)), self._structure(y, (start, stop), True)))

            self._tests[id(split)] = split, self._compile(step)
        run = self._tests[id(split)][1]
        model.reset_metrics()
        none, rows = tf.zeros([0], "int64"), tf.constant(split.rows)
        with self._memory_errors():
            for begin, end in Chunks().bounds(0, -(-split.rows // self.batch_size)):
                run(none, tf.constant(begin), tf.constant(end), rows)
                if stopped():
                    break
        return self.metrics()

    def metrics(self) -> dict[str, float]:
        """What the metrics say now: name → value."""
        return {name: float(value) for name, value in flat(self.model.get_metrics_result()).items()}

    def resident(self, arrays: Named) -> dict[str, Any]:
        """Arrays as tensors on the device; on the host where the device has no room for them."""
        tf = self.tf
        try:
            return {name: tf.constant(array) for name, array in arrays.items()}
        except tf.errors.ResourceExhaustedError:
            with tf.device("CPU:0"):
                return {name: tf.constant(array) for name, array in arrays.items()}

    def _compile(self, step: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
        tf, size = self.tf, self.batch_size

        def run(order: Any, start: Any, stop: Any, rows: Any) -> Any:
            def body(at: Any, good: Any) -> Any:
                logs = step(at * size, tf.minimum((at + 1) * size, rows), order)
                return at + 1, tf.math.is_finite(logs["loss"])

            def going(at: Any, good: Any) -> Any:
                return tf.logical_and(at < stop, good)

            return tf.while_loop(going, body, (start, tf.constant(True)), parallel_iterations=1)

        number = tf.TensorSpec([], "int32")
        signature = [tf.TensorSpec([None], "int64"), number, number, number]
        return tf.function(run, input_signature=signature, autograph=False)

    def _train_step(self, start: Any, stop: Any, order: Any) -> Any:
        tf = self.tf
        index = order[start:stop]
        x = self._structure({name: tf.gather(tensor, index) for name, tensor in self._x.items()})
        y = {name: tf.gather(tensor, index) for name, tensor in self._y.items()}
        for layer in self.augment:
            x = layer(tf.cast(x, "float32"), training=True)
        if self._weights is None:
            return self.model.train_step((x, self._structure(y, targets=True)))
        labels = next(iter(y.values()))
        labels = labels if labels.shape.rank == 1 else tf.argmax(labels, axis=-1)
        inside = tf.minimum(tf.cast(labels, "int64"), len(self._weights) - 1)
        return self.model.train_step((x, self._structure(y, targets=True), tf.gather(self._weights, inside)))

    def _structure(self, arrays: dict[str, Any], rows: Any = None, targets: bool = False) -> Any:
        """What Keras takes: one tensor for one input or output, else inputs by name, targets in the order of outputs.

        `rows` cuts the first rows, or a (start, stop) of them.
        """
        if rows is not None:
            cut = slice(*rows) if isinstance(rows, tuple) else slice(rows)
            arrays = {name: tensor[cut] for name, tensor in arrays.items()}
        if len(arrays) == 1:
            return next(iter(arrays.values()))
        return list(arrays.values()) if targets else arrays

    def _memory_errors(self) -> _MemoryErrors:
        return _MemoryErrors(self.tf, self.batch_size)


class Diverged(TrainingError):
    """The loss became NaN or infinite."""


class OutOfMemory(TrainingError):
    """The device has no memory for a step."""


class NonFinite(Exception):
    """The loss of step `step` (from 0, within the epoch) is NaN or infinite."""

    def __init__(self, step: int):
        super().__init__(step)
        self.step = step


class _MemoryErrors:
    """Turns the device's out-of-memory error into `OutOfMemory`."""

    def __init__(self, tf: Any, batch_size: int):
        self.tf, self.batch_size = tf, batch_size

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, (self.tf.errors.ResourceExhaustedError, MemoryError)):
            message = f"out of memory at batch size {self.batch_size}; try a smaller one (--batch-size)"
            raise OutOfMemory(message) from error
        if isinstance(error, self.tf.errors.InvalidArgumentError):
            raise TrainingError(f"TensorFlow refuses a step: {_first_reason(str(error))}") from error


def _first_reason(text: str) -> str:
    """The line of a TensorFlow error that says what is wrong: `indices[3,5] = 1999 is not in [0, 1000)`."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return next((line for line in lines if " is not in [" in line or "must be" in line), lines[0] if lines else "")


def flat(logs: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Logs with nested mappings (metrics by output) written as `output_metric`."""
    result: dict[str, Any] = {}
    for name, value in logs.items():
        if isinstance(value, dict):
            result.update(flat(value, f"{prefix}{name}_"))
        else:
            result[prefix + name] = value
    return result


def _prepare(model: Any, x: Any, y: Any) -> None:
    """Create the variables of optimizer, loss and metrics before anything is traced; values stay as they were."""
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    model.test_step((x, y))
    model.reset_metrics()


def _weight_table(class_weight: dict[int, float]) -> np.ndarray:
    """Weights by class; the last entry, 1, stands for every class beyond the largest named one."""
    table = np.ones(max(class_weight) + 2, "float32")
    for label, weight in class_weight.items():
        table[label] = weight
    return table
