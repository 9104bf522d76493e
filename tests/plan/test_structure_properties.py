"""Properties over random nestings of structures under every order: what holds whatever the network is."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.policy import POLICIES, all_orders
from kbuild.spec.load import parse_spec

ORDERINGS = [policy.name for policy in POLICIES] + [str(order) for order in all_orders()]

filters = st.sampled_from([2, 4])
activations = st.sampled_from(["relu", "tanh", None])


@st.composite
def conv(draw: st.DrawFn) -> dict[str, Any]:
    args = {"filters": draw(filters), "kernel_size": draw(st.sampled_from([1, 3])), "padding": "same"}
    args["activation"] = draw(activations)
    return {"Conv2D": args}


@st.composite
def padded(draw: st.DrawFn) -> list[dict[str, Any]]:
    args = {"filters": draw(filters), "kernel_size": 3, "activation": draw(activations)}
    return [{"ZeroPadding2D": 1}, {"Conv2D": args}]


def residual(layers: list[Any], merge: str, shortcut: str) -> dict[str, Any]:
    return {"residual": {"layers": layers, "merge": merge, "shortcut": shortcut}}


def nested(inner: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
    return st.one_of(
        st.builds(lambda a, b: [*a, *b], inner, inner),
        inner.map(lambda layers: [residual(layers, "Add", "auto")]),
        inner.map(lambda layers: [residual(layers, "Concatenate", "identity")]),
        inner.map(lambda layers: [{"repeat": {"times": 2, "layers": layers}}]),
        st.builds(lambda a, b: [{"branches": {"paths": [a, b]}}], inner, inner),
        inner.map(lambda layers: [{**residual(layers, "Average", "auto"), "dropout": 0.1}]),
    )


LAYERS = st.recursive(st.one_of(conv().map(lambda layer: [layer]), padded(), st.just([])), nested, max_leaves=6)


def planned(layers: list[Any], ordering: str) -> Plan:
    spec = {
        "input": {"shape": [8, 8, 3]},
        "ordering": ordering,
        "layers": [{"Conv2D": [4, 1]}, *layers, "GlobalAveragePooling2D", {"Dense": 2}],
    }
    return plan_spec(parse_spec(yaml.safe_dump(spec)))


def shapes_of_weights(plan: Plan) -> list[tuple[str, Any]]:
    return [(layer.name, layer.output_shape) for layer in plan.layers if layer.role == "W"]


@settings(max_examples=60, deadline=None)
@given(LAYERS, st.sampled_from(ORDERINGS))
def test_plans_are_graphs_and_weight_layers_are_the_same_under_every_order(layers: list[Any], ordering: str) -> None:
    plan, plain = planned(layers, ordering), planned(layers, "W")
    seen: set[str] = set()
    for layer in plan.layers:
        assert layer.name not in seen
        assert set(layer.inputs) <= seen, f"{layer.name} stands before what it reads"
        assert layer.cls != "Add" or len(layer.inputs) == 2
        seen.add(layer.name)
    assert not plan.unresolved
    # Names and shapes of weight layers do not depend on the order, so weights move between orders.
    assert sorted(shapes_of_weights(plan)) == sorted(shapes_of_weights(plain))
    # Nothing is lost on the way: what an order does not place is elided, dropped or moved, with a reason.
    for unit in plan.units:
        for letter in unit.order.replace("-", ""):
            assert letter in unit.layers or letter in unit.elided or letter in unit.dropped or letter in unit.moved
    # Every layer leads to the output.
    read = {source for layer in plan.layers for source in layer.inputs}
    assert set(plan.outputs) == seen - read


@settings(max_examples=30, deadline=None)
@given(LAYERS, st.sampled_from(["wide-preact", "branch-dropout"]))
def test_one_dropout_in_each_branch(layers: list[Any], ordering: str) -> None:
    plan = planned(layers, ordering)
    for unit in plan.units:
        if "D" in unit.layers and unit.role != "head":
            assert plan.layer(unit.layers["D"]).unit == unit.name
    count = sum(layer.role == "D" for layer in plan.layers)
    text = str(layers)
    if "residual" not in text:
        assert count == (ordering == "branch-dropout")
