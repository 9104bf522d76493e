"""How many weights each layer has, counted as Keras' `count_params` counts after build.

Rules run after the shape rule of the same call, so the sizes they read are defined.
"""

from __future__ import annotations

from collections.abc import Iterable

from kbuild.catalog.dims import Call, Weights, product
from kbuild.catalog.shapes import einsum_parts
from kbuild.catalog.shapes_spatial import conv_step


def none(call: Call) -> Weights:
    return Weights()


def _kernel(call: Call, kernel: Iterable[int], bias: int) -> Weights:
    """A kernel and a bias; under LoRA the kernel is frozen beside two small trainable factors."""
    shape = tuple(kernel)
    rank = call.args.get("lora_rank")
    if not rank:
        return Weights(product(shape) + bias)
    return Weights(product(shape[:-1]) * rank + rank * shape[-1] + bias, product(shape))


def _bias(call: Call, size: int) -> int:
    return size if call.args["use_bias"] else 0


def dense(call: Call) -> Weights:
    units = call.args["units"]
    return _kernel(call, (call.size(-1), units), _bias(call, units))


def einsum_dense(call: Call) -> Weights:
    kernel, bias, _ = einsum_parts(call)
    return _kernel(call, [size or 0 for size in kernel], product(size or 0 for size in bias) if bias else 0)


def embedding(call: Call) -> Weights:
    return _kernel(call, (call.args["input_dim"], call.args["output_dim"]), 0)


def reversible_embedding(call: Call) -> Weights:
    size = call.args["input_dim"] * call.args["output_dim"]
    return Weights(size if call.args["tie_weights"] else 2 * size)


def convolution(call: Call) -> Weights:
    filters = call.args["filters"]
    kernel = (*call.per_axis("kernel_size"), call.channels() // call.args["groups"], filters)
    return _kernel(call, kernel, _bias(call, filters))


def transposed(call: Call) -> Weights:
    filters = call.args["filters"]
    return _kernel(call, (*call.per_axis("kernel_size"), filters, call.channels()), _bias(call, filters))


def depthwise(call: Call) -> Weights:
    outputs = call.channels() * call.args["depth_multiplier"]
    return Weights(product(call.per_axis("kernel_size")) * outputs + _bias(call, outputs))


def separable(call: Call) -> Weights:
    between, filters = call.channels() * call.args["depth_multiplier"], call.args["filters"]
    return Weights(product(call.per_axis("kernel_size")) * between + between * filters + _bias(call, filters))


def batch_normalization(call: Call) -> Weights:
    """gamma and beta are trained; moving_mean and moving_variance (and the three of renorm) are not."""
    size = call.size(call.args["axis"])
    trained = bool(call.args["scale"]) + bool(call.args["center"])
    return Weights(trained * size, (5 if call.args["renorm"] else 2) * size)


def scale_and_center(call: Call) -> Weights:
    """LayerNormalization, GroupNormalization: gamma and beta over the normalized axes."""
    return Weights((bool(call.args["scale"]) + bool(call.args["center"])) * _axes_size(call))


def scale_only(call: Call) -> Weights:
    """RMSNormalization has a scale and nothing else."""
    return Weights(_axes_size(call))


def _axes_size(call: Call) -> int:
    axes = call.args["axis"]
    return product(call.size(axis) for axis in ([axes] if isinstance(axes, int) else axes))


def feature_normalization(call: Call) -> Weights:
    """Normalization keeps a mean, a variance and a count, unless both are given."""
    if call.args["mean"] is not None:
        return Weights()
    axes = call.args["axis"]
    sizes = [call.size(axis) for axis in (() if axes is None else [axes] if isinstance(axes, int) else axes)]
    return Weights(0, 2 * product(sizes) + 1)


def prelu(call: Call) -> Weights:
    """One slope for each place of the input, shared along `shared_axes`."""
    shared = call.args["shared_axes"] or ()
    shared = {call.axis(axis) for axis in ([shared] if isinstance(shared, int) else shared)}
    return Weights(product(call.size(axis) for axis in range(1, len(call.shape)) if axis not in shared))


#: Gates per cell: how many kernels of shape (input + units, units) a recurrent layer holds.
_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


def recurrent(call: Call) -> Weights:
    """LSTM, GRU, SimpleRNN; a GRU with reset_after (the default) has a second bias."""
    units, features, gates = call.args["units"], call.size(-1), _GATES[call.layer]
    biases = 0 if not call.args["use_bias"] else 2 if call.args.get("reset_after") else 1
    return Weights(gates * units * (features + units + biases))


def conv_lstm(call: Call) -> Weights:
    """Four gates, each with a kernel over the input and one over the state."""
    gates = 4 * call.args["filters"]
    kernel = product(call.per_axis("kernel_size")) * (conv_step(call).channels() + call.args["filters"]) * gates
    return Weights(kernel + _bias(call, gates))


def attention(call: Call) -> Weights:
    return Weights(bool(call.args["use_scale"]) + (call.args["score_mode"] == "concat"))


def additive_attention(call: Call) -> Weights:
    return Weights(call.size(-1) if call.args["use_scale"] else 0)


def multi_head_attention(call: Call) -> Weights:
    """Projections of query, key and value (and the gate) to the heads, and of the heads to the output."""
    heads, key_dim = call.args["num_heads"], call.args["key_dim"]
    value_dim = call.args["value_dim"] or key_dim
    output = call.args["output_shape"]
    out = (call.size(-1),) if output is None else (output,) if isinstance(output, int) else tuple(output)
    return _projections(call, (heads * key_dim, heads * key_dim, heads * value_dim), product(out))


def grouped_query_attention(call: Call) -> Weights:
    dim = call.args["head_dim"]
    groups = call.args["num_key_value_heads"] * dim
    return _projections(call, (call.args["num_query_heads"] * dim, groups, groups), call.size(-1))


def _projections(call: Call, widths: tuple[int, int, int], output: int) -> Weights:
    query, value = call.inputs[0][-1] or 0, call.inputs[1][-1] or 0
    key = (call.inputs[2][-1] or 0) if len(call.inputs) > 2 else value
    bias = 1 if call.args["use_bias"] else 0
    to_query, to_key, to_value = widths
    heads = to_query if call.layer == "GroupQueryAttention" else to_value
    total = (query + bias) * to_query + (key + bias) * to_key + (value + bias) * to_value + (heads + bias) * output
    if call.args["use_gate"]:
        total += (query + bias) * heads
    # the output projection has one bias for each output, whatever the number of heads
    return Weights(total)
