"""Whether two orders differ at all: dropout and a positively homogeneous activation commute.

A study that compares W-N-A-D with W-N-D-A behind relu trains the same function twice: with the same mask,
relu(m·x) = m·relu(x) for every mask m ≥ 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kbuild.lint.finding import Finding, Found, Rule
from kbuild.lint.shift import homogeneous
from kbuild.lint.view import Layer, View
from kbuild.plan.plan import Plan

#: Dropout classes whose mask multiplies by 0 or 1/p: never negative, 0 stays 0.
_MASKS = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")


def commuting_orders(first: Plan, second: Plan) -> Finding | None:
    """What the rule says of two plans of the same spec under two policies.

    Returns:
        A finding that names the layers which change places, if the plans compute the same function in training and at
        inference with the same masks; None where they differ in more, or not at all.
    """
    if _normal_form(first) != _normal_form(second):
        return None
    drops = (layer for layer in first.layers if layer.role == "D")
    moved = [layer.name for layer in drops if layer.inputs != second.layer(layer.name).inputs]
    if not moved:
        return None
    message = (
        f"{first.order} and {second.order} compute the same function here: "
        f"{', '.join(moved[:3])}{', ...' if len(moved) > 3 else ''} commute{'s' * (len(moved) == 1)} with "
        f"the activation beside {'it' if len(moved) == 1 else 'them'}"
    )
    return Finding(RULE.id, RULE.level, message, moved[0], tuple(moved), hint="leave one of the two policies out")


def _normal_form(plan: Plan) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The plan with every run of commuting A and D written A first; equal for plans that compute the same."""
    view = View(plan)
    done: set[str] = set()
    form: dict[str, Any] = {}
    ends: dict[str, str] = {}
    for layer in plan.layers:
        if layer.name in done:
            continue
        run = list(_run(view, layer))
        if len(run) < 2:
            form[layer.name] = (layer.cls, layer.config, tuple(ends.get(name, name) for name in layer.inputs))
            continue
        done.update(one.name for one in run)
        ordered = sorted(run, key=lambda one: (view.role(one) != "A", one.name))
        at = tuple(ends.get(name, name) for name in run[0].inputs)
        for one in ordered:
            form[one.name] = (one.cls, one.config, at)
            at = (one.name,)
        ends[run[-1].name] = ordered[-1].name
    return form, tuple(ends.get(name, name) for name in plan.outputs)


def _run(view: View, layer: Layer) -> Iterator[Layer]:
    """The longest chain of commuting activations and dropouts from a layer on, each the only reader of another."""
    at: Layer | None = layer
    while at is not None and _commutes(view, at):
        yield at
        at = view.only_reader(at)


def _commutes(view: View, layer: Layer) -> bool:
    if layer.cls in _MASKS:
        return True
    return view.role(layer) == "A" and homogeneous(layer.cls, layer.config)


def _never(view: View) -> Iterator[Found]:
    """One plan has nothing to compare with: the study calls `commuting_orders` on pairs of its policies."""
    return iter(())


RULE = Rule(
    "commuting-orders",
    "info",
    "two policies of a study differ only by dropout and an activation that commute",
    """
Dropout multiplies by a mask m ≥ 0, and relu, leaky_relu, PReLU and every positively homogeneous activation that maps
0 to 0 gives A(m·x) = m·A(x). So W-N-A-D and W-N-D-A behind relu are one network, in training with the same masks and
at inference; a study of both spends half its time on comparing a policy with itself. With elu, gelu, silu, tanh or
sigmoid they differ, and so they do under alpha and Gaussian dropout. A study calls this on every pair of its
policies.
""",
    "algebra; the property test of kbuild compares both networks with the same mask",
    """
input: {shape: [16]}
ordering: W-N-A-D        # against W-N-D-A
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: W-N-A-D        # against W-N-D-A
layers:
  - Dense: {units: 32, activation: elu}
  - Dense: 10
""",
    _never,
)
