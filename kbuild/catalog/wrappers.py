"""Rules of layers that hold other layers. A nested layer is ``{"class_name": ..., "config": {...}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kbuild.catalog.dims import Call, Shape, Weights


def _shape(nested: Mapping[str, Any], shape: Shape) -> Shape | None:
    from kbuild.catalog.layers import lookup

    facts = lookup(nested["class_name"])
    return facts.shape(nested["config"], (shape,)) if facts and facts.shape else None


def _weights(nested: Mapping[str, Any], shape: Shape) -> Weights | None:
    from kbuild.catalog.layers import lookup

    facts = lookup(nested["class_name"])
    return facts.weights(nested["config"], (shape,)) if facts and facts.weights else None


def bidirectional(call: Call) -> Shape | None:
    """merge_mode concat doubles the features, the others keep them."""
    inner = _shape(call.args["layer"], call.shape)
    if inner is None or call.args["merge_mode"] is None:
        return None
    last = inner[-1]
    doubled = None if last is None else 2 * last
    return (*inner[:-1], doubled) if call.args["merge_mode"] == "concat" else inner


def bidirectional_weights(call: Call) -> Weights | None:
    forward = _weights(call.args["layer"], call.shape)
    backward = _weights(call.args["backward_layer"] or call.args["layer"], call.shape)
    return forward.plus(backward) if forward and backward else None


def _step(call: Call) -> Shape:
    """What the layer inside TimeDistributed is called on: the input without its axis of steps."""
    call.need_least_rank(3)
    return (call.shape[0], *call.shape[2:])


def time_distributed(call: Call) -> Shape | None:
    inner = _shape(call.args["layer"], _step(call))
    return None if inner is None else (inner[0], call.shape[1], *inner[1:])


def time_distributed_weights(call: Call) -> Weights | None:
    return _weights(call.args["layer"], _step(call))


def pipeline(call: Call) -> Shape | None:
    shape: Shape | None = call.shape
    for layer in call.args["layers"]:
        shape = None if shape is None else _shape(layer, shape)
    return shape


def pipeline_weights(call: Call) -> Weights | None:
    shape: Shape | None = call.shape
    total = Weights()
    for layer in call.args["layers"]:
        weights = None if shape is None else _weights(layer, shape)
        if weights is None or shape is None:
            return None
        total, shape = total.plus(weights), _shape(layer, shape)
    return total


#: A cell and the layer that runs one: the weights are the same.
_CELLS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "SimpleRNN"}


def _as_layer(cell: Mapping[str, Any]) -> dict[str, Any] | None:
    name = _CELLS.get(cell["class_name"])
    return None if name is None else {"class_name": name, "config": cell["config"]}


def rnn(call: Call) -> Shape | None:
    """RNN over one cell of Keras' own; stacked cells only Keras knows."""
    layer = _as_layer(call.args["cell"])
    if layer is None:
        return None
    settings = {name: call.args[name] for name in ("return_sequences", "unroll")}
    return _shape({**layer, "config": {**layer["config"], **settings}}, call.shape)


def rnn_weights(call: Call) -> Weights | None:
    layer = _as_layer(call.args["cell"])
    return None if layer is None else _weights(layer, call.shape)


#: Where the last axis of a kernel gets its size: the argument of the layer that SpectralNormalization wraps.
_KERNEL_COLUMNS = {"Dense": "units", "Conv1D": "filters", "Conv2D": "filters", "Conv3D": "filters"} | {
    "Embedding": "output_dim"
}


def wrapped(call: Call) -> Shape | None:
    """SpectralNormalization: the shape of the layer inside."""
    return _shape(call.args["layer"], call.shape)


def spectral_normalization_weights(call: Call) -> Weights | None:
    """The layer's own weights and one vector, not trained, of the columns of its kernel."""
    nested = call.args["layer"]
    inner, columns = _weights(nested, call.shape), _KERNEL_COLUMNS.get(nested["class_name"])
    return inner.plus(Weights(0, nested["config"][columns])) if inner and columns else None
