"""`commuting-orders`: found exactly where two orders are one function."""

from __future__ import annotations

import pytest

from kbuild.lint.commuting import commuting_orders
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.policy import all_orders
from kbuild.spec.load import parse_spec


def plan_of(order: str, activation: str = "relu", kind: str = "element") -> Plan:
    text = f"""
input: {{shape: [8, 8, 3]}}
ordering: {{order: {order}, dropout: {{rate: 0.2, kind: {kind}}}}}
layers:
  - Conv2D: {{filters: 4, kernel_size: 3, activation: {activation}}}
  - Conv2D: {{filters: 4, kernel_size: 3, activation: {activation}}}
  - Flatten
  - Dense: 3
"""
    return plan_spec(parse_spec(text))


@pytest.mark.parametrize(
    ("first", "second", "activation", "kind"),
    [
        ("W-N-A-D", "W-N-D-A", "relu", "element"),
        ("W-A-D-N", "W-D-A-N", "leaky_relu", "element"),
        ("W-A-D", "W-D-A", "relu", "spatial"),
        ("N-A-D-W", "N-D-A-W", "relu", "element"),
        ("W-A-D", "W-D-A", "PReLU", "element"),
    ],
)
def test_orders_that_are_one_function(first: str, second: str, activation: str, kind: str) -> None:
    found = commuting_orders(plan_of(first, activation, kind), plan_of(second, activation, kind))
    assert found is not None
    assert (found.rule, found.level) == ("commuting-orders", "info")
    assert first in found.message and second in found.message
    assert all(name.endswith("_drop") for name in found.layers)


@pytest.mark.parametrize(
    ("first", "second", "activation", "kind"),
    [
        ("W-N-A-D", "W-N-D-A", "elu", "element"),
        ("W-N-A-D", "W-N-D-A", "relu", "gaussian"),
        ("W-N-A-D", "W-A-N-D", "relu", "element"),
        ("W-N-A-D", "W-D-N-A", "relu", "element"),
        ("W-N-A-D", "W-N-A", "relu", "element"),
        ("W-A-D", "D-W-A", "relu", "element"),
    ],
)
def test_orders_that_differ(first: str, second: str, activation: str, kind: str) -> None:
    assert commuting_orders(plan_of(first, activation, kind), plan_of(second, activation, kind)) is None


def test_a_plan_and_itself_differ_in_nothing() -> None:
    assert commuting_orders(plan_of("W-N-A-D"), plan_of("W-N-A-D")) is None


def test_over_all_orders_exactly_the_neighbouring_pairs_of_a_and_d() -> None:
    plans = {str(order): plan_of(str(order)) for order in all_orders()}
    found = {(a, b) for a in plans for b in plans if a < b and commuting_orders(plans[a], plans[b]) is not None}
    swapped = {
        tuple(sorted((order, order.replace("A-D", "x").replace("D-A", "A-D").replace("x", "D-A"))))
        for order in plans
        if "A-D" in order or "D-A" in order
    }
    # Where the letters stand before W, the closing takes A to the end of the trunk and leaves D at the head.
    assert found <= swapped
    assert {pair for pair in swapped if pair[0].startswith("W")} <= found


@pytest.mark.slow
def test_the_networks_give_the_same_numbers_with_the_same_masks() -> None:
    import numpy as np

    from kbuild.model.lower import build_model

    x = np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype("float32")
    outputs = {}
    for order, activation in (("W-A-D", "relu"), ("W-D-A", "relu"), ("W-A-D", "elu"), ("W-D-A", "elu")):
        model = build_model(plan_of(order, activation), seed=3)
        outputs[order, activation] = np.asarray(model(x, training=True))
    assert np.allclose(outputs["W-A-D", "relu"], outputs["W-D-A", "relu"], atol=1e-6)
    assert not np.allclose(outputs["W-A-D", "elu"], outputs["W-D-A", "elu"], atol=1e-3)
