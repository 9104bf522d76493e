"""What values the arguments of Keras classes take: one table from argument name to checker.

A checker is a predicate with the text an error shows after "expected". A value that equals Keras' default always
passes; an argument that no row names passes unless its default is a boolean or a number. Values are plain data.

>>> check_argument("Dense", "units", 0)
'a positive integer'
>>> check_argument("Conv2D", "kernel_size", [3, 3]) is None
True
>>> check_argument("Conv2D", "kernel_size", [3, 3, 3])
'a positive integer or a list of 2 of them'
>>> check_argument("Conv2D", "padding", "causal")
'valid or same'
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kbuild.catalog import facts
from kbuild.catalog.layers import lookup

Predicate = Callable[[Any], bool]

#: Sizes stay below this, so that products of shapes stay printable.
LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class Checker:
    """A test and what it expects, in words."""

    expected: str
    accepts: Predicate

    def __or__(self, other: Checker) -> Checker:
        return Checker(f"{self.expected} or {other.expected}", lambda v: self.accepts(v) or other.accepts(v))


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def _number(value: Any) -> bool:
    return _integer(value) or (isinstance(value, float) and math.isfinite(value))


def _list_of(accepts: Predicate, length: int | None = None) -> Predicate:
    def check(value: Any) -> bool:
        return isinstance(value, (list, tuple)) and len(value) == (length or len(value)) and all(map(accepts, value))

    return check


def _within(low: float, high: float, open_end: bool = False) -> Predicate:
    return lambda value: _number(value) and low <= value and (value < high if open_end else value <= high)


def words(*choices: Any) -> Checker:
    """One of a few words (or null)."""
    shown = ["null" if choice is None else str(choice) for choice in choices]
    text = " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
    return Checker(text, lambda value: value in choices if isinstance(value, str) or value is None else False)


POSITIVE = Checker("a positive integer", lambda value: _integer(value) and value > 0)
NATURAL = Checker("an integer from 0 up", lambda value: _integer(value) and value >= 0)
INTEGER = Checker("an integer", _integer)
NUMBER = Checker("a number", _number)
NOT_NEGATIVE = Checker("a number from 0 up", lambda value: _number(value) and value >= 0)
RATE = Checker("a number from 0 up to but excluding 1", _within(0, 1, open_end=True))
SHARE = Checker("a number from 0 to 1", _within(0, 1))
BOOLEAN = Checker("true or false", lambda value: isinstance(value, bool))
STRING = Checker("a string", lambda value: isinstance(value, str))
NULL = Checker("null", lambda value: value is None)
INTEGERS = Checker("a list of integers", _list_of(_integer))
NUMBERS = Checker("a list of numbers", _list_of(_number))
AXES = Checker("an integer or a list of them", lambda value: _integer(value) or (_list_of(_integer)(value) and value))
VOCABULARY = Checker("a list of the words", _list_of(lambda value: _integer(value) or isinstance(value, str)))
PLAIN = Checker("a plain value, not a mapping", lambda value: not isinstance(value, dict))
UNWRITTEN = Checker("null (arrays and quantization are not part of a spec)", lambda value: value is None)
FACTOR = Checker(
    "a number from -1 to 1 or a list of two",
    lambda value: _within(-1, 1)(value) or _list_of(_within(-1, 1), 2)(value),
)
TWO_NUMBERS = Checker("a list of two numbers", _list_of(_number, 2))
NESTED_NUMBERS = Checker("a number or a (nested) list of numbers", lambda value: _nested_numbers(value))
CONSTANT_OUTPUT = Checker("false (a layer of a spec gives one tensor)", lambda value: value is False)
_DTYPES = (
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "bfloat16", "bool", "string", "mixed_float16", "mixed_bfloat16"),
)
DTYPE = Checker("a dtype or a policy such as float32, mixed_bfloat16", lambda value: _is_word(value, _DTYPES)) | NULL


def _is_word(value: Any, choices: tuple[str, ...]) -> bool:
    return isinstance(value, str) and value in choices


def _nested_numbers(value: Any) -> bool:
    """Numbers in lists of any depth, walked without recursion."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack.extend(item)
        elif not _number(item):
            return False
    return True


def _sizes(one: Checker, rank: int) -> Checker:
    """`one` or a list of `rank` of them."""
    if rank == 0:
        return one
    accepts = one.accepts
    text = f"{one.expected} or a list of {rank} of them"
    return Checker(text, lambda value: accepts(value) or _list_of(accepts, rank)(value))


def _edges(rank: int) -> Checker:
    """Padding and cropping: one number, one for each axis, or (before, after) for each axis."""
    if rank == 1:
        return _sizes(NATURAL, 2)
    edge = _sizes(NATURAL, 2).accepts
    text = f"an integer from 0 up, a list of {rank} of them, or a list of {rank} pairs (before, after)"
    return Checker(text, lambda value: NATURAL.accepts(value) or _list_of(edge, rank)(value))


def _each(names: str, checker: Checker) -> dict[str, Checker]:
    """The same checker for several names."""
    return dict.fromkeys(names.split(), checker)


#: Arguments with one size for each spatial axis.
_PER_AXIS = {
    **_each("kernel_size strides pool_size dilation_rate size output_size", POSITIVE),
    "output_padding": NATURAL,
}

#: Argument name → checker, whatever the class.
ARGUMENTS: dict[str, Checker] = {
    **_each(
        "units filters depth_multiplier groups n k input_dim output_dim num_heads key_dim value_dim head_dim "
        "num_query_heads num_key_value_heads num_bins num_tokens height width max_tokens output_sequence_length "
        "max_number power_iterations lora_rank num_classes num_thresholds decay_steps first_decay_steps "
        "fft_length num_mel_bins sequence_stride frame_length frame_step sampling_rate sliding_window bins "
        "num_ops",
        POSITIVE,
    ),
    **_each("num_oov_indices patience cooldown start_from_epoch warmup_steps", NATURAL),
    "padding": words("valid", "same"),
    "data_format": words("channels_last", "channels_first", None),
    **_each("rate dropout recurrent_dropout beta_1 beta_2 rho ema_momentum", RATE),
    **_each("momentum renorm_momentum label_smoothing", SHARE),
    **_each("epsilon l1 l2 stddev negative_slope threshold max_value", NOT_NEGATIVE),
    **_each("learning_rate initial_learning_rate weight_decay clipnorm clipvalue", NOT_NEGATIVE),
    "global_clipnorm": NOT_NEGATIVE,
    "axis": AXES,
    "axes": Checker("an integer or a list of two", lambda value: _integer(value) or _list_of(_integer, 2)(value)),
    "dims": Checker("a list of axes, counted from 1", _list_of(POSITIVE.accepts)),
    "shared_axes": Checker("a list of axes, counted from 1", _list_of(POSITIVE.accepts)) | NULL,
    "target_shape": Checker(
        "a list of positive integers, one of which may be -1",
        _list_of(lambda value: POSITIVE.accepts(value) or (_integer(value) and value == -1)),
    ),
    "noise_shape": Checker("a list of integers", _list_of(lambda v: v is None or POSITIVE.accepts(v))) | NULL,
    "seed": INTEGER | NULL,
    "dtype": DTYPE,
    "vocabulary_dtype": DTYPE,
    "vocabulary": VOCABULARY | NULL,
    "idf_weights": NUMBERS | NULL,
    "bin_boundaries": NUMBERS | NULL,
    **_each("weights quantization_config gptq_unpacked_column_size", UNWRITTEN),
    "return_state": CONSTANT_OUTPUT,
    "merge_mode": words("sum", "mul", "ave", "concat"),
    "score_mode": words("dot", "concat"),
    "interpolation": words("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"),
    "fill_mode": words("constant", "nearest", "wrap", "reflect"),
    "equation": STRING,
    "bias_axes": STRING | NULL,
    "monitor": STRING,
    "mean": NESTED_NUMBERS | NULL,
    "variance": NESTED_NUMBERS | NULL,
    "offset": NUMBER | NUMBERS,
    **_each(
        "factor height_factor width_factor x_factor y_factor brightness_factor contrast_factor saturation_factor "
        "hue_factor addition_factor threshold_factor",
        FACTOR,
    ),
    "value_range": TWO_NUMBERS,
    **_each("x1 x2", NUMBER | NULL),
    "tile_grid_size": Checker("a list of two positive integers", _list_of(POSITIVE.accepts, 2)),
    "boundaries": NUMBERS,
    "values": NUMBERS,
    "use_cudnn": BOOLEAN | words("auto"),
    "loss_scale_factor": NOT_NEGATIVE | NULL,
}

_IMAGE_SCALE = FACTOR
_BITS = Checker("an integer from 1 to 8", lambda value: _integer(value) and 1 <= value <= 8)
_LOOKUPS = words("int", "one_hot", "multi_hot", "count", "tf_idf")
_CATEGORIES = words("one_hot", "multi_hot", "count")
_INDICES = words("int", "one_hot", "multi_hot", "count")
_INSTANCES = Checker("a positive integer, or -1 for one group a channel", lambda v: _integer(v) and (v > 0 or v == -1))
_OUTPUT_SHAPE = Checker(
    "a positive integer or a list of them (null for free axes)",
    lambda v: POSITIVE.accepts(v) or _list_of(lambda size: size is None or POSITIVE.accepts(size))(v),
)

#: (class name, argument name) → checker, where a class differs.
EXCEPTIONS: dict[tuple[str, str], Checker] = {
    ("Conv1D", "padding"): words("valid", "same", "causal"),
    ("GroupNormalization", "groups"): _INSTANCES,
    ("BatchNormalization", "axis"): INTEGER,
    ("GroupNormalization", "axis"): INTEGER,
    ("Concatenate", "axis"): INTEGER,
    ("Normalization", "axis"): AXES | NULL,
    ("UpSampling1D", "size"): POSITIVE,
    ("GaussianNoise", "stddev"): SHARE,
    ("Rescaling", "scale"): NUMBER | NUMBERS,
    ("RandomErasing", "scale"): _IMAGE_SCALE,
    ("RandomElasticTransform", "scale"): _IMAGE_SCALE,
    ("RandomPerspective", "scale"): _IMAGE_SCALE,
    ("RandomGaussianBlur", "kernel_size"): _sizes(POSITIVE, 2),
    ("RandomGaussianBlur", "sigma"): FACTOR,
    ("RandomFlip", "mode"): words("horizontal", "vertical", "horizontal_and_vertical"),
    ("RandomPosterization", "factor"): _sizes(_BITS, 2),
    ("ReduceLROnPlateau", "factor"): SHARE,
    ("OrthogonalRegularizer", "factor"): NUMBER,
    ("IntegerLookup", "output_mode"): _LOOKUPS,
    ("StringLookup", "output_mode"): _LOOKUPS,
    ("IntegerLookup", "vocabulary"): INTEGERS | NULL,
    ("StringLookup", "vocabulary"): Checker("a list of strings", _list_of(STRING.accepts)) | NULL,
    ("CategoryEncoding", "output_mode"): _CATEGORIES,
    ("Discretization", "output_mode"): _INDICES,
    ("Hashing", "output_mode"): _INDICES,
    ("HashedCrossing", "output_mode"): words("int", "one_hot"),
    ("EinsumDense", "output_shape"): _OUTPUT_SHAPE,
    ("MultiHeadAttention", "output_shape"): _OUTPUT_SHAPE | NULL,
    ("MultiHeadAttention", "attention_axes"): AXES | NULL,
    ("Attention", "seed"): INTEGER | NULL,
    ("Constant", "value"): NESTED_NUMBERS,
    ("MinMaxNorm", "rate"): SHARE,
    ("Masking", "mask_value"): NUMBER,
    ("CategoricalFocalCrossentropy", "alpha"): NUMBER | NUMBERS,
    ("BinaryIoU", "target_class_ids"): INTEGERS,
    ("IoU", "target_class_ids"): INTEGERS,
    ("OneHotIoU", "target_class_ids"): INTEGERS,
    ("TerminateOnNaN", "raise_error"): BOOLEAN,
    ("RandomNormal", "stddev"): NOT_NEGATIVE,
    ("Resizing", "pad_to_aspect_ratio"): BOOLEAN,
}

#: Argument names that hold a Keras object, by their end; `layers` and `cells` hold lists of layers.
_OBJECT_ENDINGS = {"_initializer": "initializer", "_regularizer": "regularizer", "_constraint": "constraint"}
_OBJECT_NAMES = {
    "layer": "layer",
    "backward_layer": "layer",
    "cell": "layer",
    "cells": "layers",
    "layers": "layers",
    "activation": "activation",
    "recurrent_activation": "activation",
    "inner_optimizer": "optimizer",
}


def object_kind(cls: str, name: str) -> str | None:
    """The kind of Keras object an argument holds: initializer, ..., activation, layer, "layers" for a list of them.

    >>> object_kind("Dense", "kernel_regularizer")
    'regularizer'
    >>> object_kind("Dense", "units") is None
    True
    """
    if name in _OBJECT_NAMES:
        return _OBJECT_NAMES[name]
    return next((kind for ending, kind in _OBJECT_ENDINGS.items() if name.endswith(ending)), None)


def check_argument(cls: str, name: str, value: Any, kind: str = "layer") -> str | None:
    """What was expected, where the value does not suit the argument; None where it does.

    Args:
        cls: class name or alias.
        name: argument name.
        value: plain data. Arguments that hold Keras objects are `kbuild.spec.objects`' to check and pass here.
        kind: what `cls` is, a key of `facts.SECTIONS`.
    """
    signature = facts.signature(kind, cls)
    if signature is None or name not in signature.arguments or object_kind(signature.name, name):
        return None
    defaults = signature.defaults
    if name in defaults and type(value) is type(defaults[name]) and value == defaults[name]:
        return None
    if name == "learning_rate" and isinstance(value, dict):
        return None  # a schedule
    checker = _checker(kind, signature.name, name, defaults)
    return None if checker is None or checker.accepts(value) else checker.expected


def _checker(kind: str, cls: str, name: str, defaults: dict[str, Any]) -> Checker | None:
    default = defaults.get(name)
    layer = lookup(cls) if kind == "layer" else None
    rank = layer.rank if layer else 0
    if (cls, name) in EXCEPTIONS:
        return EXCEPTIONS[cls, name]
    if layer and name in ("padding", "cropping") and layer.role == "padding":
        return _edges(rank)
    if layer and name == "use_bias" and layer.role == "W":
        return BOOLEAN | words("auto")
    if isinstance(default, bool):
        return CONSTANT_OUTPUT if name == "return_state" else BOOLEAN
    if layer and name in _PER_AXIS:
        sizes = _sizes(_PER_AXIS[name], rank)
        return sizes | NULL if default is None and name in ("strides", "output_padding") else sizes
    if name in ARGUMENTS:
        found = ARGUMENTS[name]
        may_be_null = name in defaults and default is None and not found.accepts(None)
        return found | NULL if may_be_null else found
    if isinstance(default, (int, float)):
        return NUMBER
    return None if name == "renorm_clipping" else PLAIN
