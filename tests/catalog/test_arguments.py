"""Checks of argument values: what Keras takes passes, what it does not is refused, nothing raises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbuild.catalog import facts
from kbuild.catalog.arguments import check_argument, object_kind
from kbuild.catalog.layers import layer_names

CASES = json.loads((Path(__file__).parent / "rules.json").read_text())["fits"]

data = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=2), st.tuples(inner, inner)
    ),
    max_leaves=6,
)
arguments = [
    (kind, name, argument)
    for kind in facts.SECTIONS
    for name in facts.names(kind)
    for argument in facts.signature(kind, name).arguments
]


@given(which=st.sampled_from(arguments), value=data)
@settings(max_examples=400, deadline=None)
def test_no_data_makes_a_check_raise(which, value):
    kind, name, argument = which
    answer = check_argument(name, argument, value, kind)
    assert answer is None or answer


@pytest.mark.parametrize("kind", sorted(facts.SECTIONS))
def test_every_default_of_keras_passes(kind):
    for name in facts.names(kind):
        for argument, default in facts.signature(kind, name).defaults.items():
            assert check_argument(name, argument, default, kind) is None, (name, argument)


def test_what_the_rules_are_tested_with_passes():
    for cls, args, _ in CASES:
        for argument, value in args.items():
            assert check_argument(cls, argument, value) is None, (cls, argument, value)


@pytest.mark.parametrize(
    ("cls", "argument", "value", "expected"),
    [
        ("Dense", "units", 0, "a positive integer"),
        ("Dense", "units", True, "a positive integer"),
        ("Dense", "units", 1.5, "a positive integer"),
        ("Dense", "units", 10**30, "a positive integer"),
        ("Dense", "units", None, "a positive integer"),
        ("Dense", "units", "10", "a positive integer"),
        ("Dense", "use_bias", "yes", "true or false or auto"),
        ("LSTM", "use_bias", "auto", "true or false"),
        ("LSTM", "return_state", True, "false (a layer of a spec gives one tensor)"),
        ("Conv2D", "strides", [1, 0], "a positive integer or a list of 2 of them"),
        ("Conv2D", "strides", None, "a positive integer or a list of 2 of them"),
        ("Conv1D", "kernel_size", [3, 3], "a positive integer or a list of 1 of them"),
        ("Conv2D", "padding", "full", "valid or same"),
        ("Conv1D", "padding", "full", "valid, same or causal"),
        ("SeparableConv1D", "padding", "causal", "valid or same"),
        ("Conv2D", "padding", ["same"], "valid or same"),
        ("MaxPooling2D", "padding", "causal", "valid or same"),
        ("Conv2D", "data_format", "NHWC", "channels_last, channels_first or null"),
        ("Dropout", "rate", 1, "a number from 0 up to but excluding 1"),
        ("Dropout", "rate", -0.1, "a number from 0 up to but excluding 1"),
        ("Dropout", "rate", float("nan"), "a number from 0 up to but excluding 1"),
        ("BatchNormalization", "momentum", 1.1, "a number from 0 to 1"),
        ("BatchNormalization", "axis", [1, 2], "an integer"),
        ("BatchNormalization", "center", 1, "true or false"),
        ("LayerNormalization", "axis", [], "an integer or a list of them"),
        ("GroupNormalization", "groups", 0, "a positive integer, or -1 for one group a channel"),
        ("UpSampling1D", "size", [2], "a positive integer"),
        ("Reshape", "target_shape", 4, "a list of positive integers, one of which may be -1"),
        ("Reshape", "target_shape", [0], "a list of positive integers, one of which may be -1"),
        (
            "ZeroPadding2D",
            "padding",
            "same",
            "an integer from 0 up, a list of 2 of them, or a list of 2 pairs (before, after)",
        ),
        ("ZeroPadding1D", "padding", [1, 2, 3], "an integer from 0 up or a list of 2 of them"),
        ("Dense", "quantization_config", {"class_name": "x"}, "null (arrays and quantization are not part of a spec)"),
        ("Dense", "dtype", "float31", "a dtype or a policy such as float32, mixed_bfloat16 or null"),
        ("Dense", "dtype", {"class_name": "x"}, "a dtype or a policy such as float32, mixed_bfloat16 or null"),
        ("Rescaling", "scale", "255", "a number or a list of numbers"),
        ("Bidirectional", "merge_mode", None, "sum, mul, ave or concat"),
        ("RandomFlip", "mode", "up", "horizontal, vertical or horizontal_and_vertical"),
        ("RandomRotation", "factor", 30, "a number from -1 to 1 or a list of two"),
        ("RandomPosterization", "factor", 0.1, "an integer from 1 to 8 or a list of 2 of them"),
        ("StringLookup", "vocabulary", [1], "a list of strings or null"),
        ("MelSpectrogram", "window", {"a": 1}, "a plain value, not a mapping"),
    ],
)
def test_what_is_refused(cls, argument, value, expected):
    assert check_argument(cls, argument, value) == expected


@pytest.mark.parametrize(
    ("cls", "argument", "value"),
    [
        ("Conv2D", "use_bias", "auto"),
        ("MaxPooling2D", "strides", None),
        ("Conv2DTranspose", "output_padding", [0, 1]),
        ("ZeroPadding2D", "padding", [[1, 2], 3]),
        ("Cropping3D", "cropping", [0, 1, 2]),
        ("Normalization", "axis", None),
        ("Normalization", "mean", [1.0, 2.0]),
        ("EinsumDense", "output_shape", [None, 4]),
        ("Dropout", "noise_shape", [None, 1, 4]),
        ("Dropout", "seed", None),
        ("BatchNormalization", "renorm_clipping", {"rmax": 2.0}),
        ("RandomRotation", "factor", [-0.1, 0.1]),
        ("RandomErasing", "scale", [0.1, 0.2]),
        ("GRU", "use_cudnn", "auto"),
        ("Convolution2D", "filters", 3),
        ("NoSuchLayer", "units", object()),
    ],
)
def test_what_passes(cls, argument, value):
    assert check_argument(cls, argument, value) is None


def test_arguments_that_hold_objects_are_named_by_kind():
    kinds = {
        object_kind(cls, argument) for cls in layer_names() for argument in facts.signature("layer", cls).arguments
    }
    assert kinds == {None, "initializer", "regularizer", "constraint", "activation", "layer", "layers"}
    assert object_kind("Dense", "activity_regularizer") == "regularizer"
