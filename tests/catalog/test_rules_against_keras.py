"""Every shape and weight rule against the installed Keras, over many arguments and input shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbuild.catalog.layers import ShapeError, layer_names, lookup

CASES = json.loads((Path(__file__).parent / "rules.json").read_text())

#: Layers without a shape rule: only Keras knows.
UNKNOWN = {
    *("CutMix", "MixUp", "MaxNumBoundingBoxes", "MelSpectrogram", "STFTSpectrogram"),
    *("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"),
}


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


def make(keras, cls, args):
    """A Keras layer from plain arguments, nested layers first."""
    args = {name: nested(keras, value) for name, value in args.items()}
    return getattr(keras.layers, cls)(**args)


def nested(keras, value):
    if isinstance(value, dict) and "class_name" in value and hasattr(keras.layers, value["class_name"]):
        return make(keras, value["class_name"], value["config"])
    if isinstance(value, list):
        return [nested(keras, item) for item in value]
    return value


def call(keras, cls, args, shapes):
    """The output shape and the weights of a real layer, called on symbolic inputs."""
    facts = lookup(cls)
    integers = cls in (
        "Embedding",
        "CategoryEncoding",
        "Hashing",
        "IntegerLookup",
        "ReversibleEmbedding",
        "HashedCrossing",
    )
    dtype = "string" if cls in ("StringLookup", "TextVectorization") else "int32" if integers else None
    inputs = [keras.KerasTensor(tuple(shape), dtype=dtype or "float32") for shape in shapes]
    layer = make(keras, cls, args)
    output = layer(*inputs) if facts.reads == "args" else layer(inputs if facts.reads == "many" else inputs[0])
    trainable = sum(int(weight.value.numpy().size) for weight in layer.trainable_weights)
    return tuple(output.shape), trainable, layer.count_params()


def identifier(case):
    return f"{case[0]}-{json.dumps(case[1])}-{case[2]}"


@pytest.mark.parametrize("case", CASES["fits"], ids=identifier)
def test_the_rules_agree_with_keras(keras, case):
    cls, args, shapes = case
    facts = lookup(cls)
    inputs = tuple(tuple(shape) for shape in shapes)
    shape, trainable, total = call(keras, cls, args, shapes)
    assert facts.shape(args, inputs) == shape
    weights = facts.weights(args, inputs)
    assert (weights.trainable, weights.total) == (trainable, total)


@pytest.mark.parametrize("case", CASES["refused"], ids=identifier)
def test_what_the_rules_refuse_keras_refuses(keras, case):
    cls, args, shapes = case
    with pytest.raises(ShapeError) as caught:
        lookup(cls).shape(args, tuple(tuple(shape) for shape in shapes))
    assert cls in caught.value.message
    with pytest.raises(Exception):  # noqa: B017, PT011 - ValueError, TypeError and IndexError, as Keras happens to
        call(keras, cls, args, shapes)


@given(case=st.sampled_from(CASES["fits"]), data=st.data())
@settings(max_examples=150, deadline=None)
def test_other_input_shapes(keras, case, data):
    """Where a rule accepts an input, Keras accepts it and says the same; a rule fails with ShapeError only."""
    cls, args, shapes = case
    size = st.one_of(st.none(), st.integers(1, 9))
    inputs = tuple(
        (None, *data.draw(st.one_of(st.just(tuple(shape[1:])), st.lists(size, max_size=4)))) for shape in shapes
    )
    facts = lookup(cls)
    try:
        expected = facts.shape(args, inputs)
    except ShapeError:
        return
    shape, trainable, total = call(keras, cls, args, inputs)
    weights = facts.weights(args, inputs)
    assert (shape, trainable, total) == (expected, weights.trainable, weights.total)


def test_every_class_with_a_rule_has_a_case():
    tested = {case[0] for case in CASES["fits"]}
    assert {name for name in layer_names() if lookup(name).shape} == tested
    assert {name for name in layer_names() if not lookup(name).shape} == UNKNOWN
