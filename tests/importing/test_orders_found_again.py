"""Every order and policy that kbuild places is found again in what it placed, and written back to the same graph."""

from __future__ import annotations

import pytest

from kbuild.catalog.layers import differs, lookup
from kbuild.importing.comparing import compare
from kbuild.importing.letters import infer_policy
from kbuild.importing.network import Layer, Network
from kbuild.importing.writing import import_network
from kbuild.plan.pipeline import plan_spec
from kbuild.policy import POLICIES, all_orders
from kbuild.spec.load import parse_spec

ORDERINGS = [str(order) for order in all_orders()] + [policy.name for policy in POLICIES]

CHAIN = """\
input: {shape: [12, 12, 3]}
ordering: {order: W-N-A-D, dropout: 0.25}
layers:
  - {Conv2D: {filters: 4, kernel_size: 3, activation: relu}}
  - {Conv2D: {filters: 4, kernel_size: 3, activation: relu}}
  - MaxPooling2D
  - {Conv2D: {filters: 8, kernel_size: 3, activation: elu}}
  - {Conv2D: {filters: 8, kernel_size: 1, activation: elu}}
  - Flatten
  - {Dense: {units: 8, activation: tanh}}
  - {Dense: {units: 8, activation: tanh}}
  - {Dense: {units: 3, activation: softmax}}
"""

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
  - branches:
      paths:
        - []
        - - {Conv2D: {filters: 8, kernel_size: 1, activation: relu}, name: left}
        - - {Conv2D: {filters: 8, kernel_size: 3, padding: same, activation: relu}, name: right}
    name: join
  - GlobalAveragePooling2D
  - {Dense: {units: 5, activation: tanh}, name: hidden}
  - {Dense: {units: 3, activation: softmax}, name: out}
  - {Dense: {units: 1}, name: aux, from: hidden}
"""


def network_of_plan(plan):
    layers = {}
    for layer in plan.layers:
        facts = None if layer.cls == "InputLayer" else lookup(layer.cls)
        args = layer.config if facts is None else differs(layer.cls, layer.config)
        layers[layer.name] = Layer(layer.name, layer.cls, facts, dict(args), layer.inputs, layer.output_shape)
    readers = {name: [] for name in layers}
    for layer in layers.values():
        for source in dict.fromkeys(layer.inputs):
            readers[source].append(layer.name)
    inputs = tuple(layer.name for layer in plan.inputs)
    return Network(plan.name, "made.keras", layers, inputs, plan.outputs, (), readers)


@pytest.mark.parametrize("fused", [False, True], ids=["layers", "fused"])
@pytest.mark.parametrize("text", [CHAIN, RESIDUAL], ids=["chain", "residual"])
@pytest.mark.parametrize("ordering", ORDERINGS)
def test_the_spec_of_what_an_order_places_is_the_same_graph(text, ordering, fused):
    if fused:
        text = text.replace("ordering: {", "ordering: {fused: true, ")
    network = network_of_plan(plan_spec(parse_spec(text, ordering=ordering)))
    imported = import_network(network)
    assert compare(network, imported.plan) == {}
    assert imported.by_hand == ()


@pytest.mark.parametrize("order", [str(order) for order in all_orders()])
def test_the_order_is_found_in_a_chain(order):
    plan = plan_spec(parse_spec(CHAIN, ordering=order))
    found = infer_policy(network_of_plan(plan))
    assert found.share >= 0.85
    # Orders that place the same letters in a chain explain it equally well: D and A beside each other do not.
    assert set(found.order.letters) <= set(plan.order.split("-"))


@pytest.mark.parametrize("order", ["W-N-A", "W-A", "W-N-A-D", "W-A-D", "W-D-N-A", "N-A-W", "N-A-D-W"])
def test_the_order_is_found_behind_additions(order):
    network = network_of_plan(plan_spec(parse_spec(RESIDUAL.replace("kind: auto", "kind: element"), ordering=order)))
    imported = import_network(network)
    assert str(imported.found.order) == order
    assert imported.spec.count("residual:") == 2
    # Under a pre-activation order what both paths share is written by hand, and the units that read it name an order.
    assert imported.found.share >= (0.75 if order.endswith("W") else 1)
