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

from typing import Any

from kbuild.catalog import facts
from kbuild.catalog.checkers import (
    AXES,
    BOOLEAN,
    CONSTANT_OUTPUT,
    DTYPE,
    FACTOR,
    INTEGER,
    INTEGERS,
    LARGEST,
    NATURAL,
    NESTED_NUMBERS,
    NOT_NEGATIVE,
    NULL,
    NUMBER,
    NUMBERS,
    PLAIN,
    POSITIVE,
    RATE,
    SHARE,
    STRING,
    TWO_NUMBERS,
    UNWRITTEN,
    VOCABULARY,
    Checker,
    edges,
    integer,
    list_of,
    one_or,
    sizes,
    words,
)
from kbuild.catalog.layers import lookup

__all__ = ["LARGEST", "check_argument", "checker_of", "object_kind"]


def _each(names: str, checker: Checker) -> dict[str, Checker]:
    """The same checker for several names."""
    return dict.fromkeys(names.split(), checker)


#: Arguments with one size for each spatial axis.
_PER_AXIS = {
    **_each("kernel_size strides pool_size dilation_rate size output_size", POSITIVE),
    "output_padding": NATURAL,
}

_MINUS_ONE = integer("-1", -1, -1)

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
    "axes": one_or("an integer or a list of two", INTEGER, list_of("", INTEGER, 2)),
    "dims": list_of("a list of axes, counted from 1", POSITIVE),
    "shared_axes": list_of("a list of axes, counted from 1", POSITIVE) | NULL,
    "target_shape": list_of("a list of positive integers, one of which may be -1", POSITIVE | _MINUS_ONE),
    "noise_shape": list_of("a list of integers", POSITIVE | NULL) | NULL,
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
    "tile_grid_size": list_of("a list of two positive integers", POSITIVE, 2),
    "boundaries": NUMBERS,
    "values": NUMBERS,
    "use_cudnn": BOOLEAN | words("auto"),
    "loss_scale_factor": NOT_NEGATIVE | NULL,
}

_IMAGE_SCALE = FACTOR
_BITS = integer("an integer from 1 to 8", 1, 8)
_LOOKUPS = words("int", "one_hot", "multi_hot", "count", "tf_idf")
_CATEGORIES = words("one_hot", "multi_hot", "count")
_INDICES = words("int", "one_hot", "multi_hot", "count")
_INSTANCES = one_or("a positive integer, or -1 for one group a channel", POSITIVE, _MINUS_ONE)
_OUTPUT_SHAPE = one_or(
    "a positive integer or a list of them (null for free axes)", POSITIVE, list_of("", POSITIVE | NULL)
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
    ("RandomGaussianBlur", "kernel_size"): sizes(POSITIVE, 2),
    ("RandomGaussianBlur", "sigma"): FACTOR,
    ("RandomFlip", "mode"): words("horizontal", "vertical", "horizontal_and_vertical"),
    ("RandomPosterization", "factor"): sizes(_BITS, 2),
    ("ReduceLROnPlateau", "factor"): SHARE,
    ("OrthogonalRegularizer", "factor"): NUMBER,
    ("IntegerLookup", "output_mode"): _LOOKUPS,
    ("StringLookup", "output_mode"): _LOOKUPS,
    ("IntegerLookup", "vocabulary"): INTEGERS | NULL,
    ("StringLookup", "vocabulary"): list_of("a list of strings", STRING) | NULL,
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
    checker = checker_of(signature.name, name, kind)
    return None if checker is None or checker.accepts(value) else checker.expected


def checker_of(cls: str, name: str, kind: str = "layer") -> Checker | None:
    """What the argument of a class may be, by its canonical name; None where anything may. Defaults always may."""
    signature = facts.signature(kind, cls)
    defaults = signature.defaults if signature is not None else {}
    default = defaults.get(name)
    layer = lookup(cls) if kind == "layer" else None
    rank = layer.rank if layer else 0
    custom = facts.custom_layer(cls) if layer and layer.keras_class else None
    if custom is not None and name in custom.layer.checks:
        return custom.layer.checks[name]
    if (cls, name) in EXCEPTIONS:
        return EXCEPTIONS[cls, name]
    if layer and name in ("padding", "cropping") and layer.role == "padding":
        return edges(rank)
    if layer and name == "use_bias" and layer.role == "W":
        return BOOLEAN | words("auto")
    if isinstance(default, bool):
        return CONSTANT_OUTPUT if name == "return_state" else BOOLEAN
    if layer and name in _PER_AXIS:
        found = sizes(_PER_AXIS[name], rank)
        return found | NULL if default is None and name in ("strides", "output_padding") else found
    if name in ARGUMENTS:
        found = ARGUMENTS[name]
        may_be_null = name in defaults and default is None and not found.accepts(None)
        return found | NULL if may_be_null else found
    if isinstance(default, (int, float)):
        return NUMBER
    return None if name == "renorm_clipping" else PLAIN
