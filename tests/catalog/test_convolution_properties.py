"""Convolutions and pooling of random sizes, against Keras."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbuild.catalog.layers import ShapeError, lookup

sizes = st.integers(1, 12)
small = st.integers(1, 4)


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 3))
    cls = draw(
        st.sampled_from(["Conv{}D", "Conv{}DTranspose", "DepthwiseConv{}D", "SeparableConv{}D", "MaxPooling{}D"])
    )
    rank = min(rank, 2) if cls.startswith(("Depthwise", "Separable")) else rank
    cls = cls.format(rank)
    each = st.one_of(small, st.lists(small, min_size=rank, max_size=rank))
    padding = draw(st.sampled_from(["valid", "same"]))
    args = {"strides": draw(each), "padding": padding}
    if "Pooling" in cls:
        args["pool_size"] = draw(each)
    else:
        args["kernel_size"] = draw(each)
        args["use_bias"] = draw(st.booleans())
        args["dilation_rate"] = draw(st.integers(1, 3))
    if cls.startswith(("Conv", "Separable")):
        args["filters"] = draw(small)
    if cls.startswith(("Depthwise", "Separable")):
        args["depth_multiplier"] = draw(small)
    if "Transpose" in cls:
        args["output_padding"] = draw(st.one_of(st.none(), st.integers(0, 2)))
    shape = (None, *draw(st.lists(st.one_of(sizes, st.none()), min_size=rank, max_size=rank)), draw(small))
    return cls, args, shape


@given(case=convolutions())
@settings(max_examples=150, deadline=None)
def test_shapes_and_weights_agree(keras, case):
    cls, args, shape = case
    facts = lookup(cls)
    layer = getattr(keras.layers, cls)
    try:
        ours = facts.shape(args, (shape,))
    except ShapeError:
        with pytest.raises(ValueError):  # noqa: PT011 - Keras words it in several ways
            layer(**args)(keras.KerasTensor(shape))
        return
    built = layer(**args)
    assert tuple(built(keras.KerasTensor(shape)).shape) == ours
    assert facts.weights(args, (shape,)).total == built.count_params()
