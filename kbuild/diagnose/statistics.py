"""Mean and variance that every batch normalization really reads at inference, pooled exactly over data.

Moving averages forget; these do not. The moments of batches are pooled as Chan, Golub and LeVeque 1983 do it
(Algorithms for Computing the Sample Variance), in float64, so nothing is lost by cancellation:
M = M_a + M_b + (m_b − m_a)² n_a n_b / (n_a + n_b).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kbuild.model.backend import import_keras

Array = np.ndarray

#: A channel whose variance is below this in one of the statistics carries nothing, and no ratio is taken of it.
SILENT = 1e-8

#: Rows per pass through the model.
BATCH = 256


@dataclass
class Moments:
    """Pooled moments of a tensor per channel.

    Attributes:
        count: values per channel.
        mean: of shape (channels,).
        squares: sum of squared deviations from the mean, per channel.
        low, high: the extremes per channel.
    """

    count: int
    mean: Array
    squares: Array
    low: Array
    high: Array

    @property
    def variance(self) -> Array:
        """Over all values: divided by their number, as Keras' moving variance is."""
        return self.squares / self.count

    def add(self, other: Moments) -> Moments:
        """Both together.

        >>> a, b = Moments.of(np.array([[1.0], [2.0]])), Moments.of(np.array([[6.0]]))
        >>> float(a.add(b).mean[0]), round(float(a.add(b).variance[0]), 6)
        (3.0, 4.666667)
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * (other.count / count),
            self.squares + other.squares + apart**2 * (self.count * other.count / count),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @classmethod
    def of(cls, values: Array) -> Moments:
        """The moments of values of shape (n, channels)."""
        values = values.astype("float64")
        mean = values.mean(0)
        return cls(len(values), mean, ((values - mean) ** 2).sum(0), values.min(0), values.max(0))


def batch_norms(model: Any) -> list[Any]:
    """The BatchNormalization layers of a model, in topological order."""
    return [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]


def measure(model: Any, taps: Mapping[str, tuple[Any, int]], inputs: Mapping[str, Array]) -> dict[str, Moments]:
    """Moments of tensors inside a model, in inference mode (Dropout off, moving statistics used).

    Args:
        taps: name → a tensor of the model and its channel axis.
        inputs: input layer → rows.
    """
    if not taps:
        return {}
    import tensorflow as tf

    return pooled(model, tf.function(tapping(model, taps), autograph=False, reduce_retracing=True), taps, inputs)


def tapping(model: Any, taps: Mapping[str, tuple[Any, int]]) -> Callable[[Any], list[Any]]:
    """A function from a batch to the moments of every tap: values per channel, mean, squared deviations, extremes.

    Called as it is, it needs no trace, which is the faster way for a few rows.
    """
    keras: Any = import_keras()
    import tensorflow as tf

    inner = keras.Model(model.inputs, [tensor for tensor, _ in taps.values()])
    axes = [axis % len(tensor.shape) for tensor, axis in taps.values()]

    def run(x: Any) -> list[Any]:
        values = inner(x, training=False)
        values = values if isinstance(values, (list, tuple)) else [values]
        return [_moments(tf, tf.cast(value, "float64"), axis) for value, axis in zip(values, axes, strict=True)]

    return run


def pooled(
    model: Any, step: Callable[[Any], list[Any]], names: Iterable[str], inputs: Mapping[str, Array]
) -> dict[str, Moments]:
    """The moments of all rows together, by the names of the taps; `step` is of `tapping`."""
    found: dict[str, Moments] = {}
    for batch in batches(model, inputs):
        for name, (count, *moments) in zip(names, step(batch), strict=True):
            part = Moments(int(count), *(value.numpy() for value in moments))
            found[name] = found[name].add(part) if name in found else part
    return found


def _moments(tf: Any, value: Any, axis: int) -> tuple[Any, ...]:
    others = [other for other in range(len(value.shape)) if other != axis]
    mean = tf.reduce_mean(value, others, keepdims=True)
    squares = tf.reduce_sum((value - mean) ** 2, others)
    count = tf.size(value) // tf.shape(value)[axis]
    return count, tf.reshape(mean, [-1]), squares, tf.reduce_min(value, others), tf.reduce_max(value, others)


def batches(model: Any, inputs: Mapping[str, Array], size: int = BATCH) -> Any:
    """The rows as the model takes them, in order."""
    import tensorflow as tf

    rows = len(next(iter(inputs.values())))
    for start in range(0, rows, size):
        given = [tf.cast(tf.constant(inputs[t.name][start : start + size]), t.dtype) for t in model.inputs]
        yield given[0] if len(given) == 1 else given


def input_moments(model: Any, norms: Sequence[Any], inputs: Mapping[str, Array]) -> dict[str, Moments]:
    """What each of these normalizations reads."""
    return measure(model, input_taps(norms), inputs)


def input_taps(norms: Sequence[Any]) -> dict[str, tuple[Any, int]]:
    """Normalization → the tensor it reads and its channel axis."""
    return {norm.name: (norm.input, _axis(norm)) for norm in norms}


def _axis(norm: Any) -> int:
    axis = norm.axis
    return int(axis[0] if isinstance(axis, (list, tuple)) else axis)


def quotients(norm: Any, real: Moments) -> Array:
    """Real variance over moving variance, of the channels that carry something."""
    moving = np.asarray(norm.moving_variance, "float64")
    live = np.minimum(moving, real.variance) > SILENT
    return np.asarray(real.variance[live] / moving[live])


def recalibrate(model: Any, inputs: Mapping[str, Array]) -> dict[str, Moments]:
    """Give every normalization the mean and variance that it reads at inference over these rows, in place.

    One level after the other, so that later normalizations read what recalibrated earlier ones write. Weights, γ and β
    stay as they are (Li et al. 2019, section 5.2, table 3, re-estimate the moving statistics in the same way).

    Returns:
        The new statistics by layer name.
    """
    found: dict[str, Moments] = {}
    for level in levels(model):
        moments = input_moments(model, level, inputs)
        for norm in level:
            norm.moving_mean.assign(moments[norm.name].mean)
            norm.moving_variance.assign(moments[norm.name].variance)
        found.update(moments)
    return found


def levels(model: Any) -> list[list[Any]]:
    """The normalizations in groups: none reads, however far upstream, one of its own or a later group."""
    depth: dict[int, int] = {}
    groups: dict[int, list[Any]] = {}
    for operation in model.operations:
        node = operation._inbound_nodes[0]
        before = max((depth[id(tensor._keras_history.operation)] for tensor in node.input_tensors), default=0)
        is_norm = type(operation).__name__ == "BatchNormalization"
        depth[id(operation)] = before + is_norm
        if is_norm:
            groups.setdefault(before, []).append(operation)
    return [groups[level] for level in sorted(groups)]
