"""Shape rules of all layers but the spatial ones (`shapes_spatial`) and the wrappers (`wrappers`)."""

from __future__ import annotations

import re
from functools import reduce

from kbuild.catalog.dims import Call, Shape, product


def same(call: Call) -> Shape:
    """Element-wise layers: the shape of the input."""
    return call.shape


def same_of_rank(call: Call) -> Shape:
    """SpatialDropout: the shape of an input with channels."""
    return call.need_rank(call.rank + 2)


def dense(call: Call) -> Shape:
    """(batch, ..., features) → (batch, ..., units); the weights need the size of the last axis."""
    call.need_least_rank(2)
    call.size(-1, "last axis")
    return (*call.shape[:-1], call.args["units"])


def embedding(call: Call) -> Shape:
    """(batch, ...) of indices → (batch, ..., output_dim)."""
    return (*call.shape, call.args["output_dim"])


# Reshaping


def flatten(call: Call) -> Shape:
    sizes = [size for size in call.shape[1:] if size is not None]
    return (call.shape[0], product(sizes) if len(sizes) == len(call.shape) - 1 else None)


def reshape(call: Call) -> Shape:
    """The batch axis stays; one -1 stands for what is left."""
    target = tuple(call.args["target_shape"])
    given = call.shape[1:]
    if target.count(-1) > 1:
        call.fail(f"has more than one -1 in target_shape {list(target)}")
    sizes = [size for size in given if size is not None]
    if len(sizes) < len(given):
        return (call.shape[0], *(None if size == -1 else size for size in target))
    known, total = product(size for size in target if size != -1), product(sizes)
    if (-1 in target and total % known) or (-1 not in target and total != known):
        call.fail(f"cannot give {total} values the shape {list(target)}. Received: {call.shape}")
    return (call.shape[0], *(total // known if size == -1 else size for size in target))


def permute(call: Call) -> Shape:
    dims = tuple(call.args["dims"])
    if sorted(dims) != list(range(1, len(dims) + 1)):
        call.fail(f"needs dims to be an order of 1 to {len(dims)}. Received: {list(dims)}")
    call.need_rank(len(dims) + 1)
    return (call.shape[0], *(call.shape[axis] for axis in dims))


def repeat_vector(call: Call) -> Shape:
    """(batch, features) → (batch, n, features)."""
    batch, features = call.need_rank(2)
    return (batch, call.args["n"], features)


# Normalization and activation


def batch_normalization(call: Call) -> Shape:
    call.size(call.args["axis"], "axis of its statistics")
    return call.shape


def normalized_axes(call: Call) -> Shape:
    """LayerNormalization, RMSNormalization: one axis or several, each of a defined size."""
    axes = call.args["axis"]
    for axis in [axes] if isinstance(axes, int) else axes:
        call.size(axis, "normalized axis")
    return call.shape


def group_normalization(call: Call) -> Shape:
    size, groups = call.size(call.args["axis"], "channel axis"), call.args["groups"]
    if groups != -1 and (size < groups or size % groups):
        hint = "name a number of groups that divides the channels"
        call.fail(f"cannot split {size} channels into groups={groups}. Received: {call.shape}", hint)
    return call.shape


def along_axis(call: Call) -> Shape:
    """Softmax, UnitNormalization: no weights, so sizes may be free."""
    axes = call.args["axis"]
    for axis in [axes] if isinstance(axes, int) else axes:
        call.axis(axis)
    return call.shape


def prelu(call: Call) -> Shape:
    shared = call.args["shared_axes"] or ()
    for axis in shared if not isinstance(shared, int) else (shared,):
        call.axis(axis)
    for axis in range(1, len(call.shape)):
        if axis not in shared:
            call.size(axis, "axis of its slopes")
    return call.shape


def feature_normalization(call: Call) -> Shape:
    """Normalization (preprocessing): the kept axes have a defined size."""
    axes = call.args["axis"]
    for axis in () if axes is None else [axes] if isinstance(axes, int) else axes:
        call.size(axis, "kept axis")
    return call.shape


# Merging


def _broadcast(call: Call, left: Shape, right: Shape) -> Shape:
    """Two shapes without their batch axes, aligned from the right."""
    if len(left) < len(right):
        left, right = right, left
    sizes = list(left[: len(left) - len(right)])
    for a, b in zip(left[len(left) - len(right) :], right, strict=True):
        if a is None or b is None:
            sizes.append(None)
        elif a != b and 1 not in (a, b):
            call.fail(f"cannot merge unequal shapes. Received: {' and '.join(map(str, call.inputs))}")
        else:
            sizes.append(b if a == 1 else a)
    return tuple(sizes)


def merge(call: Call) -> Shape:
    """Add, Multiply, ...: shapes equal, or broadcast behind the batch axis."""
    batches = {shape[0] for shape in call.inputs} - {None}
    if len(batches) > 1:
        call.fail(f"cannot merge different batch sizes. Received: {' and '.join(map(str, call.inputs))}")
    rest = reduce(lambda left, right: _broadcast(call, left, right), (shape[1:] for shape in call.inputs))
    return (batches.pop() if batches else None, *rest)


def concatenate(call: Call) -> Shape:
    """All axes but one are equal; that one adds up."""
    axis = call.args["axis"]
    received = " and ".join(map(str, call.inputs))
    first = call.inputs[0]
    total: int | None = 0
    for shape in call.inputs:
        if len(shape) != len(first):
            call.fail(f"needs inputs of one rank. Received: {received}")
        at = call.axis(axis, shape)
        size = shape[at]
        total = None if total is None or size is None else total + size
        for position, (a, b) in enumerate(zip(first, shape, strict=True)):
            if position != at and a is not None and b is not None and a != b:
                call.fail(f"needs inputs whose shapes differ at axis {axis} only. Received: {received}")
    at = axis % len(first)
    return (*first[:at], total, *first[at + 1 :])


def dot(call: Call) -> Shape:
    """The product over one axis of each input."""
    left, right = call.inputs
    axes = call.args["axes"]
    i, j = (call.axis(a, s) for a, s in zip((axes, axes) if isinstance(axes, int) else axes, call.inputs, strict=True))
    if 0 in (i, j):
        call.fail("cannot take the product over the batch axis 0")
    if left[i] != right[j]:
        call.fail(f"needs equal sizes at axes {i} and {j}. Received: {left} and {right}")
    rest = (*left[:i], *left[i + 1 :], *(size for axis, size in enumerate(right) if axis not in (0, j)))
    return rest if len(rest) > 1 else (*rest, 1)


# Recurrent and attention


def recurrent(call: Call) -> Shape:
    """LSTM, GRU, SimpleRNN: (batch, steps, features) → (batch, units), or every step under return_sequences."""
    batch, steps, _ = call.need_rank(3)
    call.size(-1, "feature axis")
    if call.args.get("unroll") and steps is None:
        call.fail(f"cannot unroll a free number of steps. Received: {call.shape}")
    units = call.args["units"]
    return (batch, steps, units) if call.args["return_sequences"] else (batch, units)


def attention(call: Call) -> Shape:
    """Attention([query, value, key]): (batch, Tq, dim) over (batch, Tv, dim) → (batch, Tq, value dim)."""
    query, value = call.inputs[:2]
    return (*query[:-1], value[-1])


def multi_head_attention(call: Call) -> Shape:
    """(query, value, key) → the query's shape, its last axis `output_shape` where that is given."""
    query, value, key = _query_value_key(call)
    for shape in (query, value, key):
        if len(shape) < 3:
            call.fail(f"needs inputs of rank 3 or more (batch, steps, features). Received: {shape}")
        if shape[-1] is None:
            call.fail(f"needs a defined size at the last axis. Received: {shape}")
    if value[1:-1] != key[1:-1]:
        call.fail(f"needs value and key that differ at the last axis only. Received: {value} and {key}")
    output = call.args["output_shape"]
    if output is None:
        return query
    return (*query[:-1], *([output] if isinstance(output, int) else output))


def grouped_query_attention(call: Call) -> Shape:
    query, value, key = _query_value_key(call)
    for shape in (query, value, key):
        if len(shape) != 3 or shape[-1] is None:
            call.fail(f"needs inputs (batch, steps, features) with defined features. Received: {shape}")
    if query[-1] != value[-1]:
        call.fail(f"needs query and value with equal last axes. Received: {query} and {value}")
    if value[1:-1] != key[1:-1]:
        call.fail(f"needs value and key that differ at the last axis only. Received: {value} and {key}")
    if call.args["num_query_heads"] % call.args["num_key_value_heads"]:
        call.fail("needs num_query_heads to be a multiple of num_key_value_heads")
    return query


def _query_value_key(call: Call) -> tuple[Shape, Shape, Shape]:
    return call.inputs[0], call.inputs[1], call.inputs[2] if len(call.inputs) > 2 else call.inputs[1]


# EinsumDense


def einsum_parts(call: Call) -> tuple[list[int | None], list[int | None], list[int | None]]:
    """Kernel shape, bias shape (empty for none) and output shape of an EinsumDense, by Keras' rules."""
    equation = call.args["equation"]
    found = re.fullmatch(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?", equation)
    if not found or found[1] != found[5] or found[3] != found[7] or (found[1] and found[3]):
        hint = "the forms are 'ab,bc->ac', '...ab,bc->...ac' and 'ab...,bc->ac...'"
        call.fail(f"has an equation it cannot read: {equation!r}", hint)
    left, inputs, weights, outputs = bool(found[1]), found[2], found[4], found[6]
    elided = len(call.shape) - len(inputs)
    if elided < 0 or (elided and not (left or found[3])):
        call.fail(f"has the equation {equation!r}, which does not fit the rank of its input. Received: {call.shape}")
    target = call.args["output_shape"]
    output = [call.shape[0], *([target] if isinstance(target, int) else target)]
    if left:
        # Keras reports two or more elided axes in reverse (3.15); the plan states what the model will state.
        output[1:1] = call.shape[1:elided][::-1]
    else:
        output += call.shape[len(call.shape) - elided :] if elided else []
    before = elided if left else 0
    if len(output) != len(outputs) + elided:
        call.fail(f"has output_shape {target!r}, which does not fit its equation {equation!r}")
    in_size = {letter: call.shape[before + i] for i, letter in enumerate(inputs)}
    out_size = {letter: output[before + i] for i, letter in enumerate(outputs)}
    for letter in set(in_size) & set(out_size):
        if out_size[letter] is not None and out_size[letter] != in_size[letter]:
            call.fail(f"gives axis {letter!r} the size {out_size[letter]}. Received: {call.shape}")
    for letter in outputs:
        if letter not in inputs and letter not in weights:
            call.fail(f"has axis {letter!r} in its output, but neither in its input nor in its weights")
    kernel = []
    for letter in weights:
        if letter not in out_size and letter not in in_size:
            call.fail(f"has axis {letter!r} in its weights, but neither in its input nor in its output")
        kernel.append(out_size.get(letter, in_size.get(letter)))
    bias_axes = call.args["bias_axes"] or ""
    bias = [out_size.get(letter) for letter in bias_axes]
    if any(letter not in outputs for letter in bias_axes):
        call.fail(f"has bias_axes {bias_axes!r}, which are not all in its output {outputs!r}")
    if None in kernel or None in bias:
        call.fail(f"needs defined sizes for the axes of its weights. Received: {call.shape}")
    return kernel, bias, output


def einsum_dense(call: Call) -> Shape:
    return tuple(einsum_parts(call)[2])
