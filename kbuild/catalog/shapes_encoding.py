"""Shape rules of layers that encode categories: bins, hashes, vocabularies."""

from __future__ import annotations

from typing import Any

from kbuild.catalog.dims import Call, Shape


def category_encoding(call: Call) -> Shape:
    depth = call.args["num_tokens"]
    if depth is None:
        call.fail("needs num_tokens")
    if call.args["output_mode"] == "one_hot":
        return _one_hot(call.shape, depth)
    return (*call.shape[:-1], depth)


def discretization(call: Call) -> Shape:
    mode, bounds = call.args["output_mode"], call.args["bin_boundaries"]
    if (bounds is None) == (call.args["num_bins"] is None):
        call.fail("needs either num_bins or bin_boundaries")
    if mode == "int":
        return call.shape
    depth = call.args["num_bins"] if bounds is None else len(bounds) + 1
    if mode == "one_hot":
        return _one_hot(call.shape, depth)
    return (call.shape[0], *call.shape[2:], depth) if len(call.shape) > 1 else (depth,)


def hashing(call: Call) -> Shape:
    return call.shape if call.args["output_mode"] == "int" else (*call.shape[:-1], call.args["num_bins"])


def hashed_crossing(call: Call) -> Shape:
    """Two inputs of one shape, crossed element by element."""
    left, right = call.inputs
    if left[-1] != right[-1]:
        call.fail(f"needs inputs of one shape. Received: {left} and {right}")
    if call.args["output_mode"] == "int":
        return left
    return _one_hot(left, call.args["num_bins"])


def lookup(call: Call) -> Shape:
    """IntegerLookup, StringLookup: a slot for every token."""
    if call.args["output_mode"] == "int":
        return call.shape
    depth = _tokens(call, [call.args["oov_token"]] * call.args["num_oov_indices"])
    return _one_hot(call.shape, depth) if call.args["output_mode"] == "one_hot" else (*call.shape[:-1], depth)


def text_vectorization(call: Call) -> Shape:
    """A text of each row becomes numbers of words, or a slot for every word."""
    if call.args["output_mode"] == "int":
        return (call.shape[0], call.args["output_sequence_length"])
    depth = _tokens(call, ["[UNK]"])
    if call.args["split"] is None:
        return (*call.shape[:-1], depth) if len(call.shape) > 1 else (*call.shape, depth)
    return (*call.shape, depth)


def _tokens(call: Call, unknown: list[Any]) -> int:
    """How many slots a vocabulary has; `unknown` stand in front where it does not begin with them."""
    vocabulary, most = call.args["vocabulary"], call.args["max_tokens"]
    if call.args["pad_to_max_tokens"]:
        if most is None:
            call.fail("needs max_tokens for pad_to_max_tokens")
        return int(most)
    if not isinstance(vocabulary, list):
        hint = "write max_tokens: SIZE and pad_to_max_tokens: true, or its vocabulary"
        call.fail(
            f"needs a size: its vocabulary is learnt from the data, and it gives {call.args['output_mode']}", hint
        )
    return len(vocabulary) + (0 if vocabulary[: len(unknown)] == unknown else len(unknown))


def _one_hot(shape: Shape, depth: int) -> Shape:
    return (*shape[:-1], depth) if len(shape) > 1 and shape[-1] == 1 else (*shape, depth)
