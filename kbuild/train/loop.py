"""The compiled loop: many steps per call, the mathematics Keras' own.

One step gathers a batch by a permutation and calls `model.train_step`, so losses, metrics, regularization, loss scaling
and the optimizer are exactly those of `fit`. What `fit` adds around each step (an iterator, callbacks, logs) happens
once per chunk of steps here. The bounds of a chunk are tensors, so chunks of any length share one trace. Data that are
not resident in memory are read ahead of the steps by threads, one call a step, with the same results to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kbuild.model.backend import import_keras
from kbuild.train.data.arrays import Named, Split
from kbuild.train.data.stream import Stream
from kbuild.train.failures import NonFinite, naming_step_failures
from kbuild.train.strategy import ONE, Replicas

#: Arrays or tensors of a batch, or of a whole split: "x", "y" and where there are some "weight", each by layer.
Sides = dict[str, dict[str, Any]]

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
    """Compiled training and evaluation of a compiled Keras model.

    Args:
        model: built and compiled.
        train: the examples to learn from, or None where nothing is trained.
        batch_size: rows per step; the last step of an epoch takes what is left, as in `fit`.
        augment: layers applied to the input of a training step.
        class_weight: class → weight, as in `fit`.
        replicas: that share each batch; the model and the augmentation are made in their scope.
    """

    def __init__(
        self,
        model: Any,
        train: Split | None,
        batch_size: int,
        augment: Sequence[Any] = (),
        class_weight: dict[int, float] | None = None,
        replicas: Replicas = ONE,
    ):
        keras: Any = import_keras()
        import tensorflow as tf

        self.tf, self.keras, self.model, self.batch_size = tf, keras, model, batch_size
        self.augment, self.replicas = list(augment), replicas
        self._weights = None if class_weight is None else tf.constant(_weight_table(class_weight))
        self._tests: dict[int, tuple[Split, Callable[..., Any]]] = {}
        self._streams: dict[tuple[int, int], Stream] = {}
        self._train, self.rows = train, train.rows if train else 0
        if train:
            self._held: Sides = {} if not train.resident else self._resident(train)
            with replicas.scope():
                self._prepare(train)
                for layer in self.augment:  # their variables exist before the step is traced
                    layer(tf.cast(self._structure(self._first(train, 1)["x"]), "float32"), training=True)
            self._run = (
                self._compile(self._gather_and_train, batch_size)
                if train.resident
                else self._compile_batch(self._learn, train)
            )

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return -(-self.rows // self.batch_size)

    @property
    def variables(self) -> list[Any]:
        """Variables of the loop that are not the model's: seeds of augmentation layers."""
        return [variable for layer in self.augment for variable in layer.variables]

    def chunks(self, single: bool = False) -> Chunks:
        """Chunks of steps that fit this loop."""
        # Workers meet within every step, as the step of a chunk: theirs are the same, whatever time each of them takes.
        return Chunks(single, time.perf_counter if self.replicas.workers == 1 else lambda: 0.0)

    def order(self, permuted: np.ndarray) -> Any:
        """A permutation as `train_chunk` takes it."""
        permuted = permuted.astype("int64")
        return permuted if self._train is not None and not self._train.resident else self.tf.constant(permuted)

    def train_chunk(self, order: Any, start: int, stop: int) -> int:
        """Run the steps from `start` to before `stop`; return the step that was reached, past the last one run.

        Raises:
            OutOfMemory: the device has no memory for a step.
            NonFinite: the loss of a step is NaN or infinite; no step after it was run.
            TrainingError: a data file is not what it was.
        """
        tf = self.tf
        with naming_step_failures(self.batch_size):
            if isinstance(order, np.ndarray):
                assert self._train is not None
                for step, batch in enumerate(
                    self._stream(self._train, self.batch_size).batches(order, start, stop), start
                ):
                    if not bool(self._run(batch)):
                        raise NonFinite(step)
                return stop
            reached, good = self._run(order, tf.constant(start), tf.constant(stop), tf.constant(self.rows))
            step = int(reached)
        if not bool(good):
            raise NonFinite(step - 1)
        return step

    def evaluate(self, split: Split, stopped: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Loss and metrics over a split, as `model.evaluate` gives them. `stopped` is asked between chunks.

        Raises:
            OutOfMemory: the device has no memory for a step.
            TrainingError: a data file is not what it was.
        """
        if not self.rows and not self._tests:
            self._prepare(split)
        if id(split) not in self._tests:
            run = (
                self._compile(self._slice_and_test(split), self._test_size(split))
                if split.resident
                else self._compile_batch(self._test, split)
            )
            self._tests[id(split)] = split, run
        run = self._tests[id(split)][1]
        self.model.reset_metrics()
        steps = -(-split.rows // self.batch_size)
        with naming_step_failures(self.batch_size):
            for _ in (
                self._test_resident(run, split, steps) if split.resident else self._test_streamed(run, split, steps)
            ):
                if stopped():
                    break
        return self.metrics()

    def _test_resident(self, run: Callable[..., Any], split: Split, steps: int) -> Iterator[None]:
        tf = self.tf
        none, rows = tf.zeros([0], "int64"), tf.constant(split.rows)
        for begin, end in self.chunks().bounds(0, steps):
            run(none, tf.constant(begin), tf.constant(end), rows)
            yield

    def _test_streamed(self, run: Callable[..., Any], split: Split, steps: int) -> Iterator[None]:
        stream = self._stream(split, self._test_size(split))
        for batch in stream.batches(np.arange(split.rows), 0, steps):
            run(batch)
            yield
        stream.rewind()

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

    def _resident(self, split: Split) -> Sides:
        return {side: self.resident(named) for side, named in split.sides.items()}

    def _first(self, split: Split, rows: int) -> Sides:
        """The first rows of a split, as tensors."""
        return self._tensors(split.read(slice(rows)))

    def _tensors(self, batch: Split) -> Sides:
        with self.tf.device("CPU:0"):
            return {
                side: {name: self.tf.constant(values) for name, values in named.items()}
                for side, named in batch.sides.items()
            }

    def _stream(self, split: Split, size: int) -> Stream:
        key = id(split), size
        if key not in self._streams:
            self._streams[key] = Stream(split, size, self._tensors, self.replicas.share)
        return self._streams[key]

    def _prepare(self, split: Split) -> None:
        """Create the variables of optimizer, loss and metrics before anything is traced; values stay as they were."""
        model = self.model
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        first = self._given(self._first(split, 2))
        self.replicas.once(lambda: model.test_step(first))
        model.reset_metrics()

    def _compile(self, step: Callable[[Any, Any, Any], Any], size: int) -> Callable[..., Any]:
        tf = self.tf

        def run(order: Any, start: Any, stop: Any, rows: Any) -> Any:
            def body(at: Any, good: Any) -> Any:
                low, high = self.replicas.share(at * size, tf.minimum((at + 1) * size, rows))
                loss = self.replicas.run(lambda first, last: step(first, last, order)["loss"], low, high)
                return at + 1, tf.math.is_finite(loss)

            def going(at: Any, good: Any) -> Any:
                return tf.logical_and(at < stop, good)

            return tf.while_loop(going, body, (start, tf.constant(True)), parallel_iterations=1)

        number = tf.TensorSpec([], "int32")
        signature = [tf.TensorSpec([None], "int64"), number, number, number]
        return tf.function(run, input_signature=signature, autograph=False)

    def _compile_batch(self, step: Callable[[Sides], Any], split: Split) -> Callable[..., Any]:
        """A function of one batch of a split: whether its loss is finite."""
        tf = self.tf
        like = self._first(split, 1)

        def spec(side: str, name: str, values: Any) -> Any:
            shape = split.sides[side][name].shape
            return tf.TensorSpec([None, *shape[1:]], values.dtype)

        signature = {s: {n: spec(s, n, values) for n, values in named.items()} for s, named in like.items()}

        def run(batch: Sides) -> Any:
            def part(first: Any, last: Any) -> Any:
                return step({s: {n: v[first:last] for n, v in named.items()} for s, named in batch.items()})["loss"]

            rows = tf.shape(next(iter(batch["x"].values())))[0]
            return tf.math.is_finite(self.replicas.run(part, 0, rows))

        return tf.function(run, input_signature=[signature], autograph=False)

    def _gather_and_train(self, start: Any, stop: Any, order: Any) -> Any:
        tf, index = self.tf, order[start:stop]
        return self._learn({s: {n: tf.gather(v, index) for n, v in named.items()} for s, named in self._held.items()})

    def _slice_and_test(self, split: Split) -> Callable[[Any, Any, Any], Any]:
        held = self._held if split is self._train else self._resident(split)

        def step(start: Any, stop: Any, order: Any) -> Any:
            return self._test({s: {n: v[start:stop] for n, v in named.items()} for s, named in held.items()})

        return step

    def _test(self, batch: Sides) -> Any:
        return self.model.test_step(self._given(batch))

    def _learn(self, batch: Sides) -> Any:
        tf = self.tf
        x, y, *weight = self._given(batch)
        for layer in self.augment:
            x = layer(tf.cast(x, "float32"), training=True)
        if self._weights is not None:
            labels = next(iter(batch["y"].values()))
            labels = labels if labels.shape.rank == 1 else tf.argmax(labels, axis=-1)
            inside = tf.minimum(tf.cast(labels, "int64"), len(self._weights) - 1)
            of_class = tf.gather(self._weights, inside)
            weight = [of_class * weight[0] if weight else of_class]
        return self.model.train_step((x, y, *weight))

    def _given(self, batch: Sides) -> tuple[Any, ...]:
        """What `train_step` takes: inputs, targets and, where there are some, weights."""
        weight = (self._structure(batch["weight"], True),) if "weight" in batch else ()
        return (self._structure(batch["x"]), self._structure(batch["y"], True), *weight)

    def _test_size(self, split: Split) -> int:
        return self.replicas.test_size(split.rows, self.batch_size)

    def _structure(self, values: dict[str, Any], targets: bool = False) -> Any:
        """One tensor for one input or output, else inputs by name, targets in the order of outputs."""
        if len(values) == 1:
            return next(iter(values.values()))
        return list(values.values()) if targets else values


def flat(logs: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Logs with nested mappings (metrics by output) written as `output_metric`."""
    result: dict[str, Any] = {}
    for name, value in logs.items():
        if isinstance(value, dict):
            result.update(flat(value, f"{prefix}{name}_"))
        else:
            result[prefix + name] = value
    return result


def _weight_table(class_weight: dict[int, float]) -> np.ndarray:
    """Weights by class; the last entry, 1, stands for every class beyond the largest named one."""
    table = np.ones(max(class_weight) + 2, "float32")
    for label, weight in class_weight.items():
        table[label] = weight
    return table
