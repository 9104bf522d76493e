"""The projection of an `auto` shortcut: its strides, its axes, and what it takes from its branch."""

from __future__ import annotations

import pytest

from kbuild.errors import SpecError
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.spec.load import parse_spec


def plan_of(shape: str, layers: str, beside: str = "", ordering: str = "W-N-A") -> Plan:
    residual = f"{{residual: {{layers: [{layers}]{beside}}}, name: add}}"
    text = f"input: {{shape: {shape}}}\nordering: {ordering}\nlayers:\n  - {residual}\n  - Flatten\n  - Dense: 2\n"
    if "null" in shape:
        rank = shape.count(",")
        text = text.replace("Flatten", f"GlobalAveragePooling{rank}D")
    return plan_spec(parse_spec(text))


def projection(*args: str) -> dict[str, object]:
    layer = plan_of(*args).layer("add_shortcut")
    return {"class": layer.cls, **layer.config}


def conv(rank: int = 2, **args: object) -> str:
    written = {"filters": 8, "kernel_size": 3, "padding": "same", "activation": "relu", **args}
    return f"{{Conv{rank}D: {{{', '.join(f'{key}: {value}' for key, value in written.items() if value is not None)}}}}}"


@pytest.mark.parametrize(
    ("shape", "layers", "expected"),
    [
        ("[5]", "{Dense: {units: 7}}", {"class": "Dense", "units": 7}),
        ("[9, 4]", conv(1), {"class": "Conv1D", "filters": 8, "kernel_size": 1}),
        ("[9, 4]", conv(1, strides=2), {"class": "Conv1D", "filters": 8, "kernel_size": 1, "strides": 2}),
        ("[8, 6, 4]", conv(), {"class": "Conv2D", "filters": 8, "kernel_size": 1}),
        ("[8, 6, 8]", conv(strides=2), {"class": "Conv2D", "filters": 8, "kernel_size": 1, "strides": 2}),
        ("[8, 6, 8]", conv(strides=[1, 3]), {"class": "Conv2D", "filters": 8, "kernel_size": 1, "strides": [1, 3]}),
        (
            "[4, 4, 4, 2]",
            conv(3, strides=[2, 1, 4]),
            {"class": "Conv3D", "filters": 8, "kernel_size": 1, "strides": [2, 1, 4]},
        ),
        # Two strides multiply; a pooling strides by its size.
        (
            "[16, 16, 8]",
            f"{conv(strides=2)}, {conv(strides=2)}",
            {"class": "Conv2D", "filters": 8, "kernel_size": 1, "strides": 4},
        ),
        (
            "[8, 8, 8]",
            f"{{MaxPooling2D: 2}}, {conv()}",
            {"class": "Conv2D", "filters": 8, "kernel_size": 1, "strides": 2},
        ),
        # A single position has the stride of the branch all the same.
        ("[1, 1, 4]", conv(strides=2), {"class": "Conv2D", "filters": 8, "kernel_size": 1, "strides": 2}),
        # Free sizes.
        ("[null, 4]", conv(1, strides=2), {"class": "Conv1D", "filters": 8, "kernel_size": 1, "strides": 2}),
        ("[null, 6, 4]", conv(strides=[2, 3]), {"class": "Conv2D", "filters": 8, "kernel_size": 1, "strides": [2, 3]}),
        (
            "[null, null, 4]",
            f"{{ZeroPadding2D: 1}}, {conv(strides=2, padding='valid')}",
            {"class": "Conv2D", "filters": 8, "kernel_size": 1, "strides": 2},
        ),
    ],
)
def test_class_and_strides(shape: str, layers: str, expected: dict[str, object]) -> None:
    assert projection(shape, layers) == {**expected, "use_bias": False}


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ("[8, 8, 8]", conv()),
        ("[null, null, 8]", conv()),
        ("[null, 8]", f"{conv(1, padding='valid')}, {{ZeroPadding1D: 1}}"),
        ("[4]", "{Dense: {units: 4, activation: relu}}"),
        # Nothing at all.
        ("[4]", ""),
    ],
)
def test_none_where_shapes_are_equal(shape: str, layers: str) -> None:
    assert not any("shortcut" in layer.name for layer in plan_of(shape, layers).layers)


def test_channels_first() -> None:
    plan = plan_of("[4, 8, 6]", conv(strides=[2, 1], data_format="channels_first"))
    layer = plan.layer("add_shortcut")
    assert (layer.config["filters"], layer.config["strides"], layer.config["data_format"]) == (
        8,
        [2, 1],
        "channels_first",
    )
    assert layer.output_shape == plan.layer("add").output_shape == (None, 8, 4, 6)
    assert plan.layer("add_shortcut_bn").config["axis"] == 1
    assert layer.config["use_bias"] is False


def test_a_gate_is_spread_and_not_projected() -> None:
    gate = "{GlobalAveragePooling2D: {keepdims: true}}, {Conv2D: {filters: 4, kernel_size: 1, activation: sigmoid}}"
    plan = plan_of("[8, 8, 4]", gate, ", merge: Multiply")
    assert plan.layer("add").inputs == ("conv1_sigmoid", "input")
    assert plan.layer("add").output_shape == (None, 8, 8, 4)


def test_what_all_weight_layers_of_the_branch_have_the_projection_has() -> None:
    same = {"use_bias": "true", "kernel_initializer": "he_normal", "kernel_regularizer": "{L2: 0.0001}"}
    found = projection("[8, 8, 4]", f"{conv(**same)}, {conv(**same)}")
    assert found["use_bias"] is True
    assert (
        found["kernel_initializer"] == {"class_name": "HeNormal", "config": {}}
        or found["kernel_initializer"] == "he_normal"
    )
    assert found["kernel_regularizer"]["config"] == {"l2": 0.0001}  # type: ignore[index]
    found = projection("[8, 8, 4]", f"{conv(**same)}, {conv()}")
    assert set(found) == {"class", "filters", "kernel_size", "use_bias"}


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ("[8, 8, 3]", conv(padding="valid")),
        ("[null, null, 3]", conv(padding="valid")),
        ("[null, null, 3]", "{UpSampling2D: 2}"),
        ("[null, 8, 3]", "{GlobalAveragePooling2D: {keepdims: true}}"),
    ],
)
def test_no_projection_where_no_stride_fits(shape: str, layers: str) -> None:
    with pytest.raises(SpecError, match=r"(?s)no 1x1 projection leads from .* write the shortcut's layers"):
        plan_of(shape, f"{layers}, {conv()}")
