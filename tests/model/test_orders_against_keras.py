"""What `summarize` says of a spec is what Keras builds: every policy, every order, every kind of weight layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kbuild.model.backend import import_keras
from kbuild.model.lower import build_model
from kbuild.plan.pipeline import compile_spec, plan_spec
from kbuild.policy import POLICIES, all_orders
from kbuild.resources import spec_path
from kbuild.spec.load import parse_spec

keras = import_keras()

ORDERINGS = [policy.name for policy in POLICIES] + [str(order) for order in all_orders()]

RESIDUAL = """\
input: {shape: [8, 8, 3]}
ordering: {order: W-N-A-D, dropout: {rate: 0.1, kind: auto}}
layers:
  - {Conv2D: {filters: 4, kernel_size: 3, padding: same, activation: relu}, name: stem, pool: {MaxPooling2D: 2}}
  - residual:
      layers:
        - {Conv2D: {filters: 4, kernel_size: 3, padding: same, activation: relu}, name: p}
        - {Conv2D: {filters: 4, kernel_size: 3, padding: same, activation: elu}, name: q}
    name: add1
  - residual:
      layers:
        - {Conv2D: {filters: 8, kernel_size: 3, strides: 2, padding: same, activation: relu}, name: r}
        - {Conv2D: {filters: 8, kernel_size: 3, padding: same, activation: relu}, name: s}
    name: add2
  - GlobalAveragePooling2D
  - {Dense: {units: 5, activation: tanh}}
  - {Dense: {units: 3, activation: softmax}}
"""

#: Weight layer → a spec's input shape and two units of it.
WEIGHT_LAYERS = {
    "Dense": ([6], "{Dense: {units: 5, activation: relu}}"),
    "Dense on a sequence": ([7, 6], "{Dense: {units: 5, activation: relu}}"),
    "EinsumDense": ([7, 6], "{EinsumDense: {equation: 'abc,cd->abd', output_shape: [7, 6], activation: relu}}"),
    "Conv1D": ([12, 3], "{Conv1D: {filters: 4, kernel_size: 3, activation: relu}}"),
    "Conv2D": ([9, 9, 3], "{Conv2D: {filters: 4, kernel_size: 3, activation: relu}}"),
    "Conv3D": ([7, 7, 7, 2], "{Conv3D: {filters: 3, kernel_size: 3, activation: relu}}"),
    "Conv1DTranspose": ([6, 3], "{Conv1DTranspose: {filters: 4, kernel_size: 3, strides: 2, activation: relu}}"),
    "Conv2DTranspose": ([5, 5, 3], "{Conv2DTranspose: {filters: 4, kernel_size: 3, activation: relu}}"),
    "Conv3DTranspose": ([3, 3, 3, 2], "{Conv3DTranspose: {filters: 3, kernel_size: 2, activation: relu}}"),
    "DepthwiseConv1D": ([12, 3], "{DepthwiseConv1D: {kernel_size: 3, activation: relu}}"),
    "DepthwiseConv2D": ([9, 9, 3], "{DepthwiseConv2D: {kernel_size: 3, padding: same, activation: relu}}"),
    "SeparableConv1D": ([12, 3], "{SeparableConv1D: {filters: 4, kernel_size: 3, activation: relu}}"),
    "SeparableConv2D": ([9, 9, 3], "{SeparableConv2D: {filters: 4, kernel_size: 3, activation: relu}}"),
}


def facts_of_plan(plan):
    """Names, classes, connections, shapes, parameters and biases, from the JSON that `summarize` prints."""
    data = json.loads(plan.to_json())
    return {
        layer["name"]: (
            layer["class"],
            layer["inputs"],
            layer["output_shape"],
            layer["params"],
            layer["config"].get("use_bias"),
            layer["trainable_params"],
        )
        for layer in data["layers"]
    }


def facts_of_model(model):
    """The same facts from Keras' own serialized config and variables, by another way than kbuild.model.verify."""
    found = {}
    for entry in json.loads(model.to_json())["config"]["layers"]:
        layer = model.get_layer(entry["name"])
        weighted = {"kernel", "depthwise_kernel", "_kernel"} & set(vars(layer))
        has_bias = None
        if weighted and "use_bias" in entry["config"]:
            has_bias = any(weight.name == "bias" for weight in layer.weights)
            assert has_bias == entry["config"]["use_bias"]
        output = layer.output
        found[entry["name"]] = (
            entry["class_name"],
            _sources(entry["inbound_nodes"]),
            [None if size is None else int(size) for size in output.shape],
            sum(int(np.prod(weight.shape)) for weight in layer.weights),
            has_bias,
            sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights),
        )
    return found


def _sources(nodes):
    """Names of the layers in a serialized call, in order."""
    if isinstance(nodes, dict) and nodes.get("class_name") == "__keras_tensor__":
        return [nodes["config"]["keras_history"][0]]
    if isinstance(nodes, dict):
        nodes = nodes.get("args", [])
    return [name for item in nodes for name in _sources(item)] if isinstance(nodes, list) else []


def assert_same(plan, model):
    planned, built = facts_of_plan(plan), facts_of_model(model)
    assert planned == built
    assert plan.total_params == model.count_params()
    assert list(plan.outputs) == [tensor._keras_history.operation.name for tensor in model.outputs]


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_digits_summary_is_the_built_model(ordering):
    _, plan = compile_spec(spec_path("digits"), ordering)
    assert_same(plan, build_model(plan))


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_residual_summary_is_the_built_model(ordering):
    plan = plan_spec(parse_spec(RESIDUAL, ordering=ordering))
    assert_same(plan, build_model(plan))


@pytest.mark.parametrize("kind", WEIGHT_LAYERS)
def test_every_order_around_every_weight_layer(kind):
    shape, layer = WEIGHT_LAYERS[kind]
    text = f"input: {{shape: {shape}}}\nordering: plain\nlayers:\n  - {layer}\n  - {layer}\n  - Flatten\n  - Dense: 2\n"
    for order in all_orders():
        plan = plan_spec(parse_spec(text, ordering=str(order)))
        assert plan.unresolved == ()
        assert_same(plan, build_model(plan))


def test_every_shipped_spec_builds():
    shipped = sorted(Path(spec_path("digits")).parent.rglob("*.yaml"))
    assert shipped
    for path in shipped:
        if "zoo" not in path.parts:
            _, plan = compile_spec(path)
            assert_same(plan, build_model(plan))


@pytest.mark.parametrize("order", ["W-N-A-D", "W-A-D-N", "D-N-A-W", "W-D-N-A", "N-D-W-A"])
def test_dropout_is_the_identity_at_inference(order):
    with_dropout = build_model(plan_spec(parse_spec(RESIDUAL, ordering=order)))
    text = RESIDUAL.replace("rate: 0.1", "rate: 0")
    without = build_model(plan_spec(parse_spec(text, ordering=order)))
    assert any("drop" in layer.name for layer in with_dropout.layers)
    assert not any("drop" in layer.name for layer in without.layers)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    for layer in without.layers:
        # Where a D parts W from N the bias stays; it is zero here, so leaving it out changes nothing.
        weights = {weight.name: weight for weight in with_dropout.get_layer(layer.name).weights}
        for weight in layer.weights:
            weight.assign(weights[weight.name])
    assert np.array_equal(with_dropout(images, training=False), without(images, training=False))


def test_layers_of_the_same_name_start_equal_under_every_order():
    first = build_model(plan_spec(parse_spec(RESIDUAL, ordering="W-N-A-D")), seed=3)
    for ordering in ("W-A-D-N", "N-A-W", "W"):
        other = build_model(plan_spec(parse_spec(RESIDUAL, ordering=ordering)), seed=3)
        for name in ("stem", "p", "q", "r", "s", "dense1", "dense2"):
            assert np.array_equal(first.get_layer(name).get_weights()[0], other.get_layer(name).get_weights()[0])


def test_other_seeds_and_other_names_start_differently():
    plan = plan_spec(parse_spec(RESIDUAL))
    first, other = build_model(plan, seed=0), build_model(plan, seed=1)
    assert not np.array_equal(first.get_layer("p").get_weights()[0], other.get_layer("p").get_weights()[0])
    assert not np.array_equal(first.get_layer("p").get_weights()[0], first.get_layer("q").get_weights()[0])


def test_relu_and_dropout_commute_given_the_same_mask():
    """D and A commute for relu: the same weights and mask give the same training-time output in both orders."""
    text = (
        "input: {shape: [6]}\nordering: {order: %s, dropout: 0.4}\n"
        "layers: [{Dense: {units: 8, activation: relu}}, {Dense: 2}]"
    )
    outputs = []
    for order in ("W-A-D", "W-D-A"):
        model = build_model(plan_spec(parse_spec(text % order)), seed=5)
        outputs.append(np.asarray(model(np.ones((64, 6), "float32"), training=True)))
    assert np.array_equal(*outputs)
    assert len(np.unique(outputs[0].round(5), axis=0)) > 1
