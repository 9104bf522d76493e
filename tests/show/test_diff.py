"""The comparison of two plans, and how it reads."""

from __future__ import annotations

import json
import re

import pytest

from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.policy import POLICIES, all_orders
from kbuild.show import diff_text
from kbuild.show.diff import compare, graph_of
from kbuild.spec.load import parse_spec

RESIDUAL = """
name: small_resnet
input: {shape: [16, 16, 3]}
ordering: W-N-A
blocks:
  bottleneck:
    params: {filters: required, stride: 1}
    layers:
      - residual:
          shortcut: auto
          layers:
            - Conv2D: {filters: =filters, kernel_size: 1, strides: =stride, activation: relu}
            - Conv2D: {filters: =filters, kernel_size: 3, padding: same, activation: relu}
            - Conv2D: {filters: =4*filters, kernel_size: 1, activation: relu}
layers:
  - {Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}, name: stem}
  - repeat: {times: 3, layers: [{use: bottleneck, with: {filters: 4}}]}
  - {use: bottleneck, with: {filters: 8, stride: 2}}
  - repeat: {times: 2, layers: [{use: bottleneck, with: {filters: 8}}]}
  - GlobalAveragePooling2D
  - {Dense: 10, name: predictions}
"""


def plan(text: str = RESIDUAL, ordering: str | None = None) -> Plan:
    return plan_spec(parse_spec(text, ordering))


def text(a: Plan, b: Plan) -> str:
    return diff_text.render(compare(a, b), a, b)


def test_a_plan_is_the_same_as_itself() -> None:
    found = compare(plan(), plan())
    assert found.same and found.skeleton
    assert (found.units, found.layers, found.only_a, found.only_b, found.outputs) == ((), (), (), (), None)


@pytest.mark.parametrize("order", [str(order) for order in all_orders()])
def test_orders_keep_weight_layers_and_connections(order: str) -> None:
    a, b = plan(), plan(ordering=order)
    found = compare(a, b)
    assert found.skeleton, found.to_dict()
    assert found.same == (graph_of(a) == graph_of(b))
    changed = {one.name for one in found.units if one.change("order")}
    assert all((unit.name in changed) for unit in b.units) or order == "W-N-A" or found.same or changed
    total = sum(one.params_b - one.params_a for one in found.units)  # type: ignore[operator]
    total += sum(one.params or 0 for one in found.only_b) - sum(one.params or 0 for one in found.only_a)
    assert a.total_params is not None and b.total_params is not None
    assert total == b.total_params - a.total_params


def test_version_1_and_2_of_a_residual_network() -> None:
    found = compare(plan(), plan(ordering="N-A-W"))
    by_name = {one.name: one for one in found.units}
    first = by_name["stem"]
    order = first.change("order")
    assert order is not None and (order.a, order.b) == ("W-N-A", "[N]-[A]-W")
    assert "reads the raw input" in order.because_b
    bias = first.change("bias")
    assert bias is not None and (bias.a, bias.b) == (False, True)
    assert [one.name for one in found.only_b] == ["closing_bn", "closing_relu"]
    assert all("ends the trunk" in one.because for one in found.only_b)
    shared = by_name["bottleneck4_conv1"].change("order")
    assert shared is not None and "before the split" in shared.because_b


def test_it_reads_like_the_difference_between_the_papers() -> None:
    read = text(plan(), plan(ordering="N-A-W"))
    for line in (
        "The same weight layers and connections; what differs is what stands around them.",
        "  6 × Conv2D  W-N-A → N-A-W",
        "  6 × Conv2D  W-N-{A} → N-A-W",
        "in A, A: residual: after_merge (default): behind the addition",
        "  stem (Conv2D)  W-N-A → [N]-[A]-W",
        "only in B",
        "N in N-A-W (--ordering); closing: auto, ends the trunk",
    ):
        assert line in read
    assert re.search(r"bottleneck1\w*_conv2, bottleneck2\w*_conv2", read)
    assert not any(line != line.rstrip() or len(line) > diff_text.WIDTH for line in read.splitlines())


def test_equal_differences_are_told_once_and_the_rest_is_counted() -> None:
    flat = (
        "input: {shape: [4]}\nlayers: [{repeat: {times: 9, layers: [{Dense: {units: 4, activation: relu}}]}}, Dense: 2]"
    )
    read = text(plan(flat), plan(flat, "W-A-N"))
    assert "9 × Dense  W-N-A-D → W-A-N" in read and "and 3 more" in read
    assert read.count("bias no → yes") == 1


def test_settings_and_arguments() -> None:
    a = plan("input: {shape: [4]}\nlayers: [{Dense: {units: 8, activation: relu}, dropout: 0.1}, {Dense: 2}]")
    b = plan(
        "input: {shape: [4]}\nordering: {norm: {BatchNormalization: {momentum: 0.9}}}\n"
        "layers: [{Dense: {units: 6, activation: gelu}, dropout: 0.4}, {Dense: 2}]"
    )
    unit = compare(a, b).units[0]
    kinds = {change.what: (change.a, change.b) for change in unit.changes}
    assert kinds["layer"] == ({"units": 8}, {"units": 6})
    assert kinds["normalization"] == ({}, {"momentum": 0.9})
    assert kinds["activation"] == ({"activation": "relu"}, {"activation": "gelu"})
    assert kinds["dropout"] == ({"rate": 0.1}, {"rate": 0.4})
    assert "normalization default → momentum 0.9" in text(a, b)
    assert not compare(a, b).skeleton


def test_renamed_and_missing_layers_are_found() -> None:
    a = plan("input: {shape: [4]}\nlayers: [{Dense: 8, name: first}, {Dense: 6, name: middle}, {Dense: 2, name: out}]")
    b = plan("input: {shape: [4]}\nlayers: [{Dense: 8, name: one}, Flatten, {Dense: 2, name: out}]")
    found = compare(a, b)
    renamed = found.units[0].change("name")
    assert renamed is not None and (renamed.a, renamed.b) == ("first", "one")
    assert [one.name for one in found.only_a] == ["middle"]
    assert [one.name for one in found.only_b] == ["flatten1"]
    assert "named first → one" in text(a, b) and "Different models." in text(a, b)


def test_what_is_only_written_differently_is_the_same() -> None:
    a = plan("input: {shape: [4]}\nordering: W-N-A\nlayers: [{Dense: {units: 8, activation: relu}}, {Dense: 2}]")
    b = plan("input: {shape: [4]}\nordering: {order: W-N-A-D, dropout: 0}\n"
             "layers: [{Dense: {units: 8, activation: relu}}, {Dense: 2}]")  # fmt: skip
    found = compare(a, b)
    assert found.same and found.units
    assert "The same model" in text(a, b) and "written differently" in text(a, b)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_every_policy_can_be_compared_and_written_as_json(policy) -> None:
    a, b = plan(), plan(ordering=policy.name)
    assert json.loads(json.dumps(compare(a, b).to_dict()))["b"]["policy"] == policy.name
    assert text(a, b) and text(b, a)
