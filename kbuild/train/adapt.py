"""Layers that learn from the data before the first step: mean and variance, vocabularies, bounds of bins.

They see the training rows alone, in the stored order, in batches of a fixed size: the same data give the same layers,
whether they lie in memory or are streamed, in a run that is resumed too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kbuild.errors import Problem, SpecError
from kbuild.model.backend import import_keras
from kbuild.train.data.arrays import Split

#: Rows of a batch.
ROWS = 8_192


def learners(model: Any) -> list[Any]:
    """The layers of a model that have to learn from data, in the order in which they do."""
    return [layer for layer in model.layers if _learns(layer)]


def _learns(layer: Any) -> bool:
    kind = type(layer).__name__
    if kind == "Normalization":
        return layer.input_mean is None
    if kind in ("StringLookup", "IntegerLookup"):
        return layer.input_vocabulary is None
    if kind == "TextVectorization":
        return layer.get_config().get("vocabulary") is None
    return kind == "Discretization" and layer.num_bins is not None


def adapt(model: Any, train: Split) -> list[str]:
    """Let the layers learn from the training rows; returns their names.

    Raises:
        SpecError: a vocabulary that a saved model could not hold.
    """
    names = []
    for layer in learners(model):
        batches = _inputs(model, layer, train)
        if type(layer).__name__ == "Normalization":
            _normalize(layer, batches)
        elif type(layer).__name__ in ("StringLookup", "IntegerLookup"):
            layer.adapt(_present(batches) if layer.output_mode != "tf_idf" else batches)
            _check_vocabulary(layer)
        else:
            layer.adapt(batches)
        names.append(layer.name)
    return names


def _inputs(model: Any, layer: Any, train: Split) -> Iterator[np.ndarray]:
    """What a layer reads of the training rows, batch by batch."""
    keras: Any = import_keras()
    import tensorflow as tf

    source = layer.input
    given = source._keras_history.operation.name
    direct = given in train.x
    before = None if direct else keras.Model(model.inputs, source)
    for start in range(0, train.rows, ROWS):
        rows = slice(start, start + ROWS)
        if before is None:
            yield np.asarray(train.x[given][rows])
            continue
        tensors = [tf.cast(tf.constant(train.x[one.name][rows]), one.dtype) for one in model.inputs]
        yield np.asarray(before(tensors[0] if len(tensors) == 1 else tensors, training=False))


def _present(batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Without empty texts: no value has no slot of its own."""
    for batch in batches:
        flat = batch.reshape(-1)
        yield flat[(flat != "") & (flat != b"")] if flat.dtype.kind in "OSU" else flat


def _check_vocabulary(layer: Any) -> None:
    for token in layer.get_vocabulary():
        if isinstance(token, str) and token.splitlines() != [token]:
            message = f"{layer.name} would learn the value {token[:40]!r}, whose line break a vocabulary cannot hold"
            raise SpecError([Problem("data", message, None, "write the text in one line")])


def _normalize(layer: Any, batches: Iterator[np.ndarray]) -> None:
    """Mean and variance in float64, batches joined as Chan, Golub & LeVeque 1983 do (The American Statistician 37)."""
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        values = batch.astype("float64")
        kept = {axis % values.ndim for axis in layer.axis}
        reduced = tuple(axis for axis in range(values.ndim) if axis not in kept)
        own = values.mean(reduced)
        here = int(np.prod([values.shape[axis] for axis in reduced], dtype="int64"))
        apart, total = own - mean, count + here
        squares = squares + ((values - values.mean(reduced, keepdims=True)) ** 2).sum(reduced)
        squares = squares + apart**2 * (count * here / total)
        mean, count = mean + apart * (here / total), total
    layer.adapt_mean.assign(mean)
    layer.adapt_variance.assign(squares / count)
    layer.finalize_state()
